//! Folders of runs: a new run, an earlier one in the way, resuming.

use std::fs;

use bitnet_burn::train::{RunFolder, RunFolderError, RunIdentity, config::TrainingConfig};

#[test]
fn a_run_is_not_mixed_with_an_earlier_one() {
    let folder = tempfile::tempdir().unwrap();
    let run = RunFolder::new(folder.path().join("run"));
    run.begin("a = 1").unwrap();
    assert_eq!(fs::read_to_string(run.settings()).unwrap(), "a = 1");
    let error = run.begin("a = 2").unwrap_err();
    assert!(matches!(error, RunFolderError::InUse { path } if path == run.settings()));
    let error = run.resume().unwrap_err();
    assert!(matches!(error, RunFolderError::NoCheckpoint { path } if path == run.checkpoints()));
    fs::create_dir_all(run.model()).unwrap();
    run.overwrite("a = 2").unwrap();
    assert_eq!(fs::read_to_string(run.settings()).unwrap(), "a = 2");
    assert!(!run.model().exists());
}

#[cfg(unix)]
#[test]
fn an_earlier_run_goes_and_links_stay() {
    use std::os::unix::fs::symlink;

    let folder = tempfile::tempdir().unwrap();
    let (out, disk) = (folder.path().join("run"), folder.path().join("disk"));
    fs::create_dir_all(out.join("model")).unwrap();
    fs::create_dir_all(disk.join("step-00000001")).unwrap();
    fs::write(out.join("report.html"), "old").unwrap();
    symlink(&disk, out.join("checkpoints")).unwrap();
    symlink("/dev/null", out.join("log.jsonl")).unwrap();
    RunFolder::new(&out).overwrite("new").unwrap();
    assert!(out.join("checkpoints").is_symlink());
    assert!(out.join("log.jsonl").is_symlink());
    assert_eq!(fs::read_dir(disk).unwrap().count(), 0);
    assert!(!out.join("model").exists() && !out.join("report.html").exists());
}

#[test]
fn outputs_are_placed_in_the_folder() {
    let mut config = TrainingConfig::from_toml("[monitoring.errors]\nevery = 5").unwrap();
    RunFolder::new("run").configure(&mut config);
    let policy = config.checkpoints.unwrap();
    assert_eq!(policy.folder, RunFolder::new("run").checkpoints());
    assert_eq!(policy.every_steps, Some(100));
    assert_eq!(
        config.monitoring.log_file.unwrap().to_str(),
        Some("run/log.jsonl")
    );
    let errors = config.monitoring.errors.unwrap();
    assert_eq!(errors.html_file.unwrap().to_str(), Some("run/report.html"));
}

#[test]
fn a_resumed_run_keeps_its_settings() {
    let mut config = TrainingConfig::default();
    let began = RunIdentity::of(&config).unwrap();
    assert!(
        began
            .fingerprint()
            .contains("training.seed = 0, training.steps = 1500")
    );
    began.check(&began).unwrap();
    config.training.steps = 3000;
    config.monitoring.gradients_every = Some(1);
    let error = began.check(&RunIdentity::of(&config).unwrap()).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("monitoring.gradients_every was absent and is 1, "),
        "{message}"
    );
    assert!(
        message.contains("training.steps was 1500 and is 3000"),
        "{message}"
    );
}
