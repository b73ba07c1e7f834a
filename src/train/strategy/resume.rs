use burn::train::{
    Interrupter, Learner, LearnerModel, TrainingError, checkpoint::CheckpointerError,
};

use super::CallbackStrategy;
use crate::train::checkpoint::{
    Checkpoint, CheckpointError, CheckpointFolder, CheckpointManifest, CheckpointPolicy, Resume,
    TrainingPosition, parameter_digest,
};

/// Where a training begins, and what is to be said about it.
pub(super) struct Start {
    pub position: TrainingPosition,
    /// Source and text of messages for the log.
    pub messages: Vec<String>,
}

impl Start {
    /// The beginning of an epoch.
    pub fn at_epoch(epoch: usize) -> Self {
        let position = TrainingPosition {
            epoch,
            ..TrainingPosition::START
        };
        Self {
            position,
            messages: Vec::new(),
        }
    }

    /// No training at all, for the given reason.
    pub fn failed(interrupter: &Interrupter, error: CheckpointError) -> Self {
        interrupter.fail(training_error(error));
        Self::at_epoch(1)
    }

    /// Where the policy says to begin; the learner and the callbacks are then what they were there.
    /// `epoch` is the last one of a checkpoint of Burn's that was loaded.
    pub fn find<M: LearnerModel>(
        strategy: &CallbackStrategy<M>,
        learner: &mut Learner<M>,
        epoch: Option<usize>,
    ) -> Result<Self, CheckpointError> {
        let begin = Self::at_epoch(epoch.unwrap_or(0) + 1);
        let Some(policy) = &strategy.checkpoints else {
            return Ok(begin);
        };
        let folder = CheckpointFolder::new(&policy.folder);
        folder.clean()?;
        let mut messages = Vec::new();
        let checkpoint = match policy.resume {
            Resume::Never => return unused(&folder).map(|()| begin),
            Resume::Step(step) => folder.load_or_offer(step)?,
            Resume::Latest => {
                let newest = folder.newest()?;
                let refused = newest.refused.iter();
                messages.extend(refused.map(|(step, error)| {
                    format!("the checkpoint of step {step} is passed over: {error}")
                }));
                match newest.manifest {
                    Some(manifest) => folder.load(manifest.position.step)?,
                    None => return Ok(Self { messages, ..begin }),
                }
            }
        };
        let position = checkpoint.manifest.position;
        load(strategy, learner, policy, checkpoint)?;
        messages.push(format!("going on after step {}", position.step));
        Ok(Self { position, messages })
    }
}

/// Refuses to mix a new training with the checkpoints of another.
fn unused(folder: &CheckpointFolder) -> Result<(), CheckpointError> {
    match folder.steps()?.last() {
        None => Ok(()),
        Some(&step) => Err(CheckpointError::FolderInUse {
            folder: folder.path().to_path_buf(),
            step,
        }),
    }
}

/// Refuses a checkpoint of another run or model.
pub(super) fn check<M: LearnerModel>(
    manifest: &CheckpointManifest,
    policy: &CheckpointPolicy,
    model: &M,
) -> Result<(), CheckpointError> {
    let path = policy.folder.clone();
    if manifest.fingerprint != policy.fingerprint {
        return Err(CheckpointError::OtherRun {
            path,
            expected: policy.fingerprint.clone(),
            found: manifest.fingerprint.clone(),
        });
    }
    let expected = parameter_digest(model);
    if manifest.parameters != expected {
        return Err(CheckpointError::OtherModel {
            path,
            expected,
            found: manifest.parameters.clone(),
        });
    }
    Ok(())
}

fn load<M: LearnerModel>(
    strategy: &CallbackStrategy<M>,
    learner: &mut Learner<M>,
    policy: &CheckpointPolicy,
    checkpoint: Checkpoint,
) -> Result<(), CheckpointError> {
    let Checkpoint { manifest, records } = checkpoint;
    check(&manifest, policy, &learner.model())?;
    learner.load_model(records.model);
    learner.load_optim(records.optimizer);
    learner.load_scheduler(records.scheduler);
    let mut states = manifest.callbacks;
    for callback in strategy.callbacks().iter_mut() {
        let name = callback.name().to_string();
        if let Some(state) = states.remove(&name) {
            let loaded = callback.load_state(state);
            loaded.map_err(|error| CheckpointError::CallbackState {
                callback: name,
                reason: error.to_string(),
            })?;
        }
    }
    Ok(())
}

/// A checkpoint's error as one of a training.
pub(super) fn training_error(error: CheckpointError) -> TrainingError {
    TrainingError::Checkpoint(CheckpointerError::Unknown(error.to_string()))
}
