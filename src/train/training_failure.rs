use core::error::Error;

use burn::train::{TrainingError, checkpoint::CheckpointerError};

use super::{NoData, callback::CallbackError, checkpoint::CheckpointError};

/// Original error of a training that [`CallbackStrategy`](super::CallbackStrategy) ran, extracted
/// from Burn's error.
///
/// Burn's [`TrainingError`] has no variant for errors of other crates. They are wrapped in variants
/// with unrelated messages: an error of a callback is printed as "Dataset error: ..".
///
/// # Example
///
/// ```no_run
/// use bitnet_burn::train::{TrainingFailure, callback::NonFinite, checkpoint::CheckpointError};
/// use burn::train::{LearnerModel, LearningResult};
///
/// fn report<M: LearnerModel>(result: LearningResult<M>) {
///     let Some(error) = result.error else {
///         return;
///     };
///     if let Some(CheckpointError::FolderInUse { folder, .. }) = error.checkpoint_error() {
///         eprintln!("choose another folder than {}", folder.display());
///     } else if let Some(failed) = error.callback_error()
///         && let Some(found) = failed.source.downcast_ref::<NonFinite>()
///     {
///         eprintln!("{} tensors are not finite", found.parameters.len());
///     } else {
///         eprintln!("{}", error.reason());
///     }
/// }
/// ```
pub trait TrainingFailure {
    /// Returns the error of a checkpoint that could not be written or used, if that was the cause.
    fn checkpoint_error(&self) -> Option<&CheckpointError>;

    /// Returns the callback that failed, with its error as `source`, if
    /// one did.
    fn callback_error(&self) -> Option<&CallbackError>;

    /// Returns the cause in a sentence, without the prefix that Burn adds to errors of other
    /// crates.
    fn reason(&self) -> String;
}

/// Returns the error of this crate that Burn's error of the data wraps.
fn wrapped<E: Error + 'static>(error: &TrainingError) -> Option<&E> {
    match error {
        TrainingError::Dataset(error) => error.source()?.downcast_ref(),
        _ => None,
    }
}

impl TrainingFailure for TrainingError {
    fn checkpoint_error(&self) -> Option<&CheckpointError> {
        match self {
            Self::Checkpoint(CheckpointerError::IOError(error)) => error.get_ref()?.downcast_ref(),
            _ => None,
        }
    }

    fn callback_error(&self) -> Option<&CallbackError> {
        wrapped(self)
    }

    fn reason(&self) -> String {
        let checkpoint = self.checkpoint_error().map(CheckpointError::to_string);
        let callback = || self.callback_error().map(CallbackError::to_string);
        let no_data = || wrapped(self).map(NoData::to_string);
        let reason = checkpoint.or_else(callback).or_else(no_data);
        reason.unwrap_or_else(|| self.to_string())
    }
}
