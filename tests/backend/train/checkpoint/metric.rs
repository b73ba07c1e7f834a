//! The metric of the best checkpoint, and the last step of a training.

use bitnet_burn::train::{
    callback::*,
    checkpoint::{BestMetric, CheckpointFolder, CheckpointPolicy, Resume},
};

use crate::support::{
    callbacks::stop_at,
    training::{BATCHES, Folder, Net, Run, strategy},
};

fn checkpoints(folder: &Folder) -> CheckpointFolder {
    CheckpointFolder::new(folder.0.join("checkpoints"))
}

fn policy(folder: &Folder) -> CheckpointPolicy {
    CheckpointPolicy::new(folder.0.join("checkpoints"))
}

fn metric(name: &str) -> BestMetric {
    BestMetric {
        name: name.to_string(),
        higher_is_better: false,
    }
}

/// Trains and returns the error.
fn error(folder: &Folder, policy: CheckpointPolicy) -> String {
    let result = Run::new(&folder.0).launch(strategy().with_checkpoints(policy));
    result.error.unwrap().to_string()
}

#[test]
fn a_metric_that_does_not_exist_is_an_error() {
    let folder = Folder::new("no-metric");
    let error = error(&folder, policy(&folder).keep_best(metric("loss")));
    assert!(
        error.contains("the validation has no numeric metric \"loss\""),
        "{error}"
    );
}

#[test]
fn a_best_without_epochs_to_judge_by_is_an_error() {
    let folder = Folder::new("no-epochs");
    let mut policy = policy(&folder).every_steps(7).keep_best(metric("Loss"));
    policy.every_epoch = false;
    let error = error(&folder, policy);
    assert!(error.contains("set every_epoch"), "{error}");
    assert!(checkpoints(&folder).steps().unwrap().is_empty());
}

#[test]
fn the_manifest_names_the_metric_and_another_one_is_not_compared_with_it() {
    let folder = Folder::new("other-metric");
    let run = Run {
        epochs: 2,
        losses: vec![1.0, 2.0],
        ..Run::new(&folder.0)
    };
    let lowest = policy(&folder).keep_last(1).keep_best(metric("Loss"));
    let result = run.launch(strategy().with_checkpoints(lowest));
    assert!(result.error.is_none(), "{:?}", result.error);
    let best = checkpoints(&folder)
        .verify(BATCHES)
        .unwrap()
        .metric
        .unwrap();
    assert_eq!((best.metric, best.value), (metric("Loss"), 1.0));

    // By the highest loss, the earlier best no longer counts, and 0.5 is the best known value.
    let run = Run {
        epochs: 3,
        losses: vec![0.5],
        ..Run::new(&folder.0)
    };
    let highest = BestMetric {
        higher_is_better: true,
        ..metric("Loss")
    };
    let policy = policy(&folder)
        .keep_last(1)
        .keep_best(highest)
        .resume(Resume::Latest);
    let result = run.launch(strategy().with_checkpoints(policy));
    assert!(result.error.is_none(), "{:?}", result.error);
    assert_eq!(checkpoints(&folder).steps().unwrap(), [3 * BATCHES]);
}

#[test]
fn the_last_step_is_saved_whatever_the_policy_says() {
    for (max_steps, expected) in [(None, 21), (Some(9), 9), (Some(10), 10)] {
        let folder = Folder::new("last-step");
        let mut policy = policy(&folder).every_steps(5).keep_last(9);
        policy.every_epoch = false;
        let mut strategy = strategy().with_checkpoints(policy);
        if let Some(max_steps) = max_steps {
            strategy = strategy.with_max_steps(max_steps);
        }
        let result = Run::new(&folder.0).launch(strategy);
        assert!(result.error.is_none() && result.interrupted.is_none());
        let newest = checkpoints(&folder).newest().unwrap().manifest.unwrap();
        assert_eq!(newest.position.step, expected);
    }
}

#[test]
fn more_steps_train_the_rest_of_the_epoch() {
    let folder = Folder::new("more-steps");
    let run = |max_steps| {
        let policy = policy(&folder).resume(Resume::Latest);
        let strategy = strategy()
            .with_max_steps(max_steps)
            .with_checkpoints(policy);
        let result = Run::new(&folder.0).launch(strategy);
        assert!(result.error.is_none(), "{:?}", result.error);
        result.model.weights()
    };
    let (ten, again, all) = (run(10), run(10), run(21));
    assert_eq!(ten, again, "all steps were taken");
    let whole = Folder::new("more-steps-whole");
    let straight = Run::new(&whole.0).launch(strategy().with_max_steps(21));
    assert_eq!(all, straight.model.weights());
}

/// Stops while the validation data pass through the model.
struct NoMetric;

impl Callback<Net> for NoMetric {
    fn name(&self) -> &str {
        "no_metric"
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        assert!(!run.has_failed());
        run.stop("no_metric", "enough");
        Ok(())
    }
}

#[test]
fn a_stop_after_a_validation_keeps_its_metric() {
    let folder = Folder::new("stop-after");
    let policy = policy(&folder).keep_best(metric("Loss"));
    let strategy = strategy().with_callback(NoMetric).with_checkpoints(policy);
    let result = Run::new(&folder.0).launch(strategy);
    assert!(result.error.is_none() && result.interrupted.is_some());
    let newest = checkpoints(&folder).newest().unwrap().manifest.unwrap();
    assert_eq!((newest.position.epoch, newest.position.batches), (2, 0));
    assert!(newest.metric.is_some() && newest.over.is_none());
}

#[test]
fn a_stop_before_a_validation_stores_no_metric() {
    let folder = Folder::new("stop-before");
    let policy = policy(&folder).keep_best(metric("Loss"));
    let strategy = strategy()
        .with_callback(stop_at(BATCHES))
        .with_checkpoints(policy);
    let result = Run::new(&folder.0).launch(strategy);
    assert!(result.error.is_none());
    let newest = checkpoints(&folder).newest().unwrap().manifest.unwrap();
    assert_eq!(
        (newest.position.epoch, newest.position.batches),
        (1, BATCHES)
    );
    assert!(newest.metric.is_none());
}
