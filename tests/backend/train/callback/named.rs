//! Several callbacks of one kind, and events that are logged once.

use std::fs;

use bitnet_burn::{
    monitor::ErrorHistory,
    qat::QuantControls,
    quant::{
        ActivationQuantizer, BitWidth, QatScheme,
        calibration::ObserverConfig,
        schedule::{BitWidthSchedule, ProgressiveSchedule, ProgressiveShape},
    },
    train::{
        CallbackStrategy,
        callback::*,
        checkpoint::{CheckpointPolicy, Resume},
    },
};
use burn::train::Learner;

use crate::support::{
    callbacks::At,
    training::{Folder, Net, Run, strategy},
};

#[test]
fn two_loggers_write_two_logs() {
    let folder = Folder::new("two-logs");
    let path = |name: &str| folder.0.join(name);
    let loggers = strategy()
        .with_callback(JsonLogger::new(path("steps.jsonl")).every(1))
        .with_callback(JsonLogger::new(path("few.jsonl")).every(7).with_name("few"));
    assert!(Run::new(&folder.0).launch(loggers).error.is_none());
    let steps = |name: &str| {
        let text = fs::read_to_string(path(name)).unwrap();
        let steps = text
            .lines()
            .filter(|line| line.contains(r#""kind":"step""#));
        steps.count()
    };
    assert_eq!((steps("steps.jsonl"), steps("few.jsonl")), (21, 3));
}

#[test]
fn two_loggers_of_one_file_are_refused() {
    let folder = Folder::new("one-log");
    let path = folder.0.join("log.jsonl");
    let run = Run::new(&folder.0);
    let one = || strategy().with_callback(JsonLogger::new(&path));
    let two = || one().with_callback(JsonLogger::new(&path).every(2).with_name("few"));
    let refused = |two: CallbackStrategy<Net>| {
        let error = run.launch(two).error.unwrap().to_string();
        let expected = "log.jsonl: expected a file of its own, found one that another logger";
        assert!(error.contains("callback `few`: "), "{error}");
        assert!(error.contains(expected), "{error}");
    };
    refused(two());
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    let trained = run.launch(one().with_checkpoints(policy.clone()));
    assert!(trained.error.is_none(), "{:?}", trained.error);
    refused(two().with_checkpoints(policy.resume(Resume::Latest)));
}

#[test]
fn two_monitors_of_the_same_quantizers_both_see_them() {
    let folder = Folder::new("two-monitors");
    let path = |name: &str| folder.0.join(name);
    let run = Run::new(&folder.0);
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let first = controls.filter(|path| path.starts_with("first"));
    let monitor = |controls, every, name: &str| {
        let monitor = ErrorMonitor::new(controls).every(every);
        monitor.with_json(path(name)).with_name(name)
    };
    let strategy = strategy()
        .with_callback(monitor(controls.clone(), 2, "all"))
        .with_callback(monitor(first, 3, "some"))
        .with_callback(monitor(controls, 6, "again"));
    let result = run.launch_learner(learner, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    let reports = |name: &str| {
        let history = ErrorHistory::load(path(name)).unwrap();
        let reports = history.reports.iter();
        let reports = reports.map(|report| (report.step, report.layers.len()));
        reports.collect::<Vec<_>>()
    };
    let every = |steps: usize, layers| (0..21).step_by(steps).map(|at| (at, layers)).collect();
    let expected: [Vec<_>; 3] = [every(2, 4), every(3, 2), every(6, 4)];
    assert_eq!(["all", "some", "again"].map(reports), expected);
}

/// Callbacks that log a change, at steps with and without a checkpoint before.
fn changing(run: &Run<'_>, policy: CheckpointPolicy) -> (Learner<Net>, CallbackStrategy<Net>) {
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let of = |layer: &'static str| controls.filter(|path: &str| path.starts_with(layer));
    let linear = |end| ProgressiveSchedule::new(ProgressiveShape::Linear, 0, end).unwrap();
    let widths = [(0, BitWidth::Bits(8)), (4, BitWidth::Ternary)];
    let widths = BitWidthSchedule::new(widths).unwrap();
    let observer = ObserverConfig::min_max();
    let calibration = Calibration::new(of("first"), observer.clone(), 4, 6);
    let too_long = Calibration::new(of("second"), observer, 10, 99);
    let strategy = strategy()
        .with_callback(ProgressiveQuantization::new(of("first"), linear(4)))
        .with_callback(ProgressiveQuantization::new(of("second"), linear(6)).with_name("later"))
        .with_callback(BitWidthAnnealing::new(controls.clone(), widths))
        .with_callback(calibration)
        .with_callback(too_long.with_name("too_long"))
        .with_callback(JsonLogger::new(run.folder.join("log.jsonl")).every(1))
        .with_checkpoints(policy.every_steps(4).keep_last(9));
    (learner, strategy)
}

/// Returns the events of the callbacks with their steps, except for those of checkpoints.
fn said(folder: &Folder) -> Vec<(u64, String)> {
    let text = fs::read_to_string(folder.0.join("log.jsonl")).unwrap();
    let lines = text.lines().map(|line| {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        line
    });
    let events = lines.filter(|line| line["kind"] == "event" && line["source"] != "checkpoint");
    let text = |line: serde_json::Value| {
        let message = format!("{}: {}", line["source"], line["message"]);
        (line["step"].as_u64().unwrap(), message)
    };
    events.map(text).collect()
}

#[test]
fn events_logged_once_are_not_repeated_after_a_resume() {
    let run_in = |folder: &Folder, stop: Option<usize>, resume: Resume| {
        let run = Run {
            scheme: QatScheme::b1_58().with_activation(Some(ActivationQuantizer::Static {
                bits: 8,
                symmetric: true,
            })),
            ..Run::new(&folder.0)
        };
        let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).resume(resume);
        let (learner, mut strategy) = changing(&run, policy);
        if let Some(stop) = stop {
            let stop = At(stop, |_: &mut TrainingRun<Net>| Err("power cut".into()));
            strategy = strategy.with_callback(stop);
        }
        let result = run.launch_learner(learner, strategy);
        assert_eq!(result.error.is_some(), stop.is_some(), "{:?}", result.error);
    };
    let whole = Folder::new("said-whole");
    run_in(&whole, None, Resume::Never);
    let expected = said(&whole);
    let full = |(_, message): &&(u64, String)| message.contains("quantized in full");
    let full: Vec<u64> = expected
        .iter()
        .filter(full)
        .map(|(step, _)| *step)
        .collect();
    assert_eq!(full, [4, 6]);

    // The newest checkpoint is then of the very step of an event, or of a later one.
    for stop in [5, 7, 9, 18] {
        let folder = Folder::new("said");
        run_in(&folder, Some(stop), Resume::Never);
        run_in(&folder, None, Resume::Latest);
        assert_eq!(said(&folder), expected, "broken off after step {stop}");
    }
}

#[test]
fn events_logged_once_are_not_repeated_after_a_rollback() {
    let folder = Folder::new("said-rollback");
    let run = Run::new(&folder.0);
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let schedule = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, 4).unwrap();
    let back = At(6, |run: &mut TrainingRun<Net>| {
        run.request_rollback("at", "astray");
        Ok(())
    });
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).every_steps(3);
    let strategy = strategy()
        .with_callback(back)
        .with_callback(ProgressiveQuantization::new(controls, schedule))
        .with_callback(JsonLogger::new(folder.0.join("log.jsonl")))
        .with_checkpoints(policy);
    let result = run.launch_learner(learner, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    let said = said(&folder);
    assert!(
        said.iter()
            .any(|(_, message)| message.contains("rolled back"))
    );
    let full = said
        .iter()
        .filter(|(_, message)| message.contains("in full"));
    assert_eq!(full.count(), 1, "{said:?}");
}

#[test]
fn a_step_is_measured_once_also_over_a_resume() {
    let folder = Folder::new("measured-once");
    let path = folder.0.join("errors.jsonl");
    let train = |stop: usize| {
        let run = Run::new(&folder.0);
        let learner = run.learner();
        let controls = QuantControls::of(&learner.model());
        let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
        let strategy = strategy()
            .with_callback(ErrorMonitor::new(controls).every(2).with_json(&path))
            .with_callback(At(stop, |_: &mut TrainingRun<Net>| Err("power cut".into())))
            .with_checkpoints(policy.every_steps(4).resume(Resume::Latest));
        run.launch_learner(learner, strategy).error.is_some()
    };
    // After the checkpoint of step 8, when step 8 is measured.
    assert!(train(9));
    assert!(!train(99));
    let reports = ErrorHistory::load(&path).unwrap().reports;
    let steps: Vec<usize> = reports.iter().map(|report| report.step).collect();
    assert_eq!(steps, (0..21).step_by(2).collect::<Vec<_>>());
}
