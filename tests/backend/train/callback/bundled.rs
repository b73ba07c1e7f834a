//! The bundled callbacks, each with its effect on a training.

use std::{collections::HashMap, fs, sync::atomic::Ordering};

use bitnet_burn::{
    optim::{DecoupledWeightDecay, LossScalerConfig, WeightDecaySchedule},
    qat::QuantControls,
    quant::{BitWidth, schedule::BitWidthSchedule},
    train::{
        callback::{
            BackwardPass, BitWidthAnnealing, Callback, CallbackResult, EarlyStopping,
            GradientStatistics, Interruption, JsonLogger, LossScaling, NanGuard, OptimizerStep,
            PlainProgress, ScheduledWeightDecay, SharedLossScaler, TrainingEvent, TrainingRun,
        },
        checkpoint::{BestMetric, CheckpointPolicy, Resume},
    },
};
use burn::{module::Param, tensor::Tensor};
use serde_json::Value;

use crate::support::{
    callbacks::Events,
    training::{BATCHES, Folder, Net, Run, strategy},
    values::*,
};

fn messages(events: &Events, source: &str) -> Vec<TrainingEvent> {
    let events = events.0.lock().unwrap();
    events
        .iter()
        .filter(|event| event.source == source)
        .cloned()
        .collect()
}

/// Replaces gradients of the second layer after some passes.
struct Spoil {
    steps: Vec<usize>,
    factor: f32,
    weights: HashMap<usize, Vec<f32>>,
}

impl Spoil {
    fn new(steps: &[usize], factor: f32) -> Self {
        Self {
            steps: steps.to_vec(),
            factor,
            weights: HashMap::new(),
        }
    }
}

impl Callback<Net> for Spoil {
    fn name(&self) -> &str {
        "spoil"
    }

    fn after_backward(
        &mut self,
        run: &mut TrainingRun<Net>,
        pass: &mut BackwardPass<'_, Net>,
    ) -> CallbackResult {
        let (step, model) = (run.position().step, run.model());
        self.weights.insert(step, model.weights());
        if let Some(previous) = self.weights.get(&(step.wrapping_sub(1))) {
            let same = *previous == self.weights[&step];
            // A skipped step changes nothing, any other does.
            assert_eq!(same, self.steps.contains(&(step - 1)), "step {step}");
        }
        if self.steps.contains(&step) {
            let id = model.second.weight.id;
            let grad: Tensor<2> = pass.grads.remove(id).unwrap();
            pass.grads.register(id, grad.mul_scalar(self.factor));
        }
        Ok(())
    }
}

#[test]
fn the_nan_guard_skips_steps_or_ends_the_training_and_names_the_tensor() {
    let (folder, events) = (Folder::new("nan"), Events::default());
    let run = Run::new(&folder.0);
    let skipping = strategy()
        .with_callback(Spoil::new(&[4, 9, 10], f32::NAN))
        .with_callback(NanGuard::skip(2))
        .with_callback(events.clone());
    let result = run.launch(skipping);
    assert!(result.error.is_none(), "{:?}", result.error);
    assert!(result.model.weights().iter().all(|w| w.is_finite()));
    let skipped = messages(&events, "nan_guard");
    let steps: Vec<usize> = skipped.iter().map(|event| event.step).collect();
    assert_eq!(steps, [4, 9, 10]);
    let text = "the step is skipped: NaN or infinite values in the gradients of second.weight";
    assert!(
        skipped.iter().all(|event| event.message.starts_with(text)),
        "{skipped:?}"
    );

    for (guard, steps) in [
        (NanGuard::stop(), vec![5]),
        (NanGuard::skip(2), vec![5, 6, 7]),
    ] {
        let stopping = strategy()
            .with_callback(Spoil::new(&steps, f32::INFINITY))
            .with_callback(guard);
        let error = run.launch(stopping).error.unwrap().to_string();
        assert!(
            error.contains("callback `nan_guard`: NaN or infinite values"),
            "{error}"
        );
        assert!(error.contains("second.weight"), "{error}");
        assert!(!error.contains("first.weight"), "{error}");
    }
}

/// Puts a NaN into a weight or an activation.
struct Poison {
    step: usize,
    weight: bool,
}

impl Callback<Net> for Poison {
    fn name(&self) -> &str {
        "poison"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        if run.position().step != self.step {
            return Ok(());
        }
        let mut model = run.model();
        let weights = |w: Tensor<2>| Tensor::from_data(w.to_data(), &w.device().inner());
        let poisoned = |w: Tensor<2>| match self.weight {
            true => weights(w).slice_fill([0..1, 0..1], f32::NAN),
            // Large enough that the squares of the next layer overflow.
            false => weights(w).mul_scalar(1e38),
        };
        model.first.weight = Param::from_tensor(poisoned(model.first.weight.val()));
        run.load_model(burn::module::Module::into_record(model));
        Ok(())
    }
}

#[test]
fn a_nan_in_weights_or_activations_never_reaches_a_checkpoint() {
    for weight in [true, false] {
        // Within an epoch, before a checkpoint, and in its last step, before the validation.
        for step in [4, 6, BATCHES] {
            let folder = Folder::new("poison");
            let run = Run::new(&folder.0);
            let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).every_steps(3);
            let strategy = strategy()
                .with_callback(Poison { step, weight })
                .with_callback(NanGuard::stop())
                .with_checkpoints(policy.clone());
            let result = run.launch(strategy);
            if weight {
                let error = result.error.expect("an error").to_string();
                assert!(error.contains("nan_guard"), "{error}");
            } else if result.error.is_none() {
                // Clipping or saturating activations may keep everything finite.
                assert!(result.model.weights().iter().all(|w| w.is_finite()));
            }
            let resumed = crate::support::training::strategy()
                .with_checkpoints(policy.resume(Resume::Latest));
            let model = run.launch(resumed).model;
            assert!(model.weights().iter().all(|w| w.is_finite()), "step {step}");
        }
    }
}

#[test]
fn loss_scaling_divides_gradients_skips_overflows_and_keeps_its_scale() {
    let folder = Folder::new("scaling");
    let run = Run::new(&folder.0);
    let expected = run.launch(strategy());
    // A power of two, so that dividing is exact: the training is the one without scaling.
    let config = LossScalerConfig::new()
        .with_initial_scale(64.0)
        .with_growth_interval(1000);
    let (events, scaler) = (Events::default(), SharedLossScaler::new(&config));
    struct Scale(SharedLossScaler);
    impl Callback<Net> for Scale {
        fn name(&self) -> &str {
            "scale"
        }

        fn after_backward(
            &mut self,
            run: &mut TrainingRun<Net>,
            pass: &mut BackwardPass<'_, Net>,
        ) -> CallbackResult {
            for layer in [&run.model().first, &run.model().second] {
                let grad: Tensor<2> = pass.grads.remove(layer.weight.id).unwrap();
                pass.grads.register(layer.weight.id, self.0.scale(grad));
            }
            Ok(())
        }
    }
    let scaling = strategy()
        .with_callback(Scale(scaler.clone()))
        .with_callback(LossScaling::new(&scaler));
    let scaled = run.launch(scaling);
    assert_equal(
        &scaled.model.weights(),
        &expected.model.weights(),
        "weights",
    );

    let overflowing = strategy()
        .with_callback(Spoil::new(&[2, 3], f32::INFINITY))
        .with_callback(LossScaling::new(&scaler))
        .with_callback(events.clone())
        .with_checkpoints(CheckpointPolicy::new(folder.0.join("checkpoints")));
    assert!(run.launch(overflowing).error.is_none());
    assert_eq!(scaler.get(), 16.0);
    let skipped = messages(&events, "loss_scaling");
    let steps: Vec<usize> = skipped.iter().map(|event| event.step).collect();
    assert_eq!(steps, [2, 3]);

    let resumed = SharedLossScaler::new(&config);
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).resume(Resume::Latest);
    let resuming = strategy()
        .with_callback(LossScaling::new(&resumed))
        .with_checkpoints(policy);
    assert!(run.launch(resuming).error.is_none());
    assert_eq!(resumed.get(), 16.0);
}

#[test]
fn schedules_set_width_and_weight_decay_by_the_step() {
    let folder = Folder::new("schedules");
    let run = Run::new(&folder.0);
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let stages = [
        (0, BitWidth::Bits(8)),
        (5, BitWidth::Bits(4)),
        (9, BitWidth::Ternary),
    ];
    let decay = DecoupledWeightDecay::new(0.0);
    let events = Events::default();
    let strategy = strategy()
        .with_callback(BitWidthAnnealing::new(
            controls,
            BitWidthSchedule::new(stages).unwrap(),
        ))
        .with_callback(ScheduledWeightDecay::new(
            &decay,
            WeightDecaySchedule::until_midpoint(0.1, 3 * BATCHES),
        ))
        .with_callback(events.clone());
    assert!(run.launch_learner(learner, strategy).error.is_none());
    let steps =
        |source| -> Vec<usize> { messages(&events, source).iter().map(|e| e.step).collect() };
    assert_eq!(steps("bit_width_annealing"), [0, 5, 9]);
    // 21 steps: the second half begins at 10.
    assert_eq!(steps("scheduled_weight_decay"), [0, 10]);
    assert_eq!(decay.get(), 0.0);
}

#[test]
fn gradient_statistics_are_the_norms_of_the_gradients() {
    let (folder, events) = (Folder::new("statistics"), Events::default());
    let run = Run::new(&folder.0);
    struct Norms(Vec<[f64; 2]>);
    impl Callback<Net> for Norms {
        fn name(&self) -> &str {
            "norms"
        }

        fn before_optimizer_step(
            &mut self,
            run: &mut TrainingRun<Net>,
            step: &mut OptimizerStep<'_>,
        ) -> CallbackResult {
            let model = run.model();
            let norm = |layer: &bitnet_burn::nn::BitLinear| {
                let grad: Tensor<2> = step.grads.get(layer.weight.id).unwrap();
                let sum: f64 = floats(grad).iter().map(|g| (*g as f64).powi(2)).sum();
                sum.sqrt()
            };
            self.0.push([norm(&model.first), norm(&model.second)]);
            Ok(())
        }

        fn on_event(&mut self, event: &TrainingEvent) -> CallbackResult {
            let [first, second] = self.0[event.step];
            let near = |name: &str, value: f64| {
                let found = event.values[name];
                // Sums of 128 squares in f32.
                let bound = 128.0 * ROUNDING * value;
                assert!(
                    (found - value).abs() <= bound,
                    "{name}: {found}, expected {value}"
                );
            };
            near("norm", first.hypot(second));
            near("largest", first.max(second));
            near("smallest", first.min(second));
            Ok(())
        }
    }
    let strategy = strategy()
        .with_callback(Norms(Vec::new()))
        .with_callback(GradientStatistics::every(5))
        .with_callback(events.clone());
    let result = run.launch(strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    let steps: Vec<usize> = messages(&events, "gradient_statistics")
        .iter()
        .map(|e| e.step)
        .collect();
    assert_eq!(steps, [0, 5, 10, 15, 20]);
}

#[test]
fn early_stopping_waits_for_a_better_metric_also_over_a_break() {
    let folder = Folder::new("early");
    let run = Run {
        epochs: 9,
        ..Run::new(&folder.0)
    };
    // The loss falls, so that it never becomes better again.
    let worst = BestMetric {
        name: "Loss".to_string(),
        higher_is_better: true,
    };
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    let stopping = |patience| strategy().with_callback(EarlyStopping::new(worst.clone(), patience));
    let result = run.launch(stopping(2).with_checkpoints(policy.clone()));
    let reason = result.interrupted.unwrap().reason.unwrap();
    assert!(reason.contains("for 2 epochs"), "{reason}");

    // Stopped after three epochs; with a patience of 3 one more follows, not three.
    let events = Events::default();
    let resumed = stopping(3)
        .with_callback(events.clone())
        .with_checkpoints(policy.resume(Resume::Latest));
    assert!(run.launch(resumed).interrupted.is_some());
    let steps: Vec<usize> = messages(&events, "early_stopping")
        .iter()
        .map(|e| e.step)
        .collect();
    assert_eq!(steps, [4 * BATCHES]);

    let unknown = BestMetric {
        name: "Loose".to_string(),
        higher_is_better: false,
    };
    let unknown = strategy().with_callback(EarlyStopping::new(unknown, 1));
    let error = run.launch(unknown).error.unwrap().to_string();
    assert!(error.contains("no numeric metric \"Loose\""), "{error}");
}

#[test]
fn an_interruption_ends_the_step_and_saves_it() {
    struct SetAt(usize, Interruption);

    impl Callback<Net> for SetAt {
        fn name(&self) -> &str {
            "set_at"
        }

        fn before_forward(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
            if run.position().step == self.0 {
                self.1.flag().store(true, Ordering::SeqCst);
            }
            Ok(())
        }
    }

    let folder = Folder::new("interruption");
    let run = Run::new(&folder.0);
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    let interruption = Interruption::new();
    let interrupted = strategy()
        .with_callback(SetAt(BATCHES + 2, interruption.clone()))
        .with_callback(interruption)
        .with_checkpoints(policy.clone());
    let result = run.launch(interrupted);
    assert!(result.error.is_none());
    assert_eq!(
        result.interrupted.unwrap().reason.unwrap(),
        "it was asked to"
    );

    let events = Events::default();
    let resumed = strategy()
        .with_callback(Interruption::new())
        .with_callback(events.clone())
        .with_checkpoints(policy.resume(Resume::Latest));
    let result = run.launch(resumed);
    assert!(result.error.is_none() && result.interrupted.is_none());
    let said = messages(&events, "checkpoint");
    let step = BATCHES + 3;
    assert_eq!(said[0].message, format!("going on after step {step}"));

    let whole = Folder::new("uninterrupted");
    let whole = Run::new(&whole.0).launch(strategy());
    assert_eq!(result.model.weights(), whole.model.weights());
}

#[test]
fn the_json_log_has_every_step_once_also_over_a_break() {
    let folder = Folder::new("json");
    let run = Run::new(&folder.0);
    let path = folder.0.join("log.jsonl");
    let logging = || strategy().with_callback(JsonLogger::new(&path).every(1));
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"))
        .every_steps(5)
        .keep_last(9);
    let first = run.launch(logging().with_checkpoints(policy.clone()));
    assert!(first.error.is_none());
    // Line of a program that was killed while writing it.
    let mut text = fs::read_to_string(&path).unwrap();
    text.truncate(text.len() - 20);
    fs::write(&path, text).unwrap();

    let resumed = run.launch(logging().with_checkpoints(policy.resume(Resume::Step(10))));
    assert!(resumed.error.is_none());
    let lines: Vec<Value> = fs::read_to_string(&path)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let steps = |kind: &str| -> Vec<u64> {
        let of_kind = lines.iter().filter(|line| line["kind"] == kind);
        of_kind.map(|line| line["step"].as_u64().unwrap()).collect()
    };
    assert_eq!(steps("step"), (1..=21).collect::<Vec<_>>());
    assert_eq!(steps("validation"), [7, 14, 21]);
    let step = lines.iter().find(|line| line["kind"] == "step").unwrap();
    assert!(step["loss"].as_f64().unwrap() > 0.0);
    assert!(step["learning_rate"].as_f64().unwrap() > 0.0);
    let validation = lines
        .iter()
        .find(|line| line["kind"] == "validation")
        .unwrap();
    assert!(validation["metrics"]["Loss"].as_f64().unwrap() > 0.0);
}

#[test]
fn a_new_training_leaves_an_earlier_log_and_one_that_cannot_begin_touches_nothing() {
    let folder = Folder::new("json");
    let run = Run::new(&folder.0);
    let path = folder.0.join("log.jsonl");
    let logging = || strategy().with_callback(JsonLogger::new(&path));
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    assert!(
        run.launch(logging().with_checkpoints(policy.clone()))
            .error
            .is_none()
    );
    let first = fs::read_to_string(&path).unwrap();
    assert!(first.lines().count() >= 6);

    // The folder has checkpoints although resuming was not requested.
    assert!(
        run.launch(logging().with_checkpoints(policy))
            .error
            .is_some()
    );
    assert_eq!(fs::read_to_string(&path).unwrap(), first);

    assert!(run.launch(logging()).error.is_none());
    let earlier = folder.0.join("log.earlier-1.jsonl");
    assert_eq!(fs::read_to_string(earlier).unwrap(), first);
    assert_ne!(fs::read_to_string(&path).unwrap(), first);
}

#[test]
fn plain_progress_prints_without_an_error() {
    let folder = Folder::new("progress");
    let run = Run::new(&folder.0);
    let progress = PlainProgress::new().with_total_steps(3 * BATCHES).every(2);
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    let strategy = strategy().with_callback(progress).with_checkpoints(policy);
    assert!(run.launch(strategy).error.is_none());
}
