//! The callback that calibrates during training: the samples it observes, and the step when it freezes.

use bitnet_burn::{
    qat::QuantControls,
    quant::{
        ActivationQuantizer, QatScheme,
        calibration::{CalibrationTable, ObserverConfig},
    },
    train::{callback::*, checkpoint::CheckpointPolicy},
};
use burn::tensor::{Device, Tensor};

use crate::support::{
    callbacks::Events,
    training::{BATCHES, Folder, INPUTS, Net, Run, scaled_loader, strategy},
    values::*,
};

fn run(folder: &Folder) -> Run<'_> {
    let scheme = QatScheme::b1_58().with_activation(Some(ActivationQuantizer::Static {
        bits: 8,
        symmetric: true,
    }));
    Run {
        epochs: 2,
        scheme,
        ..Run::new(&folder.0)
    }
}

/// Observes the first steps and returns the ranges, the model and the logged events.
fn calibrate(run: &Run<'_>, end: usize) -> (CalibrationTable, Net, QuantControls, Events) {
    let learner = run.learner();
    let controls = QuantControls::of(&learner.model());
    let (file, events) = (run.folder.join("table.json"), Events::default());
    let calibration = Calibration::new(controls.clone(), ObserverConfig::min_max(), 0, end);
    let mut policy = CheckpointPolicy::new(run.folder.join("checkpoints")).every_steps(5);
    policy.every_epoch = false;
    let strategy = strategy()
        .with_callback(calibration.with_file(&file))
        .with_callback(events.clone())
        .with_checkpoints(policy);
    let result = run.launch_learner(learner, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    let table = CalibrationTable::load(&file).unwrap();
    (table, result.model, controls, events)
}

#[test]
fn validations_are_not_observed() {
    // The end of the window lies at the end of an epoch, and one step after its validation.
    for end in [BATCHES, BATCHES + 1] {
        let tables = [1.0, 1000.0].map(|factor| {
            let folder = Folder::new("observe");
            let run = Run {
                valid: scaled_loader(2, false, factor),
                ..run(&folder)
            };
            calibrate(&run, end).0
        });
        assert_eq!(tables[0], tables[1], "steps 0..{end}");
    }
}

#[test]
fn a_calibration_that_is_longer_than_the_training_says_so_and_freezes_at_its_end() {
    let folder = Folder::new("calibration-end");
    let (_, model, controls, events) = calibrate(&run(&folder), 22);
    let events = events.0.lock().unwrap();
    let first = &events[0];
    assert_eq!((first.step, first.source.as_str()), (0, "calibration"));
    assert!(
        first
            .message
            .contains("after step 22, the training ends after step 14"),
        "{first}"
    );
    assert!(!controls.is_observing());
    let before = model.first.input_quant.as_ref().unwrap();
    let x = Tensor::<2>::full([1, INPUTS], 1e6, &Device::default());
    let clipped = floats(before.forward(x.clone()).max())[0];
    assert!(clipped < 100.0, "{clipped}");
    assert_eq!(floats(before.forward(x.mul_scalar(10.0)).max())[0], clipped);
}
