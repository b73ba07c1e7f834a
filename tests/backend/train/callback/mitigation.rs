//! Mitigation rules triggered by the error monitor: applied once, logged, reverted.

use bitnet_burn::{
    optim::{LearningRateScale, ScaledLrScheduler},
    qat::QuantControls,
    quant::{WeightGranularity, WeightQuantizer},
    train::{
        callback::{
            Callback, CallbackResult, ErrorMonitor, Mitigation, MitigationRule, Mitigations,
            Remedy, Symptom, TrainingRun,
        },
        checkpoint::{CheckpointPolicy, Resume},
    },
};
use burn::{
    lr_scheduler::constant::ConstantLr,
    module::{Module, Param},
    optim::AdamWConfig,
    tensor::Device,
    train::Learner,
};

use crate::support::{
    callbacks::Events,
    training::{Folder, Net, Run, strategy},
    values::*,
};

fn rule(symptom: Symptom, remedy: Remedy) -> MitigationRule {
    MitigationRule {
        symptom,
        patience: 1,
        remedy,
    }
}

/// Trains with a measurement before each step; returns the result, the applied rules and the events.
fn treated(
    folder: &Folder,
    rules: Vec<MitigationRule>,
    dry_run: bool,
    resume: Resume,
) -> (Net, Mitigations, Vec<String>) {
    let run = Run::new(&folder.0);
    let scale = LearningRateScale::default();
    let scheduler = ScaledLrScheduler::new(ConstantLr::new(0.01), &scale);
    let model = run.learner().model();
    let controls = QuantControls::of(&model);
    let learner = Learner::new(model, AdamWConfig::new().init(), scheduler);
    let monitor = ErrorMonitor::new(controls.clone()).every(1);
    let mitigation = Mitigation::new(rules, controls, monitor.history());
    let mitigation = mitigation.with_learning_rate_scale(&scale);
    let mitigation = if dry_run {
        mitigation.dry_run()
    } else {
        mitigation
    };
    let (done, events) = (mitigation.mitigations(), Events::default());
    let strategy = strategy()
        .with_callback(monitor)
        .with_callback(mitigation)
        .with_callback(events.clone())
        .with_checkpoints(CheckpointPolicy::new(folder.0.join("checkpoints")).resume(resume));
    let result = run.launch_learner(learner, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    let events = events.0.lock().unwrap();
    let said = events.iter().filter(|event| event.source == "mitigation");
    (
        result.model,
        done,
        said.map(|event| event.message.clone()).collect(),
    )
}

/// Returns the quantized weight of a layer.
fn quantized(model: &Net, quantizer: impl Into<WeightQuantizer>) -> Vec<f32> {
    let (quantizer, latent) = (quantizer.into(), model.second.weight.val());
    let groups = quantizer.groups(&latent.dims(), 1).unwrap();
    floats(quantizer.fake_quant(latent, groups, Default::default()).0)
}

#[test]
fn a_layer_gets_more_bits_once_and_they_can_be_taken_back() {
    let folder = Folder::new("mitigation");
    // Ternary weights have 5 to 6 dB, those of 4 bits far more.
    let rules = vec![rule(
        Symptom::SqnrBelow { db: 8.0 },
        Remedy::Bits { bits: 4 },
    )];
    let (model, done, said) = treated(&folder, rules.clone(), false, Resume::Never);
    let applied = done.applied();
    let paths: Vec<&str> = applied.iter().map(|a| a.path.as_deref().unwrap()).collect();
    assert_eq!(paths, ["first.weight_quant", "second.weight_quant"]);
    assert!(applied.iter().all(|a| a.step == 0 && !a.reverted));
    assert!(
        applied[0].reason.starts_with("SQNR below 8 dB: "),
        "{}",
        applied[0].reason
    );
    assert_eq!(said.len(), 2);
    assert!(
        said[1].starts_with("second.weight_quant: 4 bits, as SQNR below 8 dB"),
        "{said:?}"
    );

    let four = WeightQuantizer::symmetric(4).with_granularity(WeightGranularity::PerTensor);
    let ternary = WeightQuantizer::default();
    let weight = |model: &Net| floats(model.second.quantized_weight());
    assert_equal(&weight(&model), &quantized(&model, four.clone()), "4 bits");
    assert!(done.revert(1) && !done.revert(1) && !done.revert(2));
    assert_equal(
        &weight(&model),
        &quantized(&model, ternary),
        "ternary again",
    );

    // A resumed training reads the applied rules from the record, and does not log them again.
    let (model, done, said) = treated(&folder, rules, false, Resume::Latest);
    assert_eq!((done.applied().len(), said.len()), (2, 0));
    assert_equal(
        &weight(&model),
        &quantized(&model, four),
        "4 bits from the records",
    );
}

#[test]
fn a_dry_run_says_what_it_would_do_and_does_nothing() {
    let (folder, other) = (Folder::new("mitigation"), Folder::new("mitigation"));
    let rules = vec![
        rule(Symptom::SqnrBelow { db: 8.0 }, Remedy::Exclude),
        rule(Symptom::ZerosAbove { fraction: 0.0 }, Remedy::PerChannel),
    ];
    let (model, done, said) = treated(&folder, rules, true, Resume::Never);
    let (plain, none, _) = treated(&other, Vec::new(), false, Resume::Never);
    assert_equal(&model.weights(), &plain.weights(), "weights");
    assert!(none.applied().is_empty());
    assert!(done.applied().iter().all(|mitigated| mitigated.dry_run));
    assert!(
        said.iter().all(|message| message.contains("would be: ")),
        "{said:?}"
    );
    assert!(!done.revert(0));
}

#[test]
fn scales_for_channels_and_layers_in_float() {
    let folder = Folder::new("mitigation");
    let rules = vec![rule(Symptom::SqnrBelow { db: 8.0 }, Remedy::PerChannel)];
    let (model, done, _) = treated(&folder, rules, false, Resume::Never);
    let channels = WeightQuantizer::ternary(WeightGranularity::PerChannel);
    let weight = |model: &Net| floats(model.second.quantized_weight());
    assert_equal(&weight(&model), &quantized(&model, channels), "per channel");
    assert!(model.second.weight_quant.is_packable());
    let packed = model.second.pack();
    assert_equal(
        &floats(packed.weight.unpack_like([16, 3], 1)),
        &weight(&model),
        "packed",
    );
    assert!(done.revert(1));
    assert_equal(
        &weight(&model),
        &quantized(&model, WeightQuantizer::default()),
        "per tensor",
    );

    let folder = Folder::new("mitigation");
    let rules = vec![rule(Symptom::SqnrBelow { db: 8.0 }, Remedy::Exclude)];
    let (model, done, _) = treated(&folder, rules, false, Resume::Never);
    assert_equal(
        &weight(&model),
        &floats(model.second.weight.val()),
        "in float",
    );
    assert!(!model.second.weight_quant.is_packable());
    assert!(done.revert(1) && model.second.weight_quant.is_packable());
}

#[test]
fn patience_waits_for_measurements_in_a_row() {
    let folder = Folder::new("mitigation");
    let rules = vec![MitigationRule {
        symptom: Symptom::SqnrBelow { db: 8.0 },
        patience: 4,
        remedy: Remedy::Bits { bits: 8 },
    }];
    let (_, done, _) = treated(&folder, rules, false, Resume::Never);
    let steps: Vec<usize> = done
        .applied()
        .iter()
        .map(|mitigated| mitigated.step)
        .collect();
    assert_eq!(steps, [3, 3], "the fourth measurement is that of step 3");
}

/// Corrupts the weights after a step.
struct Spoil(usize);

impl Callback<Net> for Spoil {
    fn name(&self) -> &str {
        "spoil"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        if run.position().step == self.0 {
            let mut model = run.model();
            let weight = floats(model.second.weight.val());
            let spoiled: Vec<f32> = weight.iter().map(|w| -1000.0 * w).collect();
            let device = model.second.weight.val().device().inner();
            let shape = model.second.weight.dims();
            let spoiled = tensor(&spoiled, shape, burn::tensor::DType::F32, &device);
            model.second.weight = Param::from_tensor(spoiled);
            run.load_model(model.into_record());
        }
        Ok(())
    }
}

#[test]
fn a_loss_that_explodes_rolls_back_and_slows_down() {
    let folder = Folder::new("mitigation");
    let run = Run::new(&folder.0);
    let scale = LearningRateScale::default();
    let scheduler = ScaledLrScheduler::new(ConstantLr::new(0.01), &scale);
    let model = Net::init(0.0, &run.scheme, &Device::default().autodiff());
    let controls = QuantControls::of(&model);
    let learner = Learner::new(model, AdamWConfig::new().init(), scheduler);
    let monitor = ErrorMonitor::new(controls.clone()).every(1);
    let loss = Symptom::LossAbove { factor: 5.0 };
    let rules = vec![
        rule(loss, Remedy::RollBack),
        rule(loss, Remedy::LearningRate { factor: 0.5 }),
    ];
    let mitigation = Mitigation::new(rules, controls, monitor.history());
    let mitigation = mitigation.with_learning_rate_scale(&scale);
    let (done, events) = (mitigation.mitigations(), Events::default());
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints")).every_steps(2);
    let strategy = strategy()
        .with_callback(Spoil(11))
        .with_callback(monitor)
        .with_callback(mitigation)
        .with_callback(events.clone())
        .with_checkpoints(policy);
    let result = run.launch_learner(learner, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    // The loss of the step after the corruption is measured after that step, the twelfth.
    let applied = done.applied();
    assert_eq!(applied.iter().map(|a| a.step).collect::<Vec<_>>(), [11, 11]);
    assert_eq!(scale.get(), 0.5);
    let events = events.0.lock().unwrap();
    let rolled = events
        .iter()
        .find(|event| event.message.contains("rolled back"))
        .unwrap();
    assert!(
        rolled.message.ends_with("to the checkpoint of step 10"),
        "{}",
        rolled.message
    );
    assert!(result.model.weights().iter().all(|w| w.abs() < 10.0));
    assert!(!done.revert(0), "a rollback has nothing to take back");
    assert!(done.revert(1));
    assert_eq!(scale.get(), 1.0);
}

#[test]
#[should_panic(expected = "as the loss belongs to no layer, got Exclude")]
fn a_remedy_of_a_layer_for_the_loss_panics() {
    let model = Net::init(0.0, &Default::default(), &Device::default());
    let rules = vec![rule(Symptom::LossAbove { factor: 2.0 }, Remedy::Exclude)];
    let _ = Mitigation::new(rules, QuantControls::of(&model), Default::default());
}
