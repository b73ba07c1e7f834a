//! Training and validation passes over the data.

use burn::{
    data::{
        dataloader::{DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    optim::GradientsParams,
    train::{
        EventProcessorTraining, InferenceStep, LearnerEvent, LearnerModel, TrainLoader,
        TrainOutput, TrainStep, TrainingItem, ValidLoader,
    },
};

use super::{
    NoData, accumulation::Accumulation, checkpoints::Checkpoints, training_loop::TrainingLoop,
};
use crate::{
    base::random::mix,
    train::callback::{BackwardPass, OptimizerStep, StepLoss, TrainOutputOf},
};

type TrainInput<M> = <M as TrainStep>::Input;

/// Batch with its progress, as reported by the loader.
struct Fetched<B> {
    batch: B,
    /// Number of items.
    items: usize,
    progress: Progress,
}

impl<M: LearnerModel> TrainingLoop<'_, M> {
    /// Trains on the batches of an epoch, or of the rest of it.
    pub fn train_epoch(&mut self, loader: &TrainLoader<M>) {
        let epoch_number = self.run.position.epoch;
        let total_items = loader.num_items();
        self.process_train(LearnerEvent::StartSplit {
            epoch_number,
            total_items,
        });
        if let Some(seek) = &self.settings.seek {
            // Another training may have moved the loader.
            seek(epoch_number - 1, self.run.position.batches);
        }
        let mut batches = loader.iter();
        let mut next = self.skip(&mut *batches);
        let mut accumulation = Accumulation::new();
        // A stop request takes effect at the end of the step.
        while !(self.must_end() && accumulation.batches() == 0) {
            let Some(fetched) = next.take() else {
                break;
            };
            let fetched = fetched.map_err(|error| self.run.interrupter.fail(error));
            let Ok(Fetched {
                batch,
                items,
                progress,
            }) = fetched
            else {
                break;
            };
            // Fetched one batch ahead, to detect the last one.
            next = fetch(&mut *batches);
            let last = next.is_none();
            let (TrainOutput { grads, item }, weight) = self.forward_backward(batch, items);
            self.run.position.batches += 1;
            let grads = match self.grad_accumulation {
                1 => Some((grads, weight)),
                batches => {
                    let model = self.run.learner.model();
                    accumulation.add(&model, grads, weight);
                    let complete = accumulation.batches() >= batches || last;
                    complete.then(|| accumulation.take(&model))
                }
            };
            let complete = grads.is_some();
            if let Some((grads, weight)) = grads {
                let model = self.run.learner.model();
                let grads = self.settings.placement.reduce(&model, grads, weight);
                self.optimize(grads);
            }
            self.report(item, progress);
            if self.run.has_failed() {
                break;
            }
            if complete {
                self.after_step(last);
            }
        }
        self.epoch_is_complete = next.is_none();
        if self.epoch_is_complete && self.run.position.batches == 0 && !self.run.is_stopping() {
            self.fail_data(NoData::Training);
        }
        self.process_train(LearnerEvent::EndSplit(epoch_number));
    }

    /// Returns `true` if no further step may start.
    fn must_end(&self) -> bool {
        self.run.is_stopping() || self.has_all_steps()
    }

    /// Skips batches that were trained on before, and returns the next one.
    fn skip(
        &mut self,
        batches: &mut dyn DataLoaderIterator<TrainInput<M>>,
    ) -> Option<Result<Fetched<TrainInput<M>>, DatasetError>> {
        let count = std::mem::take(&mut self.skip_batches);
        for skipped in 0..count {
            match fetch(batches) {
                Some(Ok(fetched)) => self.count_steps(&fetched),
                None => {
                    let message = format!(
                        "the epoch has {skipped} batches, the checkpoint was written after {count} \
                         of them: the data is not that of the earlier training"
                    );
                    self.run.notify("training", message);
                    self.deliver();
                    return None;
                }
                error => return error,
            }
        }
        let next = fetch(batches);
        if let Some(Ok(first)) = &next {
            self.count_steps(first);
        }
        next
    }

    /// Computes the number of steps of the training from the first batch of an epoch.
    fn count_steps(&mut self, first: &Fetched<TrainInput<M>>) {
        let Progress { items_total, .. } = first.progress;
        if self.run.num_steps.is_some() || first.items == 0 || items_total == 0 {
            return;
        }
        let position = self.run.position;
        let steps = |batches: usize| batches.div_ceil(self.grad_accumulation);
        let epochs = (self.run.num_epochs + 1).saturating_sub(position.epoch);
        let before = position.step.saturating_sub(steps(position.batches));
        // After a seek the first batch may be the last, and smaller; those before it were not.
        let items = match first.progress.items_processed - first.items {
            0 => first.items,
            items => (items / position.batches.max(1)).max(1),
        };
        let an_epoch = steps(items_total.div_ceil(items));
        self.run.num_steps = Some(before + epochs * an_epoch);
    }

    /// Returns the gradients of a batch of `items` items, and their weight within the step.
    fn forward_backward(
        &mut self,
        batch: TrainInput<M>,
        items: usize,
    ) -> (TrainOutput<TrainOutputOf<M>>, f64) {
        let position = self.run.position;
        let counter = mix(position.epoch as u64) ^ position.batches as u64;
        self.seed(counter);
        self.call(|callback, run| callback.before_forward(run));
        let placement = &self.settings.placement;
        let mut output = placement.train_step(&self.run.learner, batch);
        let weight = self.settings.batch_weight(&output.item, items);
        let loss = (self.settings.loss)(&output.item);
        self.run.step_loss.add(weight, loss);
        self.call(|callback, run| {
            let mut pass = BackwardPass {
                output: &output.item,
                grads: &mut output.grads,
            };
            callback.after_backward(run, &mut pass)
        });
        (output, weight)
    }

    fn optimize(&mut self, mut grads: GradientsParams) {
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
        // After an error of a callback the gradients may be invalid.
        if skip.is_none() && self.run.interrupter.error().is_none() {
            let placement = &self.settings.placement;
            placement.optimizer_step(&mut self.run.learner, grads);
        }
        self.run.skipped = skip;
        self.run.position.step += 1;
        self.call(|callback, run| callback.after_optimizer_step(run));
        self.run.step_loss = StepLoss::default();
        self.run.measured.clear();
    }

    /// Passes an output to the metrics.
    fn report(&mut self, item: TrainOutputOf<M>, progress: Progress) {
        let (iteration, lr) = (self.run.position.batches, self.run.learner.lr_current());
        let item = TrainingItem::new(item, progress, Some(iteration), Some(lr));
        self.process_train(LearnerEvent::ProcessedItem(item));
    }

    /// Handles a requested rollback or checkpoint after a step. `last` is `true` for the last step
    /// of an epoch.
    fn after_step(&mut self, last: bool) {
        if let Some((source, reason)) = self.run.rollback.take() {
            self.roll_back(&source, &reason);
        }
        let step = self.run.position.step;
        let due = |checkpoints: &Checkpoints<M>| {
            // The checkpoint after the validation follows, with its metrics.
            let at_end = last && checkpoints.every_epoch();
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
            Ok((step, mut states, mut tensors)) => {
                let message = format!("{reason}: rolled back to the checkpoint of step {step}");
                self.run.notify(source, message);
                self.call(|callback, run| {
                    let state = states.remove(callback.name());
                    let tensors = tensors.0.remove(callback.name());
                    callback.load_tensors(tensors.unwrap_or_default())?;
                    callback.on_rollback(run, state)
                });
            }
            Err(error) => self.fail_checkpoint(error),
        }
    }

    /// Validates the model in inference mode. Returns `true` if the validation was completed.
    pub fn validate(&mut self, loader: &ValidLoader<M>) -> bool {
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
        while let Some(batch) = batches.next() {
            let Ok(batch) = batch.map_err(|error| self.run.interrupter.fail(error)) else {
                return false;
            };
            if self.run.is_stopping() {
                return false;
            }
            iteration += 1;
            let item = InferenceStep::step(&model, batch);
            let item = TrainingItem::new(item, batches.progress(), Some(iteration), None);
            self.process_valid(LearnerEvent::ProcessedItem(item));
        }
        if iteration == 0 && !self.run.is_stopping() {
            self.fail_data(NoData::Validation);
        }
        self.process_valid(LearnerEvent::EndSplit(epoch_number));
        !self.run.has_failed()
    }

    fn process_valid(&mut self, event: LearnerEvent<<M as InferenceStep>::Output>) {
        let processed = self.processor.process_valid(event);
        self.run.interrupter.fail_on_error(processed);
    }

    /// Seeds random operations by the seed and the counter alone.
    fn seed(&self, counter: u64) {
        let device = self.settings.placement.device();
        device.seed(mix(self.settings.seed) ^ mix(counter));
    }
}

/// Fetches the next batch, if there is one.
fn fetch<B>(batches: &mut dyn DataLoaderIterator<B>) -> Option<Result<Fetched<B>, DatasetError>> {
    let before = batches.progress().items_processed;
    let batch = batches.next()?;
    let progress = batches.progress();
    let items = progress.items_processed.saturating_sub(before);
    Some(batch.map(|batch| Fetched {
        batch,
        items,
        progress,
    }))
}
