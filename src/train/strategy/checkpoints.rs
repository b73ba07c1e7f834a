use std::collections::BTreeMap;

use burn::train::{LearnerModel, metric::store::Split};

use super::{callback_strategy::Callbacks, resume::check};
use crate::train::{
    callback::TrainingRun,
    checkpoint::{
        CheckpointError, CheckpointFolder, CheckpointPolicy, Description, RecordTap,
        TrainingPosition, parameter_digest,
    },
};

/// Writes the checkpoints of a training.
pub(super) struct Checkpoints<M: LearnerModel> {
    policy: CheckpointPolicy,
    folder: CheckpointFolder,
    tap: RecordTap<M>,
    parameters: String,
    /// Step and metric of the best so far.
    best: Option<(usize, f64)>,
}

impl<M: LearnerModel> Checkpoints<M> {
    pub fn new(policy: CheckpointPolicy, model: &M) -> Self {
        let folder = CheckpointFolder::new(&policy.folder);
        let mut checkpoints = Self {
            parameters: parameter_digest(model),
            tap: RecordTap::new(),
            folder,
            policy,
            best: None,
        };
        checkpoints.best = checkpoints.find_best();
        checkpoints
    }

    /// The best of the checkpoints that an earlier part of the training wrote.
    fn find_best(&self) -> Option<(usize, f64)> {
        let metric = self.policy.keep_best.as_ref()?;
        let steps = self.folder.steps().ok()?.into_iter();
        let values = steps.filter_map(|step| {
            let manifest = self.folder.verify(step).ok()?;
            manifest.metric.map(|value| (step, value))
        });
        values.reduce(|best, next| match metric.is_better(next.1, best.1) {
            true => next,
            false => best,
        })
    }

    /// Whether the policy asks for one after this step.
    pub fn is_due(&self, step: usize) -> bool {
        let every = self.policy.every_steps;
        every.is_some_and(|steps| step.is_multiple_of(steps))
    }

    /// Whether the policy asks for one after each validation.
    pub fn every_epoch(&self) -> bool {
        self.policy.every_epoch
    }

    /// Writes one within an epoch.
    pub fn save(
        &mut self,
        run: &mut TrainingRun<M>,
        callbacks: &Callbacks<M>,
    ) -> Result<(), CheckpointError> {
        self.write(run, callbacks, run.position, None)
    }

    /// Writes one after the validation of an epoch.
    pub fn save_epoch(
        &mut self,
        run: &mut TrainingRun<M>,
        callbacks: &Callbacks<M>,
    ) -> Result<(), CheckpointError> {
        let metric = self.policy.keep_best.clone();
        let value = metric
            .as_ref()
            .and_then(|metric| run.metric(&metric.name, Split::Valid))
            .filter(|value| !value.is_nan());
        let step = run.position.step;
        if let (Some(metric), Some(value)) = (&metric, value)
            && self
                .best
                .is_none_or(|(_, best)| metric.is_better(value, best))
        {
            self.best = Some((step, value));
        }
        let position = TrainingPosition {
            step,
            epoch: run.position.epoch + 1,
            batches: 0,
        };
        self.write(run, callbacks, position, value)
    }

    fn write(
        &mut self,
        run: &mut TrainingRun<M>,
        callbacks: &Callbacks<M>,
        position: TrainingPosition,
        metric: Option<f64>,
    ) -> Result<(), CheckpointError> {
        let states = callbacks.iter().filter_map(|callback| {
            let state = callback.state()?;
            Some((callback.name().to_string(), state))
        });
        let description = Description {
            position,
            fingerprint: &self.policy.fingerprint,
            parameters: &self.parameters,
            metric,
            callbacks: BTreeMap::from_iter(states),
        };
        let records = self.tap.records(&run.learner, &run.event_store);
        self.folder.save(records, description)?;
        let best = self.best.map(|(step, _)| step);
        self.folder.prune(self.policy.keep_last, best.as_slice())?;
        let step = position.step;
        run.notify_values(
            "checkpoint",
            format!("step {step} is saved"),
            metric.map(|v| ("metric", v)),
        );
        Ok(())
    }

    /// Puts model and optimizer back to the newest whole checkpoint and returns its step.
    pub fn roll_back(&mut self, run: &mut TrainingRun<M>) -> Result<usize, CheckpointError> {
        let newest = self.folder.newest()?.manifest;
        let manifest = newest.ok_or_else(|| CheckpointError::NoCheckpoint {
            folder: self.folder.path().to_path_buf(),
        })?;
        check(&manifest, &self.policy, &run.model())?;
        let step = manifest.position.step;
        let records = self.folder.load(step)?.records;
        run.learner.load_model(records.model);
        run.learner.load_optim(records.optimizer);
        Ok(step)
    }
}
