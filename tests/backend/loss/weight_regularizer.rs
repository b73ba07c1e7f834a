//! [`WeightRegularizer`](bitnet_burn::loss::WeightRegularizer): the parameters it reads, and the
//! resulting loss.

use bitnet_burn::{
    functions::Groups,
    loss::{
        KurtosisLoss, LevelDistanceLoss, Regularizer, ScaleDecayLoss, SparsityTargetLoss,
        WeightRegularizer,
    },
    qat::Prepare,
    quant::{QatScheme, WeightGranularity, WeightQuantizer},
};
use bitnet_burn_kernels::reference;
use burn::{
    module::{Module, Param, ParamGroup, Reparameterization, Reparameterizer},
    nn::{
        Embedding, EmbeddingConfig, Linear, LinearConfig, PaddingConfig2d,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{DType, Device, Tensor},
};

use crate::support::{loss_reference::*, values::*};

#[derive(Module, Debug)]
struct Model {
    linear: Linear,
    conv: Conv2d,
    table: Embedding,
}

/// Creates a model whose weights have exact sums.
fn model(device: &Device) -> Model {
    let mut model = Model {
        linear: LinearConfig::new(6, 4).init(device),
        conv: Conv2dConfig::new([2, 3], [2, 2])
            .with_padding(PaddingConfig2d::Valid)
            .init(device),
        table: EmbeddingConfig::new(5, 4).init(device),
    };
    model.linear.weight = Param::from_tensor(weight([6, 4], 81, device));
    model.conv.weight = Param::from_tensor(weight([3, 2, 2, 2], 82, device));
    model.table.weight = Param::from_tensor(weight([5, 4], 83, device));
    model
}

fn weight<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = exactly_summable(shape.iter().product(), seed);
    tensor(&values, shape, DType::F32, device)
}

/// Sums `f(value, quantized value, gamma)` over a weight, by the scalar reference.
fn sum(values: &[f32], groups: Groups, f: impl Fn(f64, f64, f64) -> f64) -> f64 {
    let (quantized, scales) = reference::ternary_fake_quant(values, groups);
    (0..values.len())
        .map(|i| {
            let gamma = scales[groups.scale_index(i)];
            f(values[i] as f64, quantized[i] as f64, gamma as f64)
        })
        .sum()
}

fn dampened(w: f64, q: f64, gamma: f64) -> f64 {
    (q - w.clamp(-gamma, gamma)).powi(2)
}

/// Error bound of a sum of `n` positive terms with three roundings each, and one for each weight.
fn bound(n: usize, value: f64) -> f64 {
    (n + 8) as f64 * ROUNDING * value
}

fn penalty(config: &WeightRegularizer, model: &impl Module) -> f64 {
    let penalty = config.forward(model).expect("a weight");
    penalty.into_scalar::<f32>() as f64
}

#[test]
fn it_is_the_weighted_sum_over_the_weights_of_the_group() {
    let model = model(&Device::default());
    let weights = [
        exactly_summable(24, 81),
        exactly_summable(24, 82),
        exactly_summable(20, 83),
    ];
    let l1 = |values: &Vec<f32>| {
        let sum: f64 = values.iter().map(|v| v.abs() as f64).sum();
        sum / values.len() as f64
    };
    let [linear, conv, table] = weights.each_ref().map(l1);
    let cases = [
        // Biases are not weights.
        (ParamGroup::all(), linear + conv + table),
        (ParamGroup::from_path("linear.weight"), linear),
        (
            ParamGroup::from_paths(vec!["conv.weight", "table.weight"]),
            conv + table,
        ),
    ];
    for (group, expected) in cases {
        let config = WeightRegularizer::new(Regularizer::L1)
            .with_group(group)
            .with_coefficient(0.25);
        let value = penalty(&config, &model);
        assert_near(value, 0.25 * expected, bound(24, expected), "sum");
    }
}

#[test]
fn a_group_without_weights_has_no_loss() {
    let model = model(&Device::default());
    for group in [
        ParamGroup::from_path("decoder.weight"),
        ParamGroup::from_predicate("bias"),
    ] {
        let config = WeightRegularizer::new(Regularizer::L1).with_group(group);
        assert!(config.forward(&model).is_none());
    }
}

#[test]
fn levels_are_those_of_the_output_channels_of_each_layer() {
    let model = model(&Device::default());
    // Columns of a linear layer, filters of a convolution, rows of an embedding.
    let parts = [
        (
            "linear.weight",
            exactly_summable(24, 81),
            Groups::along_axis(&[6, 4], 0, 6),
        ),
        (
            "conv.weight",
            exactly_summable(24, 82),
            Groups::per_row(&[3, 8]),
        ),
        (
            "table.weight",
            exactly_summable(20, 83),
            Groups::per_row(&[5, 4]),
        ),
    ];
    for (path, values, groups) in parts {
        let config = |regularizer| {
            WeightRegularizer::new(regularizer)
                .with_group(ParamGroup::from_path(path))
                .with_quantizer(WeightQuantizer::ternary(WeightGranularity::PerChannel))
        };
        let value = penalty(&config(Regularizer::OscillationDampening), &model);
        let expected = sum(&values, groups, dampened);
        // Scales are rounded once more on either side.
        let slack = 2.0 * bound(values.len(), expected);
        assert_near(value, expected, slack, path);

        let distance = Regularizer::LevelDistance(LevelDistanceLoss::new());
        let value = penalty(&config(distance), &model);
        let expected = sum(&values, groups, |w, q, _| (w - q).powi(2)) / values.len() as f64;
        let slack = 2.0 * bound(values.len(), expected);
        assert_near(value, expected, slack, path);
    }
}

#[test]
fn gradients_go_to_the_latent_weights_of_a_prepared_model() {
    let device = Device::default().autodiff();
    let group = ParamGroup::from_path("linear.weight");
    let prepared = Prepare::new(QatScheme::weight_only())
        .with_group(group.clone())
        .apply(model(&device))
        .unwrap()
        .model;
    let values = exactly_summable(24, 81);
    let groups = Groups::per_tensor(24);
    let config = WeightRegularizer::new(Regularizer::OscillationDampening)
        .with_group(group)
        .with_coefficient(0.5);
    let loss = config.forward(&prepared).unwrap();
    let gradients = loss.backward();
    let value = loss.into_scalar::<f32>() as f64;
    // The penalty of the quantized weights would be 0.
    let expected = 0.5 * sum(&values, groups, dampened);
    assert_near(value, expected, 2.0 * bound(24, expected), "loss");

    let (quantized, scales) = reference::ternary_fake_quant(&values, groups);
    let inside = |w: f32| if w.abs() < scales[0] { 1.0 } else { 0.0 };
    let expected: Vec<f64> = values
        .iter()
        .zip(&quantized)
        .map(|(w, q)| inside(*w) * (*w as f64 - *q as f64))
        .collect();
    let gradient = prepared.linear.weight.base().grad(&gradients).unwrap();
    // Scales are rounded once on either side.
    let bound = |_| 4.0 * ROUNDING * scales[0] as f64;
    assert_gradient(&floats(gradient), &expected, DType::F32, bound, "latent");
    assert!(prepared.conv.weight.val().grad(&gradients).is_none());
}

#[test]
fn every_regularizer_is_what_it_is_alone() {
    let device = Device::default();
    let model = model(&device);
    let weight = || weight([6, 4], 81, &device);
    let kurtosis = KurtosisLoss::new();
    let sparsity = SparsityTargetLoss::new(0.9);
    let decay = ScaleDecayLoss::new().with_coefficient(3.0);
    let cases = [
        (
            Regularizer::Kurtosis(kurtosis.clone()),
            kurtosis.forward(weight()),
        ),
        (
            Regularizer::SparsityTarget(sparsity.clone()),
            sparsity.forward(weight()),
        ),
        (
            Regularizer::ScaleDecay(decay.clone()),
            decay.forward(weight()),
        ),
    ];
    for (regularizer, expected) in cases {
        let config =
            WeightRegularizer::new(regularizer).with_group(ParamGroup::from_path("linear.weight"));
        let expected = expected.into_scalar::<f32>() as f64;
        assert_eq!(penalty(&config, &model), expected, "{config:?}");
    }
}

#[test]
fn scales_may_be_vectors() {
    let device = Device::default();
    let mut layer = LinearConfig::new(2, 2).init(&device);
    let bias = Tensor::<1>::from_floats([1.0, 3.0], &device);
    layer.bias = Some(Param::from_tensor(bias));
    let decay = Regularizer::ScaleDecay(ScaleDecayLoss::new());
    let config = WeightRegularizer::new(decay).with_group(ParamGroup::from_path("bias"));
    assert_eq!(penalty(&config, &layer), 5.0);
}

/// A reparameterization with its own parameter.
#[derive(Module, Debug)]
struct Scaled {
    scale: Param<Tensor<2>>,
}

impl Reparameterization for Scaled {
    const NAME: &'static str = "scaled";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        base * self.scale.val().reshape([1; D])
    }
}

struct Attach;

impl Reparameterizer for Attach {
    type Reparam = Scaled;

    fn reparameterize<const D: usize>(
        &mut self,
        _path: &str,
        param: Param<Tensor<D>>,
    ) -> (Param<Tensor<D>>, Option<Scaled>) {
        let scale = Tensor::<2>::from_floats([[3.0]], &param.device());
        let scale = Param::from_tensor(scale);
        (param, Some(Scaled { scale }))
    }
}

#[test]
fn parameters_of_a_reparameterization_are_scales_but_no_weights() {
    let layer = LinearConfig::new(6, 4).with_bias(false);
    let mut layer = layer.init(&Device::default());
    layer.weight = Param::from_tensor(weight([6, 4], 81, &Device::default()));
    let l1 = WeightRegularizer::new(Regularizer::L1);
    let alone = penalty(&l1, &layer);
    let layer = layer.apply_reparameterization(Attach);
    assert_eq!(penalty(&l1, &layer), alone);

    let decay = Regularizer::ScaleDecay(ScaleDecayLoss::new());
    let group = ParamGroup::from_path("weight.scaled.scale");
    let decay = WeightRegularizer::new(decay).with_group(group.clone());
    assert_eq!(penalty(&decay, &layer), 9.0);
    assert!(l1.with_group(group).forward(&layer).is_none());
}

#[test]
fn a_parameter_in_two_places_counts_once() {
    #[derive(Module, Debug)]
    struct Tied {
        first: Linear,
        second: Linear,
    }
    let device = Device::default();
    let layer = LinearConfig::new(3, 2).init(&device);
    let config = WeightRegularizer::new(Regularizer::L1);
    let once = penalty(&config, &layer);
    let tied = Tied {
        first: layer.clone(),
        second: layer,
    };
    assert_eq!(penalty(&config, &tied), once);
}

#[test]
fn half_precision_weights_beyond_the_levels_have_no_loss() {
    // 1 and the next value above 1, with a mean of a third between them: the scale is rounded to 1 in
    // the quantized weight, and must be so where the weight is clipped.
    let device = Device::default();
    for (dtype, unit) in [(DType::F16, 1.0 / 1024.0), (DType::BF16, 1.0 / 128.0)] {
        if !device.supports_dtype(dtype) {
            continue;
        }
        let values: Vec<f32> = (0..12)
            .map(|i| if i % 3 == 0 { 1.0 + unit } else { 1.0 })
            .collect();
        let mut layer = LinearConfig::new(4, 3).init(&device);
        layer.weight = Param::from_tensor(tensor(&values, [4, 3], dtype, &device));
        let config = WeightRegularizer::new(Regularizer::OscillationDampening);
        assert_eq!(penalty(&config, &layer), 0.0, "{dtype:?}");
    }
}

#[test]
fn a_weight_without_values_counts_as_none() {
    let layer = LinearConfig::new(3, 0).with_bias(false);
    let mut layer = layer.init(&Device::default());
    layer.weight = Param::from_tensor(Tensor::zeros([3, 0], &Device::default()));
    let config = WeightRegularizer::new(Regularizer::OscillationDampening);
    assert!(config.forward(&layer).is_none());
}

#[test]
#[should_panic(expected = "parameter weight of shape [6, 4]: group_size 4 does not divide the 6")]
fn a_granularity_that_does_not_fit_is_refused() {
    let layer = LinearConfig::new(6, 4).init(&Device::default());
    let granularity = WeightGranularity::PerGroup { group_size: 4 };
    WeightRegularizer::new(Regularizer::OscillationDampening)
        .with_quantizer(WeightQuantizer::ternary(granularity))
        .forward(&layer);
}

#[test]
#[should_panic(expected = "target kurtosis must be positive and finite, got 0")]
fn a_regularizer_out_of_range_is_refused_at_the_start() {
    let kurtosis = KurtosisLoss::new().with_target(0.0);
    WeightRegularizer::new(Regularizer::Kurtosis(kurtosis));
}
