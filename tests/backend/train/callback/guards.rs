//! Loss scaling combined with the NaN guard: persistent bad steps end a training.

use bitnet_burn::{
    optim::LossScalerConfig,
    train::{
        CallbackStrategy, TrainingFailure,
        callback::{
            BackwardPass, Callback, CallbackResult, LossScaling, NanGuard, NonFinite,
            OptimizerStep, SharedLossScaler, TrainingRun,
        },
        checkpoint::{CheckpointPolicy, Resume},
    },
};
use burn::{tensor::Tensor, train::LearningResult};

use crate::support::{
    callbacks::Events,
    training::{Folder, Net, Run, strategy},
};

/// Makes the gradients of the second layer NaN in some steps.
struct Spoil(fn(usize) -> bool);

impl Callback<Net> for Spoil {
    fn name(&self) -> &str {
        "spoil"
    }

    fn after_backward(
        &mut self,
        run: &mut TrainingRun<Net>,
        pass: &mut BackwardPass<'_, Net>,
    ) -> CallbackResult {
        if self.0(run.position().step) {
            let id = run.model().second.weight.id;
            let grad: Tensor<2> = pass.grads.remove(id).unwrap();
            pass.grads.register(id, grad.mul_scalar(f32::NAN));
        }
        Ok(())
    }
}

/// Skips some steps without checking their gradients.
struct Skip(fn(usize) -> bool);

impl Callback<Net> for Skip {
    fn name(&self) -> &str {
        "skip"
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<Net>,
        step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        if self.0(run.position().step) {
            step.skip("the batch is left out");
        }
        Ok(())
    }
}

/// Returns the error of a callback.
fn found(result: &LearningResult<Net>, callback: &str) -> NonFinite {
    let error = result
        .error
        .as_deref()
        .and_then(|error| error.callback_error());
    let error = error.expect("an error of a callback");
    assert_eq!(error.callback, callback);
    let found = error.source.downcast_ref::<NonFinite>();
    found
        .unwrap_or_else(|| panic!("another error: {error}"))
        .clone()
}

#[test]
fn a_nan_that_no_scale_cures_ends_the_training_at_the_smallest_one() {
    let (folder, events) = (Folder::new("min_scale"), Events::default());
    let config = LossScalerConfig::new()
        .with_initial_scale(32.0)
        .with_min_scale(8.0);
    let scaler = SharedLossScaler::new(&config);
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    let spoiled = strategy()
        .with_callback(Spoil(|step| step >= 8))
        .with_callback(LossScaling::new(&scaler))
        .with_callback(events.clone())
        .with_checkpoints(policy.clone());
    let run = Run::new(&folder.0);
    let result = run.launch(spoiled);
    let error = found(&result, "loss_scaling");
    assert_eq!(error.min_scale, Some(8.0));
    // Skipped at 32 and at 16, and an error at 8.
    assert_eq!((error.since, error.skips), (8, 2));
    assert_eq!(error.gradients, ["second.weight"]);
    assert!(error.loss.is_some_and(f64::is_finite));
    let text = "the loss scale is at its minimum, 8, and a gradient is still not finite: NaN or \
                infinite values in the gradients of second.weight, after 2 skipped steps in a row, \
                since step 8; the loss of the last batch is ";
    assert!(error.to_string().starts_with(text), "{error}");
    assert_eq!(scaler.get(), 8.0);

    // A run resumed from the checkpoint of the first epoch keeps its scale.
    let resumed = SharedLossScaler::new(&config);
    let resuming = strategy()
        .with_callback(LossScaling::new(&resumed))
        .with_checkpoints(policy.resume(Resume::Latest));
    assert!(run.launch(resuming).error.is_none());
    assert_eq!(resumed.get(), 32.0);
}

#[test]
fn steps_that_loss_scaling_skips_count_in_either_order() {
    let bad = |step: usize| step == 1 || step >= 4;
    let run = |with: &dyn Fn(CallbackStrategy<Net>, LossScaling) -> CallbackStrategy<Net>| {
        let folder = Folder::new("order");
        let scaler = SharedLossScaler::new(&LossScalerConfig::new());
        let strategy = with(
            strategy().with_callback(Spoil(bad)),
            LossScaling::new(&scaler),
        );
        let result = Run::new(&folder.0).launch(strategy);
        (found(&result, "nan_guard"), scaler.get())
    };
    let guard = || NanGuard::skip(3);
    let (mut after, scale) = run(&|s, scaling| s.with_callback(scaling).with_callback(guard()));
    // One bad step, good ones, and three in a row; the fourth is the error.
    assert_eq!((after.since, after.skips), (4, 3));
    assert_eq!(after.gradients, ["second.weight"]);
    assert_eq!(scale, 65536.0 / 32.0);
    let reason = after.skipped.take().unwrap();
    assert_eq!(reason, "a gradient is not finite at scale 4096");

    let (before, scale) = run(&|s, scaling| s.with_callback(guard()).with_callback(scaling));
    assert_eq!(before, after);
    assert_eq!(scale, 65536.0 / 32.0);
}

#[test]
fn a_step_that_is_skipped_does_not_end_the_count_and_a_good_one_does() {
    let folder = Folder::new("count");
    for guard_first in [false, true] {
        let launch = |skips: fn(usize) -> bool, max_skips| {
            let strategy = strategy().with_callback(Spoil(|step| matches!(step, 2 | 4 | 6)));
            let guard = NanGuard::skip(max_skips);
            Run::new(&folder.0).launch(match guard_first {
                true => strategy.with_callback(guard).with_callback(Skip(skips)),
                false => strategy.with_callback(Skip(skips)).with_callback(guard),
            })
        };
        // Consecutive bad steps, each followed by a good one.
        assert!(launch(|_| false, 1).error.is_none());
        // Without the skipped steps between them, they are five in a row.
        let error = found(&launch(|step| matches!(step, 3 | 5), 4), "nan_guard");
        assert_eq!((error.since, error.skips), (2, 4));
        assert_eq!(error.gradients, ["second.weight"]);
        let error = found(&launch(|step| matches!(step, 3 | 5), 3), "nan_guard");
        assert_eq!((error.since, error.skips), (2, 3));
        assert_eq!(error.skipped.as_deref(), Some("the batch is left out"));
        assert!(error.gradients.is_empty());
        assert!(launch(|step| matches!(step, 3 | 5), 5).error.is_none());
    }
}

#[test]
fn the_count_goes_on_from_a_checkpoint() {
    let folder = Folder::new("resumed_count");
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).every_steps(5);
    let launch = |max_skips, policy| {
        let strategy = strategy()
            .with_callback(Spoil(|step| step >= 3))
            .with_callback(NanGuard::skip(max_skips))
            .with_checkpoints(policy);
        found(&Run::new(&folder.0).launch(strategy), "nan_guard")
    };
    // Ends in step 6, after the checkpoint of step 5.
    let error = launch(3, policy.clone());
    assert_eq!((error.since, error.skips), (3, 3));
    let error = launch(4, policy.resume(Resume::Latest));
    assert_eq!((error.since, error.skips), (3, 4));
}

#[test]
fn the_message_says_what_is_not_finite_and_since_when() {
    let mut found = NonFinite {
        parameters: Vec::new(),
        gradients: vec!["a.weight".into(), "b.weight".into()],
        loss: Some(f64::NAN),
        skips: 3,
        since: 5,
        skipped: Some("a gradient is not finite at scale 8".into()),
        min_scale: None,
    };
    assert_eq!(
        found.to_string(),
        "NaN or infinite values in the gradients of a.weight, b.weight, after 3 skipped steps in \
         a row, since step 5; the loss of the last batch is NaN"
    );
    found.gradients.clear();
    found.loss = None;
    assert_eq!(
        found.to_string(),
        "the step is skipped (a gradient is not finite at scale 8), after 3 skipped steps in a \
         row, since step 5"
    );
}
