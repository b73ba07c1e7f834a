//! The training loop with callbacks: compared with Burn's loop, order of the calls, and resuming.

use std::sync::{Arc, Mutex};

use bitnet_burn::{
    nn::BitLinearConfig,
    qat::QuantControls,
    quant::{
        ActivationQuantizer, NoiseConfig, QatScheme,
        calibration::ObserverConfig,
        schedule::{ProgressiveSchedule, ProgressiveShape},
    },
    train::{
        CallbackStrategy, TrainingFailure,
        callback::{
            BackwardPass, Calibration, Callback, CallbackResult, OptimizerStep,
            ProgressiveQuantization, QuantizationNoise, TrainingRun,
        },
        checkpoint::{BestMetric, CheckpointFolder, CheckpointPolicy, Resume},
    },
};
use burn::{
    tensor::Device,
    train::{ExecutionStrategy, Learner, TrainingError},
};

use crate::support::{
    callbacks::{At, Events, stop_at},
    training::{BATCHES, CLASSES, Folder, HIDDEN, Net, Run, strategy},
    values::*,
};

fn run(folder: &Folder) -> Run<'_> {
    Run::new(&folder.0)
}

#[test]
fn without_callbacks_the_loop_is_that_of_burn() {
    let folder = Folder::new("callbacks");
    let run = run(&folder);
    let device = Device::default().autodiff();
    let burn = ExecutionStrategy::SingleDevice(device);
    let expected = run.launch(burn);
    let actual = run.launch(strategy());
    assert!(actual.error.is_none() && actual.interrupted.is_none());
    let start = run.learner().model().weights();
    assert_ne!(actual.model.weights(), start, "nothing was trained");
    assert_equal(
        &actual.model.weights(),
        &expected.model.weights(),
        "weights",
    );
}

/// Calls of a callback, with their steps.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<Vec<(&'static str, usize)>>>);

impl Recorder {
    fn add(&mut self, place: &'static str, run: &TrainingRun<Net>) -> CallbackResult {
        self.0.lock().unwrap().push((place, run.position().step));
        Ok(())
    }
}

impl Callback<Net> for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("train start", run)
    }

    fn on_epoch_start(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("epoch start", run)
    }

    fn before_forward(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("before forward", run)
    }

    fn after_backward(
        &mut self,
        run: &mut TrainingRun<Net>,
        pass: &mut BackwardPass<'_, Net>,
    ) -> CallbackResult {
        assert!(floats(pass.output.loss.clone())[0] > 0.0);
        assert_eq!(pass.grads.len(), 2, "both weights");
        self.add("after backward", run)
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<Net>,
        _step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        self.add("before optimizer step", run)
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("after optimizer step", run)
    }

    fn on_validation_start(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("validation start", run)
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        assert!(
            run.metric("Loss", burn::train::metric::store::Split::Valid)
                .is_some()
        );
        self.add("validation end", run)
    }

    fn on_epoch_end(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("epoch end", run)
    }

    fn before_checkpoint(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("before checkpoint", run)
    }

    fn on_checkpoint(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("checkpoint", run)
    }

    fn on_train_end(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.add("train end", run)
    }
}

#[test]
fn callbacks_are_called_at_every_place_in_turn() {
    let (folder, recorder) = (Folder::new("callbacks"), Recorder::default());
    let run = Run {
        epochs: 1,
        grad_accumulation: Some(4),
        ..run(&folder)
    };
    let strategy = strategy()
        .with_callback(recorder.clone())
        .with_checkpoints(CheckpointPolicy::new(folder.0.join("checkpoints")));
    let result = run.launch(strategy);
    assert!(result.error.is_none(), "{:?}", result.error);

    let pass = |step| [("before forward", step), ("after backward", step)];
    let optimizer = |step| {
        [
            ("before optimizer step", step),
            ("after optimizer step", step + 1),
        ]
    };
    let mut expected = vec![("train start", 0), ("epoch start", 0)];
    // Seven batches are a step of four and one of three.
    (0..4).for_each(|_| expected.extend(pass(0)));
    expected.extend(optimizer(0));
    (0..3).for_each(|_| expected.extend(pass(1)));
    expected.extend(optimizer(1));
    expected.extend([
        ("validation start", 2),
        ("validation end", 2),
        ("epoch end", 2),
        ("before checkpoint", 2),
        ("checkpoint", 2),
        ("train end", 2),
    ]);
    assert_eq!(*recorder.0.lock().unwrap(), expected);
}

/// A model whose activations are calibrated during training, and callbacks with state.
fn eventful(run: &Run<'_>, policy: CheckpointPolicy) -> (Learner<Net>, CallbackStrategy<Net>) {
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let schedule = ProgressiveSchedule::new(ProgressiveShape::Cosine, 2, 16).unwrap();
    // The window of the observation has the break in it.
    let calibration = Calibration::new(controls.clone(), ObserverConfig::min_max(), 4, 13);
    let strategy = strategy()
        .with_callback(ProgressiveQuantization::new(controls.clone(), schedule))
        .with_callback(QuantizationNoise::new(controls))
        .with_callback(calibration)
        .with_checkpoints(policy);
    (learner, strategy)
}

fn static_activations(folder: &Folder) -> Run<'_> {
    let scheme = QatScheme::b1_58().with_activation(Some(ActivationQuantizer::Static {
        bits: 8,
        symmetric: true,
    }));
    Run {
        scheme: scheme.with_noise(Some(NoiseConfig::Quant {
            fraction: 0.5,
            seed: 3,
        })),
        ..run(folder)
    }
}

#[test]
fn a_training_goes_on_within_an_epoch_as_if_it_had_not_stopped() {
    let whole = Folder::new("whole");
    let policy = |folder: &Folder| {
        CheckpointPolicy::new(folder.0.join("checkpoints"))
            .every_steps(4)
            .keep_last(9)
    };
    let (learner, strategy) = eventful(&static_activations(&whole), policy(&whole));
    let expected = static_activations(&whole).launch_learner(learner, strategy);
    assert!(expected.error.is_none(), "{:?}", expected.error);

    // In the second epoch, two steps after a checkpoint, and at the last batch of an epoch.
    for stop in [10, BATCHES, 2 * BATCHES + 1] {
        let folder = Folder::new("broken");
        let (learner, strategy) = eventful(&static_activations(&folder), policy(&folder));
        let broken = static_activations(&folder)
            .launch_learner(learner, strategy.with_callback(stop_at(stop)));
        assert!(broken.error.is_none(), "{:?}", broken.error);
        assert_eq!(
            broken.interrupted.unwrap().reason.as_deref(),
            Some("enough")
        );

        let folder_of = CheckpointFolder::new(folder.0.join("checkpoints"));
        let manifest = folder_of.newest().unwrap().manifest.unwrap();
        assert_eq!(manifest.position.step, stop);
        let resumed = policy(&folder).resume(Resume::Latest);
        let (learner, strategy) = eventful(&static_activations(&folder), resumed);
        let resumed = static_activations(&folder).launch_learner(learner, strategy);
        assert!(resumed.error.is_none(), "{:?}", resumed.error);
        let (actual, expected) = (&resumed.model, &expected.model);
        let lambda = |model: &Net| QuantControls::of(model).to_string();
        assert_eq!(lambda(actual), lambda(expected));
        let bound = |_: usize| if on_cpu_library() { 0.0 } else { 1e-4 };
        let weights = actual.weights();
        let exact = expected.weights();
        assert_within(&weights, &exact, bound, &format!("stopped at step {stop}"));
    }
}

#[test]
fn an_earlier_step_can_be_chosen_and_nothing_is_overwritten_unasked() {
    let folder = Folder::new("resume");
    let policy = || {
        CheckpointPolicy::new(folder.0.join("checkpoints"))
            .every_steps(3)
            .keep_last(9)
    };
    let first = run(&folder).launch(strategy().with_checkpoints(policy()));
    assert!(first.error.is_none());

    let again = run(&folder).launch(strategy().with_checkpoints(policy()));
    let error = again.error.unwrap().to_string();
    assert!(
        error.contains("holds checkpoints of an earlier training up to step 21"),
        "{error}"
    );

    let resumed = policy().resume(Resume::Step(12));
    let second = run(&folder).launch(strategy().with_checkpoints(resumed));
    assert!(second.error.is_none());
    assert_equal(&second.model.weights(), &first.model.weights(), "weights");

    let other = policy().resume(Resume::Latest).fingerprint("another");
    let other = run(&folder).launch(strategy().with_checkpoints(other));
    let error = other.error.unwrap().to_string();
    assert!(
        error.contains("expected \"another\", found \"\""),
        "{error}"
    );

    let mut learner = run(&folder).learner();
    let mut model = learner.model();
    model.second = BitLinearConfig::new(HIDDEN, CLASSES + 1).init(&Device::default().autodiff());
    let scheduler = burn::lr_scheduler::constant::ConstantLr::new(0.01);
    learner = Learner::new(model, burn::optim::AdamWConfig::new().init(), scheduler);
    let resumed = strategy().with_checkpoints(policy().resume(Resume::Latest));
    let error = run(&folder)
        .launch_learner(learner, resumed)
        .error
        .unwrap()
        .to_string();
    assert!(error.contains("is of another model"), "{error}");
}

#[test]
fn the_newest_and_the_best_checkpoints_are_kept() {
    let folder = Folder::new("keep");
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"))
        .keep_last(1)
        .keep_best(BestMetric {
            name: "Loss".to_string(),
            // The first epoch has the largest loss.
            higher_is_better: true,
        });
    let result = run(&folder).launch(strategy().with_checkpoints(policy));
    assert!(result.error.is_none());
    let checkpoints = CheckpointFolder::new(folder.0.join("checkpoints"));
    assert_eq!(checkpoints.steps().unwrap(), [BATCHES, 3 * BATCHES]);
    let newest = checkpoints.newest().unwrap().manifest.unwrap();
    let at = newest.position;
    assert_eq!((at.step, at.epoch, at.batches), (3 * BATCHES, 4, 0));
    let best = checkpoints.verify(BATCHES).unwrap().metric.unwrap();
    assert!(best.value > newest.metric.unwrap().value);
}

#[test]
fn a_failing_callback_ends_the_training_with_its_error() {
    let folder = Folder::new("failing");
    let failing = At(5, |_: &mut TrainingRun<Net>| Err("no more".into()));
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).every_steps(2);
    let strategy = strategy().with_callback(failing).with_checkpoints(policy);
    let result = run(&folder).launch(strategy);
    let error = result.error.unwrap();
    let TrainingError::Dataset(_) = &*error else {
        panic!("{error:?}");
    };
    assert!(
        error.to_string().contains("callback `at`: no more"),
        "{error}"
    );
    assert_eq!(error.callback_error().unwrap().callback, "at");
    // That of step 4 is the last: an error writes none.
    let steps = CheckpointFolder::new(folder.0.join("checkpoints")).steps();
    assert_eq!(steps.unwrap(), [2, 4]);
}

#[test]
fn a_rollback_brings_back_the_weights_of_the_checkpoint_and_goes_on() {
    let (folder, events) = (Folder::new("rollback"), Events::default());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let weights = seen.clone();
    // A checkpoint is requested at step 6, the rollback at step 9.
    struct Watch(Arc<Mutex<Vec<Vec<f32>>>>);
    impl Callback<Net> for Watch {
        fn name(&self) -> &str {
            "watch"
        }

        fn before_forward(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
            self.0.lock().unwrap().push(run.model().weights());
            Ok(())
        }

        fn after_optimizer_step(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
            match run.position().step {
                6 => run.request_checkpoint(),
                9 => run.request_rollback("watch", "astray"),
                _ => {}
            }
            Ok(())
        }
    }
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    let strategy = strategy()
        .with_callback(Watch(weights))
        .with_callback(events.clone())
        .with_checkpoints(policy);
    let result = run(&folder).launch(strategy);
    assert!(result.error.is_none());
    let seen = seen.lock().unwrap();
    assert_eq!(seen.len(), 3 * BATCHES, "no batch comes twice");
    // After step 9 the newest checkpoint is that at the end of the first epoch.
    assert_equal(&seen[9], &seen[BATCHES], "weights after the rollback");
    assert_ne!(seen[10], seen[9]);
    let events = events.0.lock().unwrap();
    let rolled = events.iter().find(|event| event.source == "watch").unwrap();
    assert_eq!(
        rolled.message,
        "astray: rolled back to the checkpoint of step 7"
    );
}

#[test]
#[should_panic(expected = "two callbacks have the name \"events\"")]
fn two_callbacks_of_one_name_panic() {
    let _ = strategy()
        .with_callback(Events::default())
        .with_callback(Events::default());
}
