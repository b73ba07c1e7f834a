use core::error::Error;

use burn::{tensor::Tensor, train::LearnerModel};
use serde_json::Value;

use super::{
    BackwardPass, Callback, CallbackResult, OptimizerStep, SharedLossScaler, StateTensors,
    TrainingRun,
};
use crate::{
    base::bounds::Bounds,
    peft::{AdaLoraConfig, DirectionGradients, RankAllocator, RankAllocatorRecord},
};

/// Trains AdaLoRA adapters: adds the orthogonality of their factors to the gradients, measures the importance of
/// their directions, and prunes directions down to the budget, by a [`RankAllocator`].
///
/// The gradient of the orthogonality enters after each backward pass, before any callback clips gradients. Importance is
/// that of the gradients after the callbacks before this one: add it after
/// [`LossScaling`](super::LossScaling) and [`GradientClipping`](super::GradientClipping), for those that the optimizer
/// gets, as in peft. A step that is skipped is not measured.
///
/// Each pruning that lowers the budget is an event with the budget, the number of directions that are kept, and
/// the orthogonality in the loss; [`every`](Self::every) adds events. Checkpoints hold the averages of importance.
///
/// # Example
///
/// ```no_run
/// use bitnet_burn::{
///     peft::AdaLoraConfig,
///     train::{CallbackStrategy, callback::{AdaLoraAllocation, GradientClipping, TrainOutputOf}},
/// };
/// use burn::train::{LearnerModel, metric::{Adaptor, LossInput}};
///
/// fn strategy<M: LearnerModel>(config: &AdaLoraConfig) -> CallbackStrategy<M>
/// where
///     TrainOutputOf<M>: Adaptor<LossInput>,
/// {
///     CallbackStrategy::default()
///         .with_callback(GradientClipping::new(1.0))
///         .with_callback(AdaLoraAllocation::new(config))
///         .with_max_steps(config.total_step)
/// }
/// ```
pub struct AdaLoraAllocation {
    config: AdaLoraConfig,
    scaler: Option<SharedLossScaler>,
    every: Option<usize>,
    /// Known from the start of the training on.
    allocator: Option<RankAllocator>,
    /// State of a checkpoint, until the model is known.
    loaded: Option<RankAllocatorRecord>,
    /// Orthogonality in the loss of the last pass.
    orthogonality: Option<Tensor<1>>,
    /// Gradients of the step.
    grads: Option<DirectionGradients>,
    /// Budget of the last event.
    budget: Option<usize>,
}

impl AdaLoraAllocation {
    /// Creates the callback for a model with adapters of this configuration.
    pub fn new(config: &AdaLoraConfig) -> Self {
        Self {
            config: config.clone(),
            scaler: None,
            every: None,
            allocator: None,
            loaded: None,
            orthogonality: None,
            grads: None,
            budget: None,
        }
    }

    /// Sets the loss scaler of the model, by which gradients are scaled after a backward pass.
    #[must_use]
    pub fn with_loss_scaler(mut self, scaler: &SharedLossScaler) -> Self {
        self.scaler = Some(scaler.clone());
        self
    }

    /// Logs the number of directions and the orthogonality every `every` steps, too.
    ///
    /// # Panics
    ///
    /// If `every` is 0.
    #[track_caller]
    #[must_use]
    pub fn every(mut self, every: usize) -> Self {
        Bounds::COUNT.assert("every", every);
        self.every = Some(every);
        self
    }

    /// Creates the allocator of the model, with the state of a checkpoint if there is one.
    fn start<M: LearnerModel>(
        &mut self,
        run: &TrainingRun<M>,
    ) -> Result<(), Box<dyn Error + Send + Sync>> {
        let model = run.model();
        let allocator = RankAllocator::new(&self.config, &model)?;
        let device = model.devices().into_iter().next().unwrap_or_default();
        self.allocator = Some(match self.loaded.take() {
            Some(record) => allocator.load_record(record, &device)?,
            None => allocator,
        });
        let before = run.position().step.checked_sub(1);
        let schedule = self.allocator.as_ref().map(RankAllocator::schedule);
        self.budget = before.and_then(|step| Some(schedule?.budget(step)));
        self.grads = None;
        Ok(())
    }

    /// Sends an event about a step if one is due.
    fn report<M: LearnerModel>(&mut self, run: &mut TrainingRun<M>, step: usize) -> CallbackResult {
        let Some(allocator) = &self.allocator else {
            return Ok(());
        };
        let budget = allocator.schedule().budget(step);
        let is_lower = self.budget.is_some_and(|before| budget < before);
        self.budget = Some(budget);
        let is_due = self
            .every
            .is_some_and(|n| run.position().step.is_multiple_of(n));
        if !is_lower && !is_due {
            return Ok(());
        }
        let kept: usize = allocator.ranks().values().sum();
        let mut values = vec![("budget", budget as f64), ("directions", kept as f64)];
        if let Some(orthogonality) = self.orthogonality.take() {
            let value: Vec<f32> = orthogonality.try_into_vec_as()?;
            values.push(("orthogonality", f64::from(value[0])));
        }
        let message = format!("{kept} directions are kept");
        run.notify_values("ada_lora", message, values);
        Ok(())
    }
}

impl<M: LearnerModel> Callback<M> for AdaLoraAllocation {
    fn name(&self) -> &str {
        "ada_lora"
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.start(run)?;
        let AdaLoraConfig {
            total_step, tfinal, ..
        } = self.config;
        if let Some(steps) = run.num_steps().filter(|&steps| steps < total_step - tfinal) {
            let message = format!(
                "the budget reaches its target in step {}, the training has {steps}: set total_step to {steps}",
                total_step - tfinal
            );
            run.notify("ada_lora", message);
        }
        Ok(())
    }

    fn after_backward(
        &mut self,
        run: &mut TrainingRun<M>,
        pass: &mut BackwardPass<'_, M>,
    ) -> CallbackResult {
        if let Some(allocator) = &self.allocator {
            let scale = self
                .scaler
                .as_ref()
                .map_or(1.0, |scaler| scaler.get().into());
            self.orthogonality = allocator.regularize(&run.model(), pass.grads, scale);
        }
        Ok(())
    }

    fn before_optimizer_step(
        &mut self,
        _run: &mut TrainingRun<M>,
        step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        let allocator = self.allocator.as_ref();
        self.grads = allocator.map(|allocator| allocator.gradients(step.grads));
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let grads = self.grads.take().filter(|_| run.skipped().is_none());
        let Some(allocator) = self.allocator.as_mut().filter(|_| !run.has_failed()) else {
            return Ok(());
        };
        let step = run.position().step - 1;
        let model = run.model();
        if allocator.step(&model, step, grads)?.prunes() {
            let changed = allocator.pruned_parameters();
            let record = allocator.prune(model, step).into_record_group(changed);
            run.load_model(record.allow_partial(true));
        }
        self.report(run, step)
    }

    fn on_rollback(&mut self, run: &mut TrainingRun<M>, state: Option<Value>) -> CallbackResult {
        match state {
            Some(state) => Callback::<M>::load_state(self, state)?,
            None => self.loaded = None,
        }
        self.start(run)
    }

    fn state(&self) -> Option<Value> {
        let kept = self.allocator.as_ref()?.to_record_without_averages();
        serde_json::to_value(kept).ok()
    }

    fn load_state(&mut self, state: Value) -> CallbackResult {
        let averages = self.loaded.take().unwrap_or_default().averages;
        let record: RankAllocatorRecord = serde_json::from_value(state)?;
        self.loaded = Some(RankAllocatorRecord { averages, ..record });
        Ok(())
    }

    fn tensors(&self) -> Result<StateTensors, Box<dyn Error + Send + Sync>> {
        match &self.allocator {
            Some(allocator) => Ok(allocator.to_record()?.averages),
            None => Ok(StateTensors::new()),
        }
    }

    fn load_tensors(&mut self, tensors: StateTensors) -> CallbackResult {
        self.loaded = Some(RankAllocatorRecord {
            averages: tensors,
            ..Default::default()
        });
        Ok(())
    }
}
