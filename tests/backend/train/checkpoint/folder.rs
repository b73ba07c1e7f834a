//! Checkpoints on disk: a broken one is rejected, and the one before it is used.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::train::{
    TrainingFailure,
    checkpoint::{CheckpointError, CheckpointFolder, CheckpointPolicy, Resume},
};

use crate::support::{
    callbacks::Events,
    training::{Folder, Run, strategy},
    values::*,
};

/// Creates a folder with checkpoints of the steps 3, 6 and 7 of one epoch.
fn trained() -> (Folder, CheckpointFolder) {
    let folder = Folder::new("checkpoint-folder");
    let run = Run {
        epochs: 1,
        ..Run::new(&folder.0)
    };
    let policy = policy(&folder).every_steps(3).keep_last(9);
    assert!(
        run.launch(strategy().with_checkpoints(policy))
            .error
            .is_none()
    );
    let checkpoints = CheckpointFolder::new(folder.0.join("checkpoints"));
    assert_eq!(checkpoints.steps().unwrap(), [3, 6, 7]);
    (folder, checkpoints)
}

fn policy(folder: &Folder) -> CheckpointPolicy {
    CheckpointPolicy::new(folder.0.join("checkpoints"))
}

fn step(checkpoints: &CheckpointFolder, step: usize) -> PathBuf {
    checkpoints.path().join(format!("step-{step:08}"))
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    files.sort();
    files
}

fn newest(checkpoints: &CheckpointFolder) -> Option<usize> {
    let newest = checkpoints.newest().unwrap();
    newest.manifest.map(|manifest| manifest.position.step)
}

#[test]
fn a_flipped_bit_anywhere_is_noticed() {
    let (_folder, checkpoints) = trained();
    let files = files(&step(&checkpoints, 7));
    assert_eq!(files.len(), 5);
    for path in &files {
        let bytes = fs::read(path).unwrap();
        // 40 positions in each of the five files, including the first and the last byte.
        for i in 0..40 {
            let at = i * (bytes.len() - 1) / 39;
            let mut flipped = bytes.clone();
            flipped[at] ^= 1 << (i % 8);
            fs::write(path, &flipped).unwrap();
            let error = checkpoints.verify(7).err();
            // In the checksum's text the case of a hexadecimal digit has no meaning.
            let same = String::from_utf8_lossy(&flipped)
                .eq_ignore_ascii_case(&String::from_utf8_lossy(&bytes));
            let blank = flipped.trim_ascii_end() == bytes.trim_ascii_end();
            assert!(
                error.is_some() || path.ends_with("manifest.crc32") && (same || blank),
                "byte {at} of {}",
                path.display()
            );
            assert!(error.is_none() || newest(&checkpoints) == Some(6));
        }
        fs::write(path, &bytes).unwrap();
    }
    assert_eq!(newest(&checkpoints), Some(7));
}

#[test]
fn a_file_that_was_cut_off_or_is_missing_is_noticed() {
    let (_folder, checkpoints) = trained();
    for path in files(&step(&checkpoints, 7)) {
        let bytes = fs::read(&path).unwrap();
        for i in 0..10 {
            fs::write(&path, &bytes[..i * (bytes.len() - 1) / 10]).unwrap();
            let error = checkpoints.verify(7).unwrap_err();
            let message = error.to_string();
            assert!(message.contains("step-00000007"), "{message}");
            assert_eq!(newest(&checkpoints), Some(6));
        }
        fs::remove_file(&path).unwrap();
        let error = checkpoints.verify(7).unwrap_err();
        assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
        fs::write(&path, &bytes).unwrap();
    }
}

#[test]
fn foreign_and_newer_checkpoints_are_refused_by_name() {
    let (_folder, checkpoints) = trained();
    let path = step(&checkpoints, 7).join("manifest.json");
    let text = fs::read_to_string(&path).unwrap();
    let change = |from: &str, to: &str| {
        assert!(text.contains(from));
        fs::write(&path, text.replacen(from, to, 1)).unwrap();
        checkpoints.verify(7).unwrap_err().to_string()
    };
    let error = change("\"version\": 3", "\"version\": 4");
    assert!(
        error.contains("has version 4, this program reads version 3"),
        "{error}"
    );
    let error = change("bitnet-burn checkpoint", "something else");
    assert!(error.contains("is no checkpoint: its format is"), "{error}");
    let error = change("\"step\": 7", "\"step\": 8");
    assert!(error.contains("has the checksum"), "{error}");
    let error = change("{", "");
    assert!(error.contains("is no checkpoint"), "{error}");
}

#[test]
fn checkpoints_of_another_version_are_neither_passed_over_nor_removed() {
    let (folder, checkpoints) = trained();
    let steps = checkpoints.steps().unwrap();
    for &at in &steps {
        let path = step(&checkpoints, at).join("manifest.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replacen("\"version\": 3", "\"version\": 2", 1)).unwrap();
    }
    let run = Run::new(&folder.0);
    let latest = policy(&folder).resume(Resume::Latest);
    let error = run
        .launch(strategy().with_checkpoints(latest))
        .error
        .unwrap();
    let found = error.checkpoint_error().unwrap();
    assert!(
        matches!(found, CheckpointError::OtherVersion { found: 2, .. }),
        "{found}"
    );
    assert_eq!(checkpoints.steps().unwrap(), steps);
}

#[test]
fn a_training_passes_over_a_broken_checkpoint_and_says_so() {
    let (folder, checkpoints) = trained();
    let whole = {
        let (folder, _) = trained();
        let run = Run::new(&folder.0);
        let policy = policy(&folder).resume(Resume::Step(6));
        run.launch(strategy().with_checkpoints(policy))
            .model
            .weights()
    };
    let model = step(&checkpoints, 7).join("model.bpk");
    let bytes = fs::read(&model).unwrap();
    fs::write(&model, &bytes[..bytes.len() / 2]).unwrap();

    let run = Run::new(&folder.0);
    let asked = policy(&folder).resume(Resume::Step(7));
    let error = run
        .launch(strategy().with_checkpoints(asked))
        .error
        .unwrap()
        .to_string();
    assert!(
        error.contains("the checkpoint of step 7 cannot be used"),
        "{error}"
    );
    assert!(error.contains("that of step 6 is whole"), "{error}");

    let events = Events::default();
    let latest = policy(&folder).resume(Resume::Latest);
    let strategy = strategy()
        .with_callback(events.clone())
        .with_checkpoints(latest);
    let result = run.launch(strategy);
    assert!(result.error.is_none());
    assert_equal(&result.model.weights(), &whole, "weights");
    let messages: Vec<String> = events
        .0
        .lock()
        .unwrap()
        .iter()
        .map(|e| e.message.clone())
        .collect();
    assert!(
        messages[0].contains("the checkpoint of step 7 is passed over"),
        "{messages:?}"
    );
    assert_eq!(messages[1], "going on after step 6");
    // The broken one was replaced when the training reached step 7.
    checkpoints.verify(21).unwrap();
}

#[test]
fn partial_writes_of_a_killed_program_are_repaired() {
    let (folder, checkpoints) = trained();
    // Killed while it wrote, and while it replaced step 7.
    let half = checkpoints.path().join(".aside-step-00000009");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("model.bpk"), "half").unwrap();
    let replaced = checkpoints.path().join(".aside-old-step-00000007");
    fs::rename(step(&checkpoints, 7), &replaced).unwrap();
    assert_eq!(newest(&checkpoints), Some(6));

    let run = Run {
        epochs: 1,
        ..Run::new(&folder.0)
    };
    let policy = policy(&folder).resume(Resume::Latest);
    assert!(
        run.launch(strategy().with_checkpoints(policy))
            .error
            .is_none()
    );
    assert_eq!(newest(&checkpoints), Some(7));
    assert!(!half.exists() && !replaced.exists());
}
