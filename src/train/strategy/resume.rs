use std::io;

use burn::train::{
    Interrupter, Learner, LearnerModel, TrainingError, checkpoint::CheckpointerError,
};

use super::loop_settings::LoopSettings;
use crate::train::checkpoint::{
    Checkpoint, CheckpointError, CheckpointFolder, CheckpointPolicy, OptimizerStates, Records,
    Resume, TensorDifference, TensorEntry, TrainingOver, TrainingPosition, TrainingSettings,
    loaded_dtype,
};

/// Where a training begins, and what is to be said about it.
pub(super) struct Start {
    pub position: TrainingPosition,
    /// Whether a checkpoint was loaded.
    pub loaded: bool,
    /// Messages for the log.
    pub messages: Vec<String>,
    /// Whether and why the training was over before its last epoch.
    pub over: Option<TrainingOver>,
    /// What the training was made with, if a checkpoint was loaded.
    pub settings: Option<TrainingSettings>,
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
            loaded: false,
            messages: Vec::new(),
            over: None,
            settings: None,
        }
    }

    /// What is said of an epoch that goes on with other data or steps than it began with.
    pub fn changes(&self, present: &TrainingSettings) -> Vec<String> {
        match &self.settings {
            Some(settings) if self.position.batches > 0 => settings.changes(present),
            _ => Vec::new(),
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
        settings: &LoopSettings<M>,
        learner: &mut Learner<M>,
        epoch: Option<usize>,
    ) -> Result<Self, CheckpointError> {
        if let Some(epoch) = epoch.filter(|epoch| *epoch > 0 && settings.counts_steps()) {
            return Err(CheckpointError::BurnCheckpoint { epoch });
        }
        let begin = Self::at_epoch(epoch.unwrap_or(0) + 1);
        let Some(policy) = &settings.checkpoints else {
            return Ok(begin);
        };
        if let Some(metric) = policy.keep_best.as_ref().filter(|_| !policy.every_epoch) {
            let metric = metric.name.clone();
            return Err(CheckpointError::NoEpochs { metric });
        }
        let folder = CheckpointFolder::new(&policy.folder);
        folder.clean()?;
        let mut messages = Vec::new();
        let checkpoint = match policy.resume {
            Resume::Never => return unused(&folder).map(|()| begin),
            Resume::Step(step) => folder.load_or_offer(step)?,
            Resume::Latest => {
                let (newest, refused) = folder.load_newest()?;
                let refused = of_this_version(refused)?;
                messages.extend(refused.iter().map(|(step, error)| {
                    format!("the checkpoint of step {step} is passed over: {error}")
                }));
                match newest {
                    Some(checkpoint) => checkpoint,
                    None => return Ok(Self { messages, ..begin }),
                }
            }
        };
        let position = checkpoint.manifest.position;
        let over = checkpoint.manifest.over.clone();
        let made_with = checkpoint.manifest.settings.clone();
        let dropped = load(settings, learner, policy, checkpoint)?;
        messages.push(format!("going on after step {}", position.step));
        if dropped > 0 {
            messages.push(format!(
                "the optimizer states of {dropped} parameters begin anew, as their float type is \
                 another"
            ));
        }
        if let Resume::Step(step) = policy.resume {
            let later = folder.abandon_after(step)?;
            let texts = later.iter().map(|step| {
                format!(
                    "the checkpoint of step {step} is set aside: the training goes on before it"
                )
            });
            messages.extend(texts);
        }
        Ok(Self {
            position,
            loaded: true,
            messages,
            over,
            settings: Some(made_with),
        })
    }
}

/// Refuses to pass over checkpoints that another version of this crate can read.
fn of_this_version(mut refused: Refused) -> Result<Refused, CheckpointError> {
    let of_other = |(_, error): &(usize, CheckpointError)| {
        matches!(error, CheckpointError::OtherVersion { .. })
    };
    match refused.iter().position(of_other) {
        Some(first) => Err(refused.swap_remove(first).1),
        None => Ok(refused),
    }
}

/// Steps of checkpoints that cannot be used, with the reasons.
type Refused = Vec<(usize, CheckpointError)>;

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

/// The records of a checkpoint for a model, in its float types, and the number of parameters whose
/// optimizer states begin anew.
///
/// # Errors
///
/// If it is a checkpoint of another run or model.
pub(super) fn records_for<M: LearnerModel>(
    checkpoint: Checkpoint,
    policy: &CheckpointPolicy,
    model: &M,
) -> Result<(Records, usize), CheckpointError> {
    let Checkpoint { manifest, records } = checkpoint;
    let path = || {
        policy
            .folder
            .join(format!("step-{:08}", manifest.position.step))
    };
    if manifest.fingerprint != policy.fingerprint {
        return Err(CheckpointError::OtherRun {
            path: path(),
            expected: policy.fingerprint.clone(),
            found: manifest.fingerprint.clone(),
        });
    }
    let quantizers = manifest.settings.check_quantizers(model);
    quantizers.map_err(|other| other.at(path()))?;
    let expected = TensorEntry::of(model);
    let difference = TensorDifference::between(&expected, &manifest.tensors, policy.cast_on_load);
    if let Some(difference) = difference {
        return Err(CheckpointError::OtherModel {
            path: path(),
            difference: Box::new(difference),
        });
    }
    let states = OptimizerStates::new(records.optimizer, &expected, &manifest.tensors);
    let states = states.map_err(|error| CheckpointError::Record {
        path: path(),
        reason: error.to_string(),
    })?;
    if let Some((parameter, dtype)) = states.unloadable {
        return Err(CheckpointError::OptimizerState {
            parameter,
            dtype,
            loaded: loaded_dtype(),
        });
    }
    let model = match expected == manifest.tensors {
        true => records.model,
        false => records.model.cast_to_module_dtype(),
    };
    let records = Records {
        model,
        optimizer: states.record,
        scheduler: records.scheduler,
    };
    Ok((records, states.dropped.len()))
}

/// Loads a checkpoint. Returns the number of parameters whose optimizer states begin anew.
fn load<M: LearnerModel>(
    settings: &LoopSettings<M>,
    learner: &mut Learner<M>,
    policy: &CheckpointPolicy,
    checkpoint: Checkpoint,
) -> Result<usize, CheckpointError> {
    let states = checkpoint.manifest.callbacks.clone();
    let (records, dropped) = records_for(checkpoint, policy, &learner.model())?;
    learner.load_model(records.model);
    learner.load_optim(records.optimizer);
    learner.load_scheduler(records.scheduler);
    let loaded = settings.callbacks().load_states(states);
    loaded.map_err(|error| CheckpointError::CallbackState {
        callback: error.callback,
        reason: error.source.to_string(),
    })?;
    Ok(dropped)
}

/// A checkpoint's error as one of a training, from which
/// [`TrainingFailure`](crate::train::TrainingFailure) gets it back: of Burn's own, only errors of the
/// system hold others.
pub(super) fn training_error(error: CheckpointError) -> TrainingError {
    let kind = match &error {
        CheckpointError::Io { source, .. } => source.kind(),
        _ => io::ErrorKind::Other,
    };
    TrainingError::Checkpoint(CheckpointerError::IOError(io::Error::new(kind, error)))
}
