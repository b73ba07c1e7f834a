//! Latent weights are identified by the quantizer that owns them: clipping and freezing change nothing
//! else.

use bitnet_burn::{
    loss::{Regularizer, WeightRegularizer},
    nn::{BitLinear, BitLinearConfig},
    optim::{
        FreezingThreshold, LatentClipping, OscillationFreezingConfig, OscillationMonitor,
        QatOptimizerConfig,
    },
    qat::{Decision, Prepare, PrepareError, latent_weights, quantizer_parameters},
    quant::{ActivationQuantizer, BitWidth, QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::{
    module::{Module, ModuleVisitor, Param, ParamGroup},
    nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, RmsNorm, RmsNormConfig},
    optim::{GradientsParams, ModuleOptimizer, SgdConfig},
    tensor::{DType, Device, Tensor},
};

use crate::support::{loss_reference::assert_near, values::*};

/// Quantized layers of both kinds, among other parameters of all ranks.
#[derive(Module, Debug)]
struct Net {
    table: Embedding,
    bit: BitLinear,
    norm: RmsNorm,
    prepared: Linear,
    head: Linear,
}

/// Trained step sizes and offsets.
fn scheme() -> QatScheme {
    let activation = ActivationQuantizer::LearnedStep {
        bits: 4,
        offset: true,
        absmean: 0.8,
    };
    QatScheme::b1_58()
        .with_weight(WeightQuantizer::learned_step(BitWidth::Bits(4)))
        .with_activation(Some(activation))
}

fn net() -> Net {
    let device = Device::default().autodiff();
    let bit = BitLinearConfig::new(4, 6)
        .with_bias(true)
        .with_rms_norm_epsilon(Some(1e-6))
        .with_scheme(scheme());
    let net = Net {
        table: EmbeddingConfig::new(5, 4).init(&device),
        bit: bit.init(&device),
        norm: RmsNormConfig::new(6).init(&device),
        prepared: LinearConfig::new(6, 4).init(&device),
        head: LinearConfig::new(4, 3).init(&device),
    };
    let group = ParamGroup::from_path("prepared.weight");
    let prepare = Prepare::new(scheme().with_activation(None)).with_group(group);
    prepare
        .apply(net.map(&mut Drawn::new(70, 1.0)))
        .unwrap()
        .model
}

const LATENT: [&str; 2] = ["bit.weight", "prepared.weight"];

/// Returns all float parameters by their paths.
#[derive(Default)]
struct Floats {
    path: Vec<String>,
    values: Vec<(String, Vec<f32>)>,
    zeros: GradientsParams,
}

impl Floats {
    fn of(model: &impl Module) -> Self {
        let mut all = Self::default();
        model.visit(&mut all);
        all
    }
}

impl ModuleVisitor for Floats {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let value = param.base().without_autodiff();
        self.zeros.register(param.id, value.zeros_like());
        self.values.push((self.path.join("."), floats(value)));
    }
}

#[test]
fn clipping_touches_latent_weights_and_nothing_else() {
    let (net, bound) = (net(), 0.01);
    let mut optimizer = QatOptimizerConfig::new()
        .with_clipping(Some(LatentClipping::Absolute(bound)))
        .build(SgdConfig::new().build())
        .init(&net);
    let before = Floats::of(&net);
    // Two latent weights, four step sizes and offsets, and float parameters.
    assert_eq!(before.values.len(), 13);
    let net = optimizer.step(0.1, net, before.zeros);
    for ((path, after), (_, before)) in Floats::of(&net).values.iter().zip(&before.values) {
        let expected: Vec<f32> = match LATENT.contains(&path.as_str()) {
            true => before.iter().map(|w| w.clamp(-0.01, 0.01)).collect(),
            false => before.clone(),
        };
        assert_equal(after, &expected, path);
        let large = before.iter().any(|w| w.abs() > bound as f32);
        assert!(large, "{path} would not be clipped anyway");
    }
}

#[test]
fn the_scale_of_a_bound_is_that_of_each_quantizer() {
    let device = Device::default().autodiff();
    let layer = |quantizer: &QatScheme| {
        let config = BitLinearConfig::new(4, 6).with_scheme(quantizer.clone());
        config.init(&device).map(&mut Drawn::new(90, 0.1))
    };
    // mean|W| of each column, and max|W| / 7 of the whole.
    let ternary =
        QatScheme::b1_58().with_weight(WeightQuantizer::ternary(WeightGranularity::PerChannel));
    let symmetric = WeightQuantizer::symmetric(4).with_granularity(WeightGranularity::PerTensor);
    let symmetric = QatScheme::b1_58().with_weight(symmetric);
    let layers = vec![layer(&ternary), layer(&symmetric)];
    let weight = floats(layers[0].weight.val());
    let mut optimizer = QatOptimizerConfig::new()
        .with_clipping(Some(LatentClipping::Scaled(0.5)))
        .build(SgdConfig::new().build())
        .init(&layers);
    let grads = Floats::of(&layers).zeros;
    let layers = optimizer.step(0.1, layers, grads);

    let column = |i: usize| (0..4).map(move |row| 6 * row + i % 6);
    let gamma = |i: usize| column(i).map(|j| weight[j].abs() as f64).sum::<f64>() / 4.0;
    let largest = weight.iter().fold(0f32, |m, w| m.max(w.abs()));
    let bounds: [&dyn Fn(usize) -> f64; 2] = [&|i| 0.5 * gamma(i), &|_| 0.5 * largest as f64 / 7.0];
    for (layer, bound) in layers.iter().zip(bounds) {
        let expected: Vec<f32> = (0..24)
            .map(|i| (weight[i] as f64).clamp(-bound(i), bound(i)) as f32)
            .collect();
        // A mean takes four roundings, a scale one more, the bound one more.
        let error = |i: usize| 6.0 * ROUNDING * bound(i);
        assert_within(&floats(layer.weight.val()), &expected, error, "weight");
    }
}

#[test]
fn freezing_tracks_latent_weights_and_nothing_else() {
    let (net, monitor) = (net(), OscillationMonitor::new());
    let freezing =
        OscillationFreezingConfig::new().with_threshold(FreezingThreshold::Constant(0.5));
    let optimizer = QatOptimizerConfig::new()
        .with_freezing(Some(freezing))
        .build(SgdConfig::new().build())
        .with_monitor(&monitor);
    let mut optimizer = optimizer.init(&net);
    let grads = Floats::of(&net).zeros;
    optimizer.step(0.1, net, grads);
    let path = std::env::temp_dir().join(format!("latent_{}.bpk", std::process::id()));
    optimizer.save(&path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    // One name of each tracked weight stands in the record.
    let tracked = String::from_utf8_lossy(&bytes)
        .matches("oscillation.codes")
        .count();
    assert_eq!(tracked, 2);
}

#[test]
#[should_panic(expected = "clipping and freezing are for latent weights")]
fn an_optimizer_that_does_not_know_what_is_latent_does_not_clip() {
    let ours = QatOptimizerConfig::new()
        .with_clipping(Some(LatentClipping::Absolute(0.01)))
        .build(SgdConfig::new().build());
    let net = net();
    let grads = Floats::of(&net).zeros;
    ModuleOptimizer::from(ours).step(0.1, net, grads);
}

#[test]
fn groups_tell_latent_weights_and_parameters_of_quantizers() {
    let net = net();
    let (latent, own) = (latent_weights(&net), quantizer_parameters(&net));
    let of = |group: &ParamGroup| -> Vec<String> {
        let paths = Floats::of(&net).values.into_iter().map(|(path, _)| path);
        let id = net.head.weight.id;
        paths.filter(|p| group.matches(&id, Some(p))).collect()
    };
    assert_eq!(of(&latent), LATENT);
    assert_eq!(
        of(&own),
        [
            "bit.weight_quant.scale",
            "bit.input_quant.scale",
            "bit.input_quant.offset",
            "prepared.weight.fake_quant.scale",
        ]
    );
}

#[test]
fn regularizers_take_no_step_sizes_for_weights() {
    let device = Device::default();
    let layer = BitLinearConfig::new(4, 6)
        .with_scheme(scheme())
        .init(&device);
    let weight = floats(layer.weight.val());
    let penalty = WeightRegularizer::new(Regularizer::L1);
    let penalty = floats(penalty.forward(&layer).unwrap())[0] as f64;
    let expected = weight.iter().map(|w| w.abs() as f64).sum::<f64>() / 24.0;
    assert_near(penalty, expected, 32.0 * ROUNDING * expected, "mean|W|");
}

#[test]
fn prepare_leaves_what_layers_quantize_themselves() {
    let device = Device::default();
    let model = || Net {
        table: EmbeddingConfig::new(5, 4).init(&device),
        bit: BitLinearConfig::new(4, 6)
            .with_scheme(scheme())
            .init(&device),
        norm: RmsNormConfig::new(6).init(&device),
        prepared: LinearConfig::new(6, 4).init(&device),
        head: LinearConfig::new(4, 3).init(&device),
    };
    let weights = scheme().with_activation(None);
    let prepared = Prepare::new(weights.clone()).apply(model()).unwrap();
    let decision = |path: &str| {
        let mut parameters = prepared.report.parameters.iter();
        parameters.find(|p| p.path == path).unwrap().decision
    };
    assert_eq!(decision("bit.weight"), Decision::QuantizedByLayer);
    for own in [
        "weight_quant.scale",
        "input_quant.scale",
        "input_quant.offset",
    ] {
        assert_eq!(decision(&format!("bit.{own}")), Decision::OfQuantizer);
    }
    assert_eq!(decision("prepared.weight"), Decision::Quantized);
    assert_eq!(prepared.report.num_quantized(), 1);

    let of = |path: &str| {
        let prepare = Prepare::new(weights.clone()).with_group(ParamGroup::from_path(path));
        prepare.apply(model()).unwrap_err()
    };
    let path = "bit.weight".to_string();
    assert_eq!(of("bit.weight"), PrepareError::QuantizedByLayer { path });
    let path = "bit.weight_quant.scale".to_string();
    assert_eq!(of(&path), PrepareError::OfQuantizer { path });
}

#[test]
fn a_weight_that_was_put_in_later_is_latent_too() {
    let device = Device::default();
    let mut layer = BitLinearConfig::new(6, 6).with_bias(true).init(&device);
    let weight = tensor(&normal(36, 5), [6, 6], DType::F32, &device);
    layer.weight = Param::from_tensor(weight);
    let latent = latent_weights(&layer);
    let matches = |path: &str| latent.matches(&layer.weight.id, Some(path));
    assert!(matches("weight") && !matches("bias"));
}
