use std::io;

use burn::train::{
    Interrupter, Learner, LearnerModel, TrainingError, checkpoint::CheckpointerError,
};

use super::loop_settings::LoopSettings;
use crate::train::callback::CallbackError;
use crate::train::checkpoint::{
    Checkpoint, CheckpointError, CheckpointFolder, CheckpointPolicy, FrozenParameter,
    FrozenParameters, OptimizerStates, Records, Refused, Resume, TensorDifference, TensorEntry,
    TrainingOver, TrainingPosition, TrainingSettings, loaded_dtype,
};

/// Start of a training, with messages about it.
pub(super) struct Start {
    pub position: TrainingPosition,
    /// `true` if a checkpoint was loaded.
    pub loaded: bool,
    /// Messages for the log.
    pub messages: Vec<String>,
    /// Reason for an end of the training before its last epoch, if it was over.
    pub over: Option<TrainingOver>,
    /// Settings of the training in the checkpoint, if one was loaded.
    pub settings: Option<TrainingSettings>,
    /// Parameters that the checkpoint leaves out, if one was loaded.
    pub frozen: Option<Vec<FrozenParameter>>,
}

impl Start {
    /// Starts at the beginning of an epoch.
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
            frozen: None,
        }
    }

    /// Returns messages about changed data or steps, for an epoch that is resumed.
    pub fn changes(&self, present: &TrainingSettings) -> Vec<String> {
        match &self.settings {
            Some(settings) if self.position.batches > 0 => settings.changes(present),
            _ => Vec::new(),
        }
    }

    /// Fails the training with the given error.
    pub fn failed(interrupter: &Interrupter, error: CheckpointError) -> Self {
        interrupter.fail(training_error(error));
        Self::at_epoch(1)
    }

    /// Finds the start by the policy, and restores the learner and the callbacks to it. `epoch` is
    /// the last one of a loaded checkpoint of Burn.
    pub fn find<M: LearnerModel>(
        settings: &LoopSettings<M>,
        learner: &mut Learner<M>,
        epoch: Option<usize>,
    ) -> Result<Self, CheckpointError> {
        if let Some(epoch) = epoch.filter(|epoch| *epoch > 0 && settings.counts_steps()) {
            return Err(CheckpointError::Request(format!(
                "Burn's checkpoint of epoch {epoch} holds neither the step nor the state of \
                 callbacks: resume with CallbackStrategy::with_checkpoints and a CheckpointPolicy"
            )));
        }
        let begin = Self::at_epoch(epoch.unwrap_or(0) + 1);
        let Some(policy) = &settings.checkpoints else {
            return Ok(begin);
        };
        if let Some(metric) = policy.keep_best.as_ref().filter(|_| !policy.every_epoch) {
            return Err(CheckpointError::Request(format!(
                "no checkpoint is the best by {:?} without checkpoints at the end of epochs: set \
                 every_epoch",
                metric.name
            )));
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
        let frozen = checkpoint.manifest.frozen.clone();
        let dropped = load(settings, learner, policy, checkpoint)?;
        messages.push(format!("going on after step {}", position.step));
        if dropped > 0 {
            messages.push(format!(
                "the optimizer states of {dropped} parameters are reset, as their float type has \
                 changed"
            ));
        }
        if let Resume::Step(step) = policy.resume {
            let later = folder.abandon_after(step)?;
            let texts = later.iter().map(|step| {
                format!(
                    "the checkpoint of step {step} is set aside: the training resumes before it"
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
            frozen: Some(frozen),
        })
    }
}

/// Refuses to skip checkpoints that another version of this crate can read.
fn of_this_version(mut refused: Refused) -> Result<Refused, CheckpointError> {
    let of_other = |(_, error): &(usize, CheckpointError)| {
        matches!(error, CheckpointError::OtherVersion { .. })
    };
    match refused.iter().position(of_other) {
        Some(first) => Err(refused.swap_remove(first).1),
        None => Ok(refused),
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

/// Returns the records of a checkpoint for a model, in its float types, and the number of
/// parameters whose optimizer states are reset. Fails for a checkpoint of another run or model.
pub(super) fn records_for<M: LearnerModel>(
    checkpoint: Checkpoint,
    policy: &CheckpointPolicy,
    model: &M,
) -> Result<(Records, usize), CheckpointError> {
    let Checkpoint {
        path,
        manifest,
        records,
    } = checkpoint;
    if manifest.fingerprint != policy.fingerprint {
        return Err(CheckpointError::OtherRun {
            path,
            expected: policy.fingerprint.clone(),
            found: manifest.fingerprint,
        });
    }
    manifest.settings.check_quantizers(model, &path)?;
    let expected = TensorEntry::of(model);
    let difference = TensorDifference::between(&expected, &manifest.tensors, policy.cast_on_load);
    if let Some(difference) = difference {
        return Err(CheckpointError::OtherModel {
            path,
            difference: Box::new(difference),
        });
    }
    if !manifest.frozen.is_empty() {
        let frozen = FrozenParameters::of(model)?;
        if let Some(other) = frozen.first_difference(&manifest.frozen) {
            let parameter = other.path.clone();
            return Err(CheckpointError::OtherFrozen { path, parameter });
        }
    }
    let states = OptimizerStates::new(records.optimizer, &expected, &manifest.tensors);
    let states = states.map_err(|error| CheckpointError::record(&path, error))?;
    if let Some((parameter, dtype)) = states.unloadable {
        let loaded = loaded_dtype();
        return Err(CheckpointError::Request(format!(
            "the optimizer has its state of `{parameter}` in {dtype:?}, which Burn loads as \
             {loaded:?}: use an optimizer with states in {loaded:?}, such as a QatOptimizer with \
             stochastic rounding, or AdamW8bit"
        )));
    }
    let model = match expected == manifest.tensors {
        true => records.model,
        false => records.model.cast_to_module_dtype(),
    };
    let records = Records {
        model: model.allow_partial(!manifest.frozen.is_empty()),
        optimizer: states.record,
        scheduler: records.scheduler,
        callbacks: records.callbacks,
    };
    Ok((records, states.dropped.len()))
}

/// Loads a checkpoint. Returns the number of parameters whose optimizer states are reset.
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
    let loaded = settings
        .callbacks()
        .load_states(states, records.callbacks.0);
    loaded.map_err(state_error)?;
    Ok(dropped)
}

/// Returns the error of a checkpoint for a callback whose state cannot be saved or loaded.
pub(super) fn state_error(CallbackError { callback, source }: CallbackError) -> CheckpointError {
    CheckpointError::Request(format!("the state of the callback `{callback}`: {source}"))
}

/// Wraps the error of a checkpoint in one of a training, from which
/// [`TrainingFailure`](crate::train::TrainingFailure) extracts it: of Burn's variants, only system
/// errors can hold others.
pub(super) fn training_error(error: CheckpointError) -> TrainingError {
    let kind = match &error {
        CheckpointError::Io(error) => error.source.kind(),
        _ => io::ErrorKind::Other,
    };
    TrainingError::Checkpoint(CheckpointerError::IOError(io::Error::new(kind, error)))
}
