//! One pass over the data of training, and one over that of validation.

use burn::{
    data::dataloader::{DataLoaderIterator, Progress},
    optim::GradientsParams,
    train::{
        EventProcessorTraining, InferenceStep, LearnerEvent, LearnerModel, TrainLoader,
        TrainOutput, TrainStep, TrainingItem, ValidLoader,
    },
};

use super::{accumulation::Accumulation, checkpoints::Checkpoints, training_loop::TrainingLoop};
use crate::{
    quant::mix,
    train::callback::{BackwardPass, OptimizerStep, StepLoss, TrainOutputOf},
};

type TrainInput<M> = <M as TrainStep>::Input;

impl<M: LearnerModel> TrainingLoop<'_, M> {
    /// Trains on the batches of an epoch, or of the rest of it.
    pub fn train_epoch(&mut self, loader: &TrainLoader<M>) {
        let epoch_number = self.run.position.epoch;
        let total_items = loader.num_items();
        self.process_train(LearnerEvent::StartSplit {
            epoch_number,
            total_items,
        });
        let mut batches = loader.iter();
        let skip = std::mem::take(&mut self.skip_batches);
        self.skip(&mut *batches, skip);
        let mut accumulation = Accumulation::new();
        while !self.run.is_stopping() && !self.has_all_steps() {
            let before = batches.progress().items_processed;
            let Some(batch) = self.next(&mut *batches) else {
                break;
            };
            let progress = batches.progress();
            let items = progress.items_processed.saturating_sub(before);
            let (TrainOutput { grads, item }, weight) = self.forward_backward(batch, items);
            self.run.position.batches += 1;
            let grads = match self.grad_accumulation {
                1 => Some(grads),
                batches => {
                    let model = self.run.learner.model();
                    accumulation.add(&model, grads, weight);
                    let complete = accumulation.batches() >= batches || progress.is_completed();
                    complete.then(|| accumulation.take(&model))
                }
            };
            let complete = grads.is_some();
            if let Some(grads) = grads {
                self.optimize(grads, &item);
            }
            self.report(item, progress.clone());
            if complete {
                self.after_step(&progress);
            }
        }
        self.process_train(LearnerEvent::EndSplit(epoch_number));
    }

    /// Passes over batches that were trained on before.
    fn skip(&mut self, batches: &mut dyn DataLoaderIterator<TrainInput<M>>, count: usize) {
        for _ in 0..count {
            if self.next(batches).is_none() {
                break;
            }
        }
    }

    /// The next batch; an error of the data ends the training.
    fn next(
        &mut self,
        batches: &mut dyn DataLoaderIterator<TrainInput<M>>,
    ) -> Option<TrainInput<M>> {
        match batches.next()? {
            Ok(batch) => Some(batch),
            Err(error) => {
                self.run.interrupter.fail(error);
                None
            }
        }
    }

    /// The gradients of a batch of so many items, and their weight among those of the step.
    fn forward_backward(
        &mut self,
        batch: TrainInput<M>,
        items: usize,
    ) -> (TrainOutput<TrainOutputOf<M>>, f64) {
        let position = self.run.position;
        let counter = mix(position.epoch as u64) ^ position.batches as u64;
        self.seed(counter);
        self.call(|callback, run| callback.before_forward(run));
        let mut output = self.run.learner.train_step(batch);
        let weight = self.strategy.batch_weight(&output.item, items);
        self.run.step_loss.begin_batch(weight);
        self.call(|callback, run| {
            let mut pass = BackwardPass {
                output: &output.item,
                grads: &mut output.grads,
            };
            callback.after_backward(run, &mut pass)
        });
        (output, weight)
    }

    fn optimize(&mut self, mut grads: GradientsParams, item: &TrainOutputOf<M>) {
        let mut skip = None;
        self.call(|callback, run| {
            let mut step = OptimizerStep {
                grads: &mut grads,
                skip: skip.take(),
            };
            let result = callback.before_optimizer_step(run, &mut step);
            skip = step.skip;
            result
        });
        self.run.learner.lr_step();
        // After an error of a callback the gradients are not to be trusted.
        if skip.is_none() && self.run.interrupter.error().is_none() {
            self.run.learner.optimizer_step(grads);
        }
        self.run.position.step += 1;
        self.call(|callback, run| callback.after_optimizer_step(run, item));
        self.run.step_loss = StepLoss::default();
    }

    /// Gives an output to the metrics.
    fn report(&mut self, item: TrainOutputOf<M>, progress: Progress) {
        let (iteration, lr) = (self.run.position.batches, self.run.learner.lr_current());
        let item = TrainingItem::new(item, progress, Some(iteration), Some(lr));
        self.process_train(LearnerEvent::ProcessedItem(item));
    }

    /// What was asked for in a step: back to a checkpoint, or a new one.
    fn after_step(&mut self, progress: &Progress) {
        if self.run.interrupter.error().is_some() {
            return;
        }
        if let Some((source, reason)) = self.run.rollback.take() {
            self.roll_back(&source, &reason);
            return;
        }
        let step = self.run.position.step;
        let due = |checkpoints: &Checkpoints<M>| {
            // The one after the validation comes next, and knows more.
            let at_end = progress.is_completed() && checkpoints.every_epoch();
            checkpoints.is_due(step) && !at_end
        };
        if self.checkpoints.as_ref().is_some_and(due) || self.run.checkpoint_requested {
            self.checkpoint(Checkpoints::save);
        }
    }

    fn roll_back(&mut self, source: &str, reason: &str) {
        let Some(checkpoints) = &mut self.checkpoints else {
            let message =
                format!("{reason}: nothing to roll back to, as no checkpoints are written");
            self.run.notify(source, message);
            self.deliver();
            return;
        };
        match checkpoints.roll_back(&mut self.run) {
            Ok(step) => {
                let message = format!("{reason}: rolled back to the checkpoint of step {step}");
                self.run.notify(source, message);
                self.deliver();
            }
            Err(error) => self.fail_checkpoint(error),
        }
    }

    /// Runs the model for inference on the data of validation.
    pub fn validate(&mut self, loader: &ValidLoader<M>) {
        let epoch_number = self.run.position.epoch;
        self.call(|callback, run| callback.on_validation_start(run));
        let total_items = loader.num_items();
        self.process_valid(LearnerEvent::StartSplit {
            epoch_number,
            total_items,
        });
        self.seed(!mix(epoch_number as u64));
        let model = self.run.learner.model().valid();
        let mut batches = loader.iter();
        let mut iteration = 0;
        while !self.run.is_stopping()
            && let Some(batch) = batches.next()
        {
            match batch {
                Ok(batch) => {
                    iteration += 1;
                    let item = InferenceStep::step(&model, batch);
                    let item = TrainingItem::new(item, batches.progress(), Some(iteration), None);
                    self.process_valid(LearnerEvent::ProcessedItem(item));
                }
                Err(error) => self.run.interrupter.fail(error),
            }
        }
        self.process_valid(LearnerEvent::EndSplit(epoch_number));
    }

    fn process_valid(&mut self, event: LearnerEvent<<M as InferenceStep>::Output>) {
        let processed = self.processor.process_valid(event);
        self.run.interrupter.fail_on_error(processed);
    }

    /// Random operations depend on the seed and the counter alone.
    fn seed(&self, counter: u64) {
        let device = &self.strategy.device;
        device.seed(mix(self.strategy.seed) ^ mix(counter));
    }
}
