//! Settings of callbacks in a model, after a rollback to a checkpoint with other settings.

use bitnet_burn::{
    qat::QuantControls,
    quant::{
        ActivationQuantizer, BitWidth, QatScheme,
        calibration::ObserverConfig,
        schedule::{BitWidthSchedule, LayerwiseConfig, ProgressiveSchedule, ProgressiveShape},
    },
    train::{callback::*, checkpoint::CheckpointPolicy},
};
use burn::{
    tensor::{DType, Device, Tensor},
    train::LearningResult,
};

use crate::support::{
    callbacks::{At, Events},
    training::{Folder, INPUTS, Net, Run, strategy},
    values::*,
};

/// Steps between checkpoints.
const EVERY: usize = 5;
/// Step after which the training returns to the checkpoint of step 10.
const ROLLBACK: usize = 12;
/// Last step of a schedule, between checkpoint and rollback.
const LAST: usize = 11;

/// Trains with a callback and a rollback, and returns the final settings of the model.
fn train(
    scheme: QatScheme,
    callback: impl Fn(QuantControls) -> Box<dyn Callback<Net>>,
) -> (LearningResult<Net>, String, Events) {
    let folder = Folder::new("rollback");
    let run = Run {
        scheme,
        ..Run::new(&folder.0)
    };
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let mut policy = CheckpointPolicy::new(folder.0.join("checkpoints")).every_steps(EVERY);
    policy.every_epoch = false;
    let events = Events::default();
    let back = At(ROLLBACK, |run: &mut TrainingRun<Net>| {
        run.request_rollback("watch", "astray");
        Ok(())
    });
    let strategy = strategy()
        .with_callback(Boxed(callback(controls.clone())))
        .with_callback(back)
        .with_callback(events.clone())
        .with_checkpoints(policy);
    let result = run.launch_learner(learner, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    let rolled_back = events
        .0
        .lock()
        .unwrap()
        .iter()
        .any(|event| event.message == "astray: rolled back to the checkpoint of step 10");
    assert!(rolled_back);
    (result, controls.to_string(), events)
}

struct Boxed(Box<dyn Callback<Net>>);

impl Callback<Net> for Boxed {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.0.on_train_start(run)
    }

    fn before_forward(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.0.before_forward(run)
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.0.after_optimizer_step(run)
    }

    fn on_rollback(
        &mut self,
        run: &mut TrainingRun<Net>,
        state: Option<serde_json::Value>,
    ) -> CallbackResult {
        self.0.on_rollback(run, state)
    }

    fn on_train_end(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        self.0.on_train_end(run)
    }

    fn state(&self) -> Option<serde_json::Value> {
        self.0.state()
    }
}

fn count(events: &Events, message: &str) -> usize {
    let events = events.0.lock().unwrap();
    events
        .iter()
        .filter(|event| event.message == message)
        .count()
}

#[test]
fn lambda_goes_on_by_its_schedule() {
    let schedule = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, LAST).unwrap();
    let (result, controls, events) = train(QatScheme::b1_58(), |controls| {
        Box::new(ProgressiveQuantization::new(controls, schedule.clone()))
    });
    let all = QuantControls::of(&result.model);
    assert!(all.lambdas().all(|(_, lambda)| lambda == 1.0), "{controls}");
    assert_eq!(count(&events, "quantized in full from here on"), 1);
}

#[test]
fn each_layer_goes_on_by_its_own_schedule() {
    let (result, controls, _) = train(QatScheme::b1_58(), |controls| {
        let layers: Vec<_> = controls
            .layers()
            .into_iter()
            .map(|(layer, _)| layer)
            .collect();
        let whole = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, LAST).unwrap();
        let layerwise = LayerwiseConfig::new(whole).init(&layers).unwrap();
        Box::new(ProgressiveQuantization::layerwise(controls, layerwise))
    });
    let all = QuantControls::of(&result.model);
    assert!(all.lambdas().all(|(_, lambda)| lambda == 1.0), "{controls}");
}

#[test]
fn widths_go_on_by_their_schedule() {
    let (_, controls, events) = train(QatScheme::b1_58(), |controls| {
        let widths = [(0, BitWidth::Bits(8)), (LAST, BitWidth::Ternary)];
        let widths = BitWidthSchedule::new(widths).unwrap();
        Box::new(BitWidthAnnealing::new(controls, widths))
    });
    assert!(
        controls.contains("ternary") && !controls.contains('8'),
        "{controls}"
    );
    assert_eq!(count(&events, "weights have ternary from here on"), 1);
}

#[test]
fn calibrated_ranges_stay_frozen() {
    let scheme = QatScheme::b1_58().with_activation(Some(ActivationQuantizer::Static {
        bits: 8,
        symmetric: true,
    }));
    for (start, end) in [(0, LAST), (0, 4), (LAST, ROLLBACK)] {
        let (result, _, _) = train(scheme.clone(), |controls| {
            Box::new(Calibration::new(
                controls,
                ObserverConfig::min_max(),
                start,
                end,
            ))
        });
        // A static range clips larger values, a dynamic range grows with them.
        let values = normal(INPUTS, 5);
        let x: Tensor<2> = tensor(&values, [1, INPUTS], DType::F32, &Device::default());
        let quantizer = result.model.first.input_quant.as_ref().unwrap();
        let largest = |factor: f32| {
            let quantized = quantizer.forward(x.clone().mul_scalar(factor));
            floats(quantized.abs().max())[0]
        };
        assert_eq!(largest(1e4), largest(1e3), "steps {start}..{end}");
    }
}
