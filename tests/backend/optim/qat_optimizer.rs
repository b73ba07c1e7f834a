//! Burn's optimizers wrapped in this crate's: the same updates, records and decay, and clipped weights.

use bitnet_burn::{
    optim::{
        DecoupledWeightDecay, FreezingThreshold, LatentClipping, LatentQuantizer,
        OscillationFreezingConfig, OscillationMonitor, QatOptimizerConfig, WeightDecaySchedule,
        WeightDecayScheduler,
    },
    qat::{FakeQuant, Prepare},
    quant::{QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::{
    module::{Module, Param, ParamGroup},
    nn::LinearConfig,
    optim::{
        AdamConfig, AdamWConfig, GradientsParams, ModuleOptimizer, SgdConfig,
        momentum::MomentumConfig,
    },
    tensor::{DType, Device},
};

use crate::support::values::*;

const SHAPE: [usize; 2] = [4, 6];

/// A weight and a bias.
#[derive(Module, Debug)]
pub struct Layer {
    pub weight: Param<burn::Tensor<2>>,
    pub bias: Param<burn::Tensor<1>>,
}

impl Layer {
    pub fn new(seed: u64) -> Self {
        let device = Device::default().autodiff();
        let weight = tensor(&normal(24, seed), SHAPE, DType::F32, &device);
        let bias = tensor(&normal(6, seed + 1), [6], DType::F32, &device);
        Self {
            weight: Param::from_tensor(weight),
            bias: Param::from_tensor(bias),
        }
    }

    /// Gradients that differ with the step.
    pub fn grads(&self, step: u64) -> GradientsParams {
        let device = Device::default();
        let mut grads = GradientsParams::new();
        let weight = tensor(&normal(24, 100 + step), SHAPE, DType::F32, &device);
        let bias = tensor(&normal(6, 200 + step), [6], DType::F32, &device);
        grads.register(self.weight.id, weight);
        grads.register(self.bias.id, bias);
        grads
    }

    pub fn values(&self) -> Vec<f32> {
        [floats(self.weight.val()), floats(self.bias.val())].concat()
    }
}

/// Steps both optimizers from the same layer and compares bit for bit.
fn assert_same_steps(a: impl Into<ModuleOptimizer>, b: impl Into<ModuleOptimizer>, what: &str) {
    let (mut a, mut b) = (a.into(), b.into());
    let (mut layer_a, mut layer_b) = {
        let layer = Layer::new(1);
        (layer.clone(), layer)
    };
    for step in 0..4 {
        let (grads_a, grads_b) = (layer_a.grads(step), layer_b.grads(step));
        layer_a = a.step(0.05, layer_a, grads_a);
        layer_b = b.step(0.05, layer_b, grads_b);
        assert_equal(&layer_a.values(), &layer_b.values(), what);
    }
}

fn momentum() -> SgdConfig {
    SgdConfig::new().with_momentum(Some(MomentumConfig::new()))
}

#[test]
fn without_parts_the_steps_are_those_of_burn() {
    let ours = QatOptimizerConfig::new();
    let adamw = ours.build(AdamWConfig::new().build());
    assert_same_steps(adamw, AdamWConfig::new().build(), "AdamW");
    let adam = ours.build(AdamConfig::new().build());
    assert_same_steps(adam, AdamConfig::new().build(), "Adam");
    let sgd = ours.build(momentum().build());
    assert_same_steps(sgd, momentum().build(), "SGD");
}

#[test]
fn constant_weight_decay_is_that_of_adamw() {
    let weight_decay = DecoupledWeightDecay::new(0.1);
    let inner = AdamWConfig::new().with_weight_decay(0.0).build();
    let ours = QatOptimizerConfig::new().build(inner);
    let burn = AdamWConfig::new().with_weight_decay(0.1).build();
    assert_same_steps(ours.with_weight_decay(&weight_decay), burn, "decay");
}

#[test]
fn a_schedule_beside_the_learning_rate_switches_decay_off_and_resumes() {
    let weight_decay = DecoupledWeightDecay::new(0.0);
    let schedule = WeightDecaySchedule::until_midpoint(0.1, 6);
    let scheduler = || WeightDecayScheduler::new(schedule, &weight_decay).attach(0.05);

    let device_values =
        |scheduler: &mut burn::lr_scheduler::module_lr_scheduler::ModuleLrScheduler,
         steps: usize| {
            let value = |_| {
                assert_eq!(scheduler.step().base(), 0.05);
                weight_decay.get()
            };
            (0..steps).map(value).collect::<Vec<f32>>()
        };
    let mut first = scheduler();
    assert_eq!(device_values(&mut first, 2), [0.1, 0.1]);
    let mut resumed = scheduler().load_record(first.to_record());
    assert_eq!(device_values(&mut resumed, 3), [0.1, 0.0, 0.0]);

    // The value that the optimizers share is now 0: no decay.
    let inner = AdamWConfig::new().with_weight_decay(0.0).build();
    let ours = QatOptimizerConfig::new().build(inner.clone());
    assert_same_steps(ours.with_weight_decay(&weight_decay), inner, "no decay");
}

/// Every option at once, on the weight only.
fn all_parts() -> ModuleOptimizer {
    let freezing = OscillationFreezingConfig::new()
        .with_momentum(0.5)
        .with_threshold(FreezingThreshold::Cosine {
            start: 0.6,
            end: 0.3,
            total_steps: 6,
        });
    let plain = || AdamWConfig::new().with_weight_decay(0.0).build();
    let weight_decay = DecoupledWeightDecay::new(0.1);
    let ours = QatOptimizerConfig::new()
        .with_clipping(Some(LatentClipping::Scaled(1.5)))
        .with_freezing(Some(freezing))
        .build(plain())
        .with_weight_decay(&weight_decay)
        .for_latent_weights();
    ModuleOptimizer::from(plain()).with_group(ParamGroup::from_path("weight"), ours, None)
}

#[test]
fn an_optimizer_goes_on_from_its_record_bit_for_bit() {
    let mut original = all_parts();
    let mut layer = Layer::new(3);
    for step in 0..5 {
        let grads = layer.grads(step);
        layer = original.step(0.2, layer, grads);
    }
    let path = std::env::temp_dir().join(format!("optim_resume_{}.bpk", std::process::id()));
    original.save(&path).unwrap();
    let mut restored = all_parts().load(&path).unwrap();

    let fresh = all_parts().step(0.2, layer.clone(), layer.grads(5));
    let (mut a, mut b) = (layer.clone(), layer);
    for step in 5..9 {
        let (grads_a, grads_b) = (a.grads(step), b.grads(step));
        a = original.step(0.2, a, grads_a);
        b = restored.step(0.2, b, grads_b);
        assert_equal(&b.values(), &a.values(), &format!("step {step}"));
        // The restored state matters.
        assert!(step > 5 || fresh.values() != a.values());
    }
    // Not before: Burn reads the tensors of a record when they are first used.
    std::fs::remove_file(&path).unwrap();
}

#[test]
fn records_of_burn_load_into_ours_and_back() {
    let burn = || ModuleOptimizer::from(AdamWConfig::new().build());
    let mut original = burn();
    let mut layer = Layer::new(5);
    for step in 0..3 {
        let grads = layer.grads(step);
        layer = original.step(0.1, layer, grads);
    }
    let ours = QatOptimizerConfig::new().build(AdamWConfig::new().build());
    let mut ours = ModuleOptimizer::from(ours).load_record(original.to_record());
    let mut back = burn().load_record(ours.to_record());
    let expected = original.step(0.1, layer.clone(), layer.grads(3)).values();
    for (optimizer, what) in [(&mut ours, "ours"), (&mut back, "back")] {
        let actual = optimizer.step(0.1, layer.clone(), layer.grads(3)).values();
        assert_equal(&actual, &expected, what);
    }
}

/// Returns the layer after a step without a gradient, which only clips.
fn clipped(clipping: LatentClipping, quantizer: LatentQuantizer) -> Layer {
    let ours = QatOptimizerConfig::new()
        .with_quantizer(quantizer)
        .with_clipping(Some(clipping))
        .build(SgdConfig::new().build())
        .for_latent_weights();
    let layer = Layer::new(7);
    let grads = layer.grads(0);
    let weight = ParamGroup::from_path("weight");
    let plain = ModuleOptimizer::from(SgdConfig::new().build());
    let mut optimizer = plain.with_group(weight, ours, None);
    optimizer.step(0.0, layer, grads)
}

#[test]
fn weights_are_clipped_to_an_absolute_bound() {
    let layer = clipped(LatentClipping::Absolute(0.05), LatentQuantizer::new());
    let expected: Vec<f32> = normal(24, 7).iter().map(|w| w.clamp(-0.05, 0.05)).collect();
    assert_equal(&floats(layer.weight.val()), &expected, "weight");
}

#[test]
fn weights_are_clipped_to_a_multiple_of_the_scale_of_their_channel() {
    let granularity = WeightGranularity::PerChannel;
    let quantizer = LatentQuantizer::new().with_quantizer(WeightQuantizer::ternary(granularity));
    let layer = clipped(LatentClipping::Scaled(1.25), quantizer);

    let weight = normal(24, 7);
    let gamma = |column: usize| -> f64 {
        let column = (0..4).map(|row| weight[6 * row + column].abs() as f64);
        column.sum::<f64>() / 4.0
    };
    let bound = |i: usize| 1.25 * gamma(i % 6);
    let expected: Vec<f32> = (0..24)
        .map(|i| (weight[i] as f64).clamp(-bound(i), bound(i)) as f32)
        .collect();
    // The mean of four values takes four roundings, the bound one more.
    let error = |i: usize| 5.0 * ROUNDING * bound(i);
    assert_within(&floats(layer.weight.val()), &expected, error, "weight");
    let changed = expected.iter().zip(&weight).filter(|(a, b)| a != b).count();
    assert!((3..21).contains(&changed), "{changed} of 24 are clipped");
}

#[test]
fn groups_of_one_module_optimizer_share_weight_decay_and_monitor() {
    let (weight_decay, monitor) = (DecoupledWeightDecay::new(0.0), OscillationMonitor::new());
    let freezing = Some(OscillationFreezingConfig::new());
    let ours = || {
        QatOptimizerConfig::new()
            .with_freezing(freezing.clone())
            .build(SgdConfig::new().build())
            .with_weight_decay(&weight_decay)
            .with_monitor(&monitor)
            .for_latent_weights()
    };
    let plain = QatOptimizerConfig::new().build(SgdConfig::new().build());
    let mut optimizer = ModuleOptimizer::from(ours()).with_group(
        ParamGroup::from_path("bias"),
        plain.with_weight_decay(&weight_decay),
        None,
    );
    weight_decay.set(0.5);
    let layer = Layer::new(9);
    let grads = {
        let mut grads = layer.grads(0);
        let zeros = |n: usize| vec![0.0; n];
        let device = Device::default();
        grads.register(
            layer.weight.id,
            tensor(&zeros(24), SHAPE, DType::F32, &device),
        );
        grads.register(layer.bias.id, tensor(&zeros(6), [6], DType::F32, &device));
        grads
    };
    let before = layer.values();
    let layer = optimizer.step(0.5, layer, grads);
    // 1 - 0.5 * 0.5 is exact, its product with a value is rounded once.
    let expected: Vec<f32> = before.iter().map(|v| v * 0.75).collect();
    assert_equal(&layer.values(), &expected, "decayed");
    // The scale decays with the weights, so that no code changes.
    let report = monitor.take().unwrap();
    assert_eq!((report.flipped, report.frozen), (0.0, 0.0));
    assert!(monitor.take().is_none());
}

#[test]
fn the_latent_quantizer_is_derived_from_a_prepared_parameter() {
    let granularity = WeightGranularity::PerGroup { group_size: 2 };
    let weight = WeightQuantizer::ternary(granularity);
    let layer = LinearConfig::new(4, 3).init(&Device::default());
    let prepare = Prepare::new(QatScheme::weight_only().with_weight(weight.clone()));
    let layer = prepare.apply(layer).unwrap().model;
    let fake_quant = layer.weight.reparameterization::<FakeQuant>().unwrap();
    let expected = LatentQuantizer::new()
        .with_quantizer(weight)
        .with_output_axis(1);
    assert_eq!(LatentQuantizer::from(fake_quant), expected);
}

#[test]
#[should_panic(expected = "the bound of Scaled(0.0) must be positive, got 0")]
fn a_bound_of_zero_is_refused() {
    QatOptimizerConfig::new()
        .with_clipping(Some(LatentClipping::Scaled(0.0)))
        .build(SgdConfig::new().build());
}
