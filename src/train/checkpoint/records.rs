use std::sync::{
    Arc, Mutex, PoisonError,
    mpsc::{Receiver, SyncSender, sync_channel},
};

use burn::{
    lr_scheduler::LrSchedulerRecord,
    optim::OptimizerRecord,
    store::ModuleRecord,
    train::{
        Learner, LearnerModel, LearningCheckpointer,
        checkpoint::{
            AsyncCheckpointer, Checkpoint, Checkpointer, CheckpointerError, CheckpointingAction,
            CheckpointingStrategy,
        },
        metric::store::EventStoreClient,
    },
};

use super::CallbackTensors;

/// State of a learner, and tensors of callbacks.
pub(in crate::train) struct Records {
    pub model: ModuleRecord,
    pub optimizer: OptimizerRecord,
    pub scheduler: LrSchedulerRecord,
    pub callbacks: CallbackTensors,
}

/// Extracts the records of a `Learner`, whose optimizer and scheduler are private: Burn's own
/// checkpointer passes them to any registered checkpointer.
pub(in crate::train) struct RecordTap<M: LearnerModel> {
    checkpointer: LearningCheckpointer<M>,
    model: Receiver<ModuleRecord>,
    optimizer: Receiver<OptimizerRecord>,
    scheduler: Receiver<LrSchedulerRecord>,
}

impl<M: LearnerModel> RecordTap<M> {
    pub fn new() -> Self {
        let (to_model, model) = tap();
        let (to_optimizer, optimizer) = tap();
        let (to_scheduler, scheduler) = tap();
        let always = Box::new(Always);
        Self {
            checkpointer: LearningCheckpointer::new(to_model, to_optimizer, to_scheduler, always),
            model,
            optimizer,
            scheduler,
        }
    }

    /// Returns the state of the learner, beside the tensors of callbacks.
    pub fn records(
        &mut self,
        learner: &Learner<M>,
        store: &EventStoreClient,
        callbacks: CallbackTensors,
    ) -> Records {
        self.checkpointer.checkpoint(learner, 0, store);
        let received = "a checkpointer passes on each record that it is given";
        Records {
            model: self.model.recv().expect(received),
            optimizer: self.optimizer.recv().expect(received),
            scheduler: self.scheduler.recv().expect(received),
            callbacks,
        }
    }
}

/// Returns a checkpointer, and the end at which its records come out.
fn tap<R: Checkpoint + 'static>() -> (AsyncCheckpointer<R>, Receiver<R>) {
    let (sender, receiver) = sync_channel(1);
    let hand = Hand(Arc::new(Mutex::new(sender)));
    (AsyncCheckpointer::new(hand), receiver)
}

/// Checkpointer that passes records on instead of writing them.
struct Hand<R>(Arc<Mutex<SyncSender<R>>>);

impl<R: Checkpoint> Checkpointer<R> for Hand<R> {
    fn save(&self, _epoch: usize, record: R) -> Result<(), CheckpointerError> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gone = |_| CheckpointerError::Unknown("the training has ended".to_string());
        sender.send(record).map_err(gone)
    }

    fn delete(&self, _epoch: usize) -> Result<(), CheckpointerError> {
        Ok(())
    }

    fn restore(&self, _epoch: usize) -> Result<R, CheckpointerError> {
        let reason = "records are passed on, not kept".to_string();
        Err(CheckpointerError::Unknown(reason))
    }
}

struct Always;

impl CheckpointingStrategy for Always {
    fn checkpointing(&mut self, _: usize, _: &EventStoreClient) -> Vec<CheckpointingAction> {
        vec![CheckpointingAction::Save]
    }
}
