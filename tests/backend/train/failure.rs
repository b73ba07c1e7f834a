//! Errors of callbacks and checkpoints keep their types.

use bitnet_burn::train::{
    TrainingFailure,
    callback::*,
    checkpoint::{CheckpointError, CheckpointPolicy},
};
use burn::tensor::TensorReadError;

use crate::support::{
    callbacks::At,
    training::{Folder, Net, Run, strategy},
};

/// A custom error.
#[derive(Debug, PartialEq)]
struct OutOfTea;

impl core::fmt::Display for OutOfTea {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("there is no tea left")
    }
}

impl core::error::Error for OutOfTea {}

#[test]
fn an_error_of_a_callback_is_what_the_callback_returned() {
    let folder = Folder::new("callback-error");
    let failing = At(5, |_: &mut TrainingRun<Net>| Err(OutOfTea.into()));
    let result = Run::new(&folder.0).launch(strategy().with_callback(failing));
    let error = result.error.unwrap();
    let found = error.callback_error().unwrap();
    assert_eq!(found.callback, "at");
    assert_eq!(found.source.downcast_ref(), Some(&OutOfTea));
    assert!(found.source.downcast_ref::<TensorReadError>().is_none());
    assert!(error.checkpoint_error().is_none());
    assert_eq!(error.reason(), "callback `at`: there is no tea left");
}

#[test]
fn an_error_of_a_checkpoint_is_what_the_checkpoint_returned() {
    let folder = Folder::new("checkpoint-error");
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    let launch = |policy: CheckpointPolicy| {
        let strategy = strategy().with_checkpoints(policy);
        Run::new(&folder.0).launch(strategy).error
    };
    assert!(launch(policy.clone()).is_none());
    let error = launch(policy).unwrap();
    let found = error.checkpoint_error().unwrap();
    assert!(matches!(
        found,
        CheckpointError::FolderInUse { step: 21, .. }
    ));
    assert!(error.callback_error().is_none());
    assert_eq!(error.reason(), found.to_string());
    assert!(!error.to_string().contains("Unknown error"), "{error}");

    // A file instead of the folder.
    let file = folder.0.join("file");
    std::fs::write(&file, "").unwrap();
    let error = launch(CheckpointPolicy::new(&file)).unwrap();
    let found = error.checkpoint_error().unwrap();
    assert!(matches!(found, CheckpointError::Io(error) if error.path == file));
}
