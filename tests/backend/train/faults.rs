//! Trainings that are killed, and full disks: in separate processes.

use std::{
    fs,
    path::Path,
    process::{Command, Output, Stdio},
    thread::sleep,
    time::Duration,
};

use bitnet_burn::{
    qat::QuantControls,
    quant::schedule::ProgressiveSchedule,
    train::{
        callback::{Callback, CallbackResult, NanGuard, ProgressiveQuantization, TrainingRun},
        checkpoint::{CheckpointFolder, CheckpointPolicy, Resume},
    },
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::support::{
    training::{BATCHES, Folder, Net, Run, strategy},
    values::*,
};

const FOLDER: &str = "BITNET_BURN_TEST_FOLDER";
const EPOCHS: usize = 150;
/// Minimum duration of a step, so that a fast machine does not finish before it was killed often enough.
const STEP: Duration = Duration::from_millis(5);

/// Trains in the folder of the environment, resuming after an earlier process was killed.
#[test]
#[ignore = "the other tests run it in processes of its own"]
fn child() {
    let folder = std::env::var(FOLDER).unwrap();
    let folder = Path::new(&folder);
    let run = Run {
        epochs: EPOCHS,
        // Alone in its process, it may use the random numbers of the device.
        dropout: 0.25,
        ..Run::new(folder)
    };
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let policy = CheckpointPolicy::new(folder.join("checkpoints"))
        .every_steps(4)
        .resume(Resume::Latest);
    let strategy = strategy()
        .with_callback(ProgressiveQuantization::new(
            controls,
            ProgressiveSchedule::default(),
        ))
        .with_callback(NanGuard::stop())
        .with_callback(Slow)
        .with_checkpoints(policy);
    let result = run.launch_learner(learner, strategy);
    if let Some(error) = result.error {
        panic!("error: {error}");
    }
    let weights: Vec<u8> = result
        .model
        .weights()
        .iter()
        .flat_map(|w| w.to_le_bytes())
        .collect();
    fs::write(folder.join("weights"), weights).unwrap();
}

struct Slow;

impl Callback<Net> for Slow {
    fn name(&self) -> &str {
        "slow"
    }

    fn before_forward(&mut self, _run: &mut TrainingRun<Net>) -> CallbackResult {
        sleep(STEP);
        Ok(())
    }
}

fn command(folder: &Folder) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        "backend::train::faults::child",
        "--ignored",
        "--nocapture",
    ]);
    command
        .env(FOLDER, &folder.0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn text(output: &Output) -> String {
    let text = [&output.stdout[..], &output.stderr[..]].concat();
    String::from_utf8_lossy(&text).into_owned()
}

fn checkpoints(folder: &Folder) -> CheckpointFolder {
    CheckpointFolder::new(folder.0.join("checkpoints"))
}

fn newest(folder: &Folder) -> usize {
    let newest = checkpoints(folder).newest().unwrap();
    newest.manifest.map_or(0, |manifest| manifest.position.step)
}

#[test]
fn killed_twenty_times_a_training_ends_with_the_weights_of_one_that_was_not() {
    if !on_flex() {
        return;
    }
    let whole = Folder::new("whole");
    let output = command(&whole).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));

    let (killed, mut rng) = (Folder::new("killed"), StdRng::seed_from_u64(4));
    let (mut kills, mut last) = (0, 0);
    while kills < 20 {
        let mut child = command(&killed).spawn().unwrap();
        // Later ones live longer, so that a slow machine reaches checkpoints, too.
        sleep(Duration::from_millis(
            rng.random_range(50..250 + 30 * kills),
        ));
        assert!(child.try_wait().unwrap().is_none(), "it ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        let step = newest(&killed);
        assert!(
            step >= last,
            "killed at step {step}, there was one of step {last}"
        );
        last = step;
    }
    assert!(last > 0, "no process came to a checkpoint");
    let output = command(&killed).output().unwrap();
    assert!(output.status.success(), "{}", text(&output));
    let weights = |folder: &Folder| fs::read(folder.0.join("weights")).unwrap();
    assert_eq!(weights(&killed), weights(&whole));
    assert_eq!(newest(&killed), EPOCHS * BATCHES);
}

#[test]
#[cfg(unix)]
fn a_full_disk_is_an_error_and_loses_no_checkpoint() {
    if !on_flex() {
        return;
    }
    let folder = Folder::new("full");
    let mut child = command(&folder).spawn().unwrap();
    while newest(&folder) == 0 {
        assert!(
            child.try_wait().unwrap().is_none(),
            "it ended without a checkpoint"
        );
        sleep(Duration::from_millis(20));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let step = newest(&folder);

    // Files may have at most one block of 512 bytes; a larger one fails as on a full disk.
    let child = command(&folder);
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$@\"", "sh"]);
    limited.arg(child.get_program()).args(child.get_args());
    let output = limited.env(FOLDER, &folder.0).output().unwrap();
    assert!(!output.status.success());
    let text = text(&output);
    assert!(text.contains("error: Checkpoint error"), "{text}");
    assert!(text.contains("too large"), "{text}");
    assert_eq!(newest(&folder), step);
    let names: Vec<_> = fs::read_dir(checkpoints(&folder).path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    let aside = |name: &&std::ffi::OsString| name.to_string_lossy().starts_with('.');
    assert_eq!(names.iter().find(aside), None, "half a checkpoint is left");
}
