//! Early stopping: NaN is never the best value, and a finished training stays finished.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bitnet_burn::train::{
    callback::*,
    checkpoint::{BestMetric, CheckpointFolder, CheckpointPolicy, Resume},
};
use burn::train::{LearningResult, MetricEarlyStoppingStrategy, StoppingCondition};

use crate::support::training::{BATCHES, Folder, Net, Run, strategy};

/// Counts steps.
struct Steps(Arc<AtomicUsize>);

impl Callback<Net> for Steps {
    fn name(&self) -> &str {
        "steps"
    }

    fn after_optimizer_step(&mut self, _run: &mut TrainingRun<Net>) -> CallbackResult {
        self.0.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// Trains with given validation losses, and counts the trained epochs.
fn train(
    folder: &Folder,
    losses: &[f32],
    epochs: usize,
    patience: &[usize],
) -> (LearningResult<Net>, usize) {
    let run = Run {
        epochs,
        losses: losses.to_vec(),
        ..Run::new(&folder.0)
    };
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"))
        .keep_last(1)
        .keep_best(BestMetric::loss())
        .resume(Resume::Latest);
    let steps = Arc::new(AtomicUsize::new(0));
    let mut strategy = strategy()
        .with_callback(Steps(steps.clone()))
        .with_callback(JsonLogger::new(folder.0.join("log.jsonl")))
        .with_checkpoints(policy);
    for (number, patience) in patience.iter().enumerate() {
        let stopping = EarlyStopping::new(BestMetric::loss(), *patience);
        strategy = strategy.with_callback(match number {
            0 => stopping,
            _ => stopping.with_name(format!("early_stopping_{number}")),
        });
    }
    let result = run.launch(strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    (result, steps.load(Ordering::SeqCst) / BATCHES)
}

fn steps(folder: &Folder) -> Vec<usize> {
    let checkpoints = CheckpointFolder::new(folder.0.join("checkpoints"));
    checkpoints.steps().unwrap()
}

#[test]
fn nan_is_never_the_best_so_far() {
    let cases = [
        // Trained epochs, and the best of them.
        (vec![f32::NAN, 3.0, 2.0, 1.0, 0.5, 0.4], 6, 6),
        (vec![5.0, f32::NAN, 2.0, 1.0, 0.5, 0.6], 6, 5),
        (vec![5.0, f32::NAN, f32::NAN, 1.0, 0.5, 0.4], 3, 1),
        (vec![f32::NAN], 2, 0),
    ];
    for (losses, expected, best) in cases {
        let folder = Folder::new("early-nan");
        let (_, epochs) = train(&folder, &losses, 6, &[2]);
        assert_eq!(epochs, expected, "{losses:?}");
        let mut kept = vec![best * BATCHES, expected * BATCHES];
        kept.dedup();
        kept.retain(|step| *step > 0);
        assert_eq!(steps(&folder), kept, "{losses:?}");
    }
}

#[test]
fn a_training_that_is_over_stays_so_until_more_is_asked_for() {
    let folder = Folder::new("early-over");
    let losses = [1.0, 2.0, 3.0, 4.0];
    let (first, epochs) = train(&folder, &losses, 9, &[2]);
    assert_eq!(epochs, 3);
    let reason = "Loss has not been better than 1 for 2 epochs";
    for _ in 0..2 {
        let (again, epochs) = train(&folder, &losses, 9, &[2]);
        assert_eq!(epochs, 0);
        assert_eq!(again.interrupted.unwrap().reason.as_deref(), Some(reason));
        assert_eq!(again.model.weights(), first.model.weights());
    }
    let log = std::fs::read_to_string(folder.0.join("log.jsonl")).unwrap();
    assert_eq!(log.matches("the training stops").count(), 1, "{log}");
    // One more epoch completes a patience of 3, and no more follow.
    assert_eq!(train(&folder, &losses, 9, &[3]).1, 1);
    assert_eq!(train(&folder, &losses, 9, &[3]).1, 0);
    // Another two epochs of patience.
    assert_eq!(train(&folder, &losses, 20, &[2]).1, 2);
    assert_eq!(train(&folder, &losses, 20, &[2]).1, 0);
}

#[test]
fn several_can_be_used_side_by_side() {
    let folder = Folder::new("early-several");
    let losses = [1.0, 2.0, 3.0, 4.0, 5.0];
    let (result, epochs) = train(&folder, &losses, 9, &[4, 3]);
    assert_eq!(epochs, 4);
    let reason = result.interrupted.unwrap().reason.unwrap();
    assert!(reason.contains("for 3 epochs"), "{reason}");
    // The other one has patience for one more epoch, but the second does not.
    assert_eq!(train(&folder, &losses, 9, &[4, 3]).1, 0);
    assert_eq!(train(&folder, &losses, 9, &[4, 9]).1, 1);
}

#[test]
fn a_training_ended_by_early_stopping_of_burn_stays_over() {
    let folder = Folder::new("early-burn");
    let train = |epochs| {
        let run = Run {
            epochs,
            losses: vec![1.0, 2.0, 3.0, 4.0],
            early_stopping: Some(MetricEarlyStoppingStrategy::new(
                &burn::train::metric::LossMetric::new(),
                burn::train::metric::store::Aggregate::Mean,
                burn::train::metric::store::Direction::Lowest,
                burn::train::metric::store::Split::Valid,
                StoppingCondition::NoImprovementSince { n_epochs: 2 },
            )),
            ..Run::new(&folder.0)
        };
        let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).resume(Resume::Latest);
        let steps = Arc::new(AtomicUsize::new(0));
        let strategy = strategy()
            .with_callback(Steps(steps.clone()))
            .with_checkpoints(policy);
        let result = run.launch(strategy);
        assert!(result.error.is_none(), "{:?}", result.error);
        steps.load(Ordering::SeqCst) / BATCHES
    };
    assert_eq!(train(9), 3);
    assert_eq!(train(9), 0);
    assert!(train(12) > 0);
}
