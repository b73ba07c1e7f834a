//! Log paths that are not files of an earlier training.

use std::{
    fs,
    os::unix::fs::{FileTypeExt, symlink},
    path::Path,
    process::Command,
};

use bitnet_burn::{
    qat::QuantControls,
    train::{
        callback::{ErrorMonitor, JsonLogger},
        checkpoint::{CheckpointPolicy, Resume},
    },
};

use crate::support::training::{Folder, Run, strategy};

fn log(folder: &Folder, path: &Path) -> Option<String> {
    let logged = strategy().with_callback(JsonLogger::new(path).every(1));
    let result = Run::new(&folder.0).launch(logged);
    result.error.map(|error| error.to_string())
}

#[test]
fn a_link_stays_and_the_file_it_leads_to_is_set_aside() {
    let folder = Folder::new("log-link");
    let path = |name: &str| folder.0.join(name);
    fs::create_dir(path("disk")).unwrap();
    fs::write(path("disk/log.jsonl"), "of the user\n").unwrap();
    symlink("disk/log.jsonl", path("log.jsonl")).unwrap();
    assert_eq!(log(&folder, &path("log.jsonl")), None);
    assert!(path("log.jsonl").is_symlink());
    let earlier = fs::read_to_string(path("disk/log.earlier-1.jsonl")).unwrap();
    assert_eq!(earlier, "of the user\n");
    let lines = fs::read_to_string(path("disk/log.jsonl")).unwrap();
    assert!(lines.starts_with("{\"") && lines.lines().count() > 20);
}

#[test]
#[cfg(target_os = "linux")]
fn a_device_is_written_to_and_not_moved() {
    let folder = Folder::new("log-device");
    let path = |name: &str| folder.0.join(name);
    symlink("/dev/full", path("full.jsonl")).unwrap();
    symlink("/dev/null", path("null.jsonl")).unwrap();
    let error = log(&folder, &path("full.jsonl")).unwrap();
    assert!(error.contains("full.jsonl: No space left"), "{error}");
    assert_eq!(log(&folder, &path("null.jsonl")), None);
    for name in ["full.jsonl", "null.jsonl"] {
        assert!(path(name).is_symlink());
        let file_type = fs::metadata(path(name)).unwrap().file_type();
        assert!(file_type.is_char_device());
    }
}

#[test]
fn a_pipe_gets_the_lines() {
    let folder = Folder::new("log-pipe");
    let pipe = folder.0.join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    assert_eq!(log(&folder, &pipe), None);
    assert!(reader.join().unwrap().lines().count() > 20);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
}

#[test]
fn a_folder_is_an_error_that_names_it() {
    let folder = Folder::new("log-folder");
    let path = folder.0.join("log");
    fs::create_dir(&path).unwrap();
    let error = log(&folder, &path).unwrap();
    let expected = "log: expected a file or nothing, found a folder";
    assert!(error.contains(expected), "{error}");

    let run = Run::new(&folder.0);
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let monitor = strategy().with_callback(ErrorMonitor::new(controls).with_json(&path));
    let error = run.launch_learner(learner, monitor).error.unwrap();
    assert!(error.to_string().contains(expected), "{error}");
    assert!(path.is_dir());
}

#[test]
fn a_log_that_is_a_link_goes_on_when_the_training_does() {
    let folder = Folder::new("log-resumed");
    let (link, file) = (folder.0.join("log.jsonl"), folder.0.join("file"));
    symlink("file", &link).unwrap();
    for epochs in [1, 2] {
        let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).resume(Resume::Latest);
        let strategy = strategy()
            .with_callback(JsonLogger::new(&link).every(1))
            .with_checkpoints(policy);
        let run = Run {
            epochs,
            ..Run::new(&folder.0)
        };
        assert!(run.launch(strategy).error.is_none());
    }
    assert!(link.is_symlink() && !file.is_symlink());
    let text = fs::read_to_string(&file).unwrap();
    let steps = text.lines().filter(|line| line.contains("\"step\","));
    assert_eq!(steps.count(), 14);
}
