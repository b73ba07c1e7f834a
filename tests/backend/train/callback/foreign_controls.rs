//! Callbacks whose controls belong to another model than the trained one.

use bitnet_burn::{
    qat::{QuantControls, detach_controls},
    quant::{
        BitWidth, QatScheme,
        calibration::ObserverConfig,
        schedule::{BitWidthSchedule, LayerwiseConfig, LayerwiseSchedule, ProgressiveSchedule},
    },
    train::{CallbackStrategy, TrainingFailure, callback::*},
};

use crate::support::training::{Folder, Net, Run, strategy};

/// Creates a strategy with each callback that has controls.
fn strategies(controls: &QuantControls) -> Vec<CallbackStrategy<Net>> {
    let all = || controls.clone();
    let widths = BitWidthSchedule::new([(0, BitWidth::Bits(4))]).unwrap();
    let observer = ObserverConfig::min_max();
    vec![
        strategy().with_callback(ProgressiveQuantization::new(
            all(),
            ProgressiveSchedule::default(),
        )),
        strategy().with_callback(ProgressiveQuantization::layerwise(all(), layerwise())),
        strategy().with_callback(BitWidthAnnealing::new(all(), widths)),
        strategy().with_callback(QuantizationNoise::new(all())),
        strategy().with_callback(Calibration::new(all(), observer, 0, 2)),
        strategy().with_callback(ErrorMonitor::new(all())),
        strategy().with_callback(Mitigation::new(Vec::new(), all(), Default::default())),
    ]
}

fn layerwise() -> LayerwiseSchedule {
    let paths = ["first.weight_quant", "second.weight_quant"];
    LayerwiseConfig::default().init(&paths).unwrap()
}

/// Trains the model of a run with controls of another one.
fn errors(run: &Run<'_>, controls: impl Fn(&Net) -> QuantControls) -> Vec<Option<String>> {
    let error = |strategy| {
        let learner = run.learner();
        // The strategy has its controls already; the model of this learner is another one.
        let result = run.launch_learner(learner, strategy);
        assert!(result.error.is_none() || result.interrupted.is_none());
        let error = result.error?;
        let failed = error.callback_error().expect("an error of a callback");
        let source = failed.source.to_string();
        let expected = "expected controls of the model that trains, found ";
        assert!(source.starts_with(expected), "{error}");
        Some(error.reason())
    };
    let model = run.learner().model();
    let strategies = strategies(&controls(&model));
    strategies.into_iter().map(error).collect()
}

const NAMES: [&str; 7] = [
    "progressive_quantization",
    "progressive_quantization",
    "bit_width_annealing",
    "quantization_noise",
    "calibration",
    "error_monitor",
    "mitigation",
];

#[test]
fn controls_of_another_model_are_an_error_before_the_first_step() {
    let folder = Folder::new("foreign");
    let run = Run::new(&folder.0);
    let others: [fn(&Net) -> QuantControls; 3] = [
        QuantControls::of,
        // A copy of the same model with independent controls.
        |model| QuantControls::of(&detach_controls(model.clone())),
        // Controls of both models.
        |model| QuantControls::of(&vec![model.clone(), detach_controls(model.clone())]),
    ];
    for other in others {
        for (error, name) in errors(&run, other).into_iter().zip(NAMES) {
            let error = error.unwrap_or_else(|| panic!("{name} takes controls of another model"));
            let expected = format!("callback `{name}`: expected controls of the model that trains");
            assert!(error.starts_with(&expected), "{error}");
            assert!(error.contains("found those of another model"), "{error}");
        }
    }
}

#[test]
fn controls_without_quantizers_are_an_error() {
    let folder = Folder::new("no-controls");
    let run = Run::new(&folder.0);
    let none = |model: &Net| QuantControls::of(model).filter(|_| false);
    for (error, name) in errors(&run, none).into_iter().zip(NAMES) {
        let error = error.unwrap_or_else(|| panic!("{name} takes no controls"));
        assert!(error.contains(&format!("`{name}`")), "{error}");
        assert!(error.contains("found none"), "{error}");
    }
}

#[test]
fn a_calibration_without_activations_to_observe_is_an_error() {
    let folder = Folder::new("no-activations");
    let run = Run {
        scheme: QatScheme::b1_58().with_activation(None),
        ..Run::new(&folder.0)
    };
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let calibration = Calibration::new(controls, ObserverConfig::min_max(), 0, 2);
    let result = run.launch_learner(learner, strategy().with_callback(calibration));
    let error = result.error.unwrap().reason();
    assert!(error.contains("has no such quantizers"), "{error}");
}

#[test]
fn a_part_of_the_controls_of_the_model_is_enough() {
    let folder = Folder::new("own-controls");
    let run = Run::new(&folder.0);
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model()).filter(|path| path.starts_with("first"));
    let schedule = ProgressiveSchedule::default();
    let strategy = strategy().with_callback(ProgressiveQuantization::new(controls, schedule));
    assert!(run.launch_learner(learner, strategy).error.is_none());
}
