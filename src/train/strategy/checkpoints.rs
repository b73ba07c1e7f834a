use burn::train::{LearnerModel, metric::store::Split};

use super::resume::{Start, records_for, state_error};
use crate::train::{
    callback::{CallbackList, CallbackStates, TrainingEvent, TrainingRun},
    checkpoint::{
        BestMetric, CallbackTensors, CheckpointError, CheckpointFolder, CheckpointManifest,
        CheckpointPolicy, FrozenParameter, FrozenParameters, MetricValue, RecordTap, TensorEntry,
        TrainingOver, TrainingPosition, TrainingSettings,
    },
};

/// Writer of the checkpoints of a training.
pub(super) struct Checkpoints<M: LearnerModel> {
    policy: CheckpointPolicy,
    folder: CheckpointFolder,
    tap: RecordTap<M>,
    settings: TrainingSettings,
    tensors: Vec<TensorEntry>,
    /// Parameters that are left out as long as they have these values.
    frozen: Vec<FrozenParameter>,
    /// Step and metric of the best checkpoint so far.
    best: Option<(usize, f64)>,
    /// Position and end of the checkpoint that was last written or loaded.
    last: Option<(TrainingPosition, Option<TrainingOver>)>,
}

impl<M: LearnerModel> Checkpoints<M> {
    /// Creates the writer for a new or resumed training.
    ///
    /// # Errors
    ///
    /// If parameters that are to be left out cannot be read back from the device.
    pub fn new(
        policy: CheckpointPolicy,
        settings: TrainingSettings,
        model: &M,
        start: &Start,
    ) -> Result<Self, CheckpointError> {
        let folder = CheckpointFolder::new(&policy.folder);
        let frozen = match &start.frozen {
            // Those that changed before are in the checkpoint, and stay in later ones.
            Some(frozen) => frozen.clone(),
            None if policy.trained_only => FrozenParameters::of(model)?.entries(),
            None => Vec::new(),
        };
        let loaded = start.loaded.then(|| (start.position, start.over.clone()));
        // By the same metric, from an earlier part of the training.
        let metric = policy.keep_best.as_ref();
        let best = metric.and_then(|metric| folder.best(metric).ok()?);
        Ok(Self {
            settings,
            frozen,
            tensors: TensorEntry::of(model),
            tap: RecordTap::new(),
            folder,
            policy,
            best: best.map(|best| (best.step, best.metric.value)),
            last: loaded,
        })
    }

    /// Returns `true` if the last checkpoint is of this position.
    pub fn has(&self, position: TrainingPosition, over: &Option<TrainingOver>) -> bool {
        self.last
            .as_ref()
            .is_some_and(|last| (&last.0, &last.1) == (&position, over))
    }

    /// Returns `true` if the policy requests a checkpoint after this step.
    pub fn is_due(&self, step: usize) -> bool {
        let every = self.policy.every_steps;
        every.is_some_and(|steps| step.is_multiple_of(steps))
    }

    /// Returns `true` if the policy requests a checkpoint after each validation.
    pub fn every_epoch(&self) -> bool {
        self.policy.every_epoch
    }

    /// Writes a checkpoint without validation metrics.
    pub fn save(
        &mut self,
        run: &mut TrainingRun<M>,
        callbacks: &CallbackList<M>,
    ) -> Result<(), CheckpointError> {
        self.write(run, callbacks, run.position, None)
    }

    /// Writes a checkpoint after the validation of an epoch, from which the training resumes at
    /// `position`.
    pub fn save_epoch(
        &mut self,
        run: &mut TrainingRun<M>,
        callbacks: &CallbackList<M>,
        position: TrainingPosition,
    ) -> Result<(), CheckpointError> {
        let metric = match self.policy.keep_best.clone() {
            Some(metric) => judge(run, metric)?,
            None => None,
        };
        if let Some(MetricValue { metric, value }) = &metric
            && metric.is_better(*value, self.best.map(|(_, best)| best))
        {
            self.best = Some((position.step, *value));
        }
        self.write(run, callbacks, position, metric)
    }

    fn write(
        &mut self,
        run: &mut TrainingRun<M>,
        callbacks: &CallbackList<M>,
        position: TrainingPosition,
        metric: Option<MetricValue>,
    ) -> Result<(), CheckpointError> {
        let value = metric.as_ref().map(|metric| ("metric", metric.value));
        let (fingerprint, states) = (&self.policy.fingerprint, callbacks.states());
        let mut manifest =
            CheckpointManifest::new(position, fingerprint, &self.settings, &self.tensors, states);
        manifest.metric = metric;
        manifest.over = run.over.clone();
        let tensors = CallbackTensors(callbacks.tensors().map_err(state_error)?);
        let mut records = self.tap.records(&run.learner, &run.event_store, tensors);
        if !self.frozen.is_empty() {
            let model = run.learner.model();
            let (unchanged, others) = FrozenParameters::of(&model)?.unchanged(&self.frozen);
            manifest.frozen = unchanged;
            records.model = model.into_record_group(others);
        }
        self.folder.save(records, manifest)?;
        self.last = Some((position, run.over.clone()));
        let best = self.best.map(|(step, _)| step);
        let step = position.step;
        self.folder
            .prune(self.policy.keep_last, best.as_slice(), step)?;
        run.notify_values("checkpoint", TrainingEvent::saved(step), value);
        Ok(())
    }

    /// Restores model and optimizer from the last complete checkpoint, and returns its step with
    /// the states and tensors of callbacks.
    pub fn roll_back(
        &mut self,
        run: &mut TrainingRun<M>,
    ) -> Result<(usize, CallbackStates, CallbackTensors), CheckpointError> {
        let (newest, _) = self.folder.load_newest()?;
        let checkpoint = newest.ok_or_else(|| {
            let folder = self.folder.path().display();
            CheckpointError::Request(format!("there is no whole checkpoint in {folder}"))
        })?;
        let step = checkpoint.manifest.position.step;
        let states = checkpoint.manifest.callbacks.clone();
        let (records, _) = records_for(checkpoint, &self.policy, &run.model())?;
        run.learner.load_model(records.model);
        run.learner.load_optim(records.optimizer);
        Ok((step, states, records.callbacks))
    }
}

/// Returns the metric of the validated epoch; `None` if it is NaN or infinite.
fn judge<M: LearnerModel>(
    run: &TrainingRun<M>,
    metric: BestMetric,
) -> Result<Option<MetricValue>, CheckpointError> {
    match run.metric(&metric.name, Split::Valid) {
        None => Err(CheckpointError::Request(format!(
            "the best checkpoint cannot be kept: the validation has no numeric metric {:?}",
            metric.name
        ))),
        Some(value) => Ok(value.is_finite().then_some(MetricValue { metric, value })),
    }
}
