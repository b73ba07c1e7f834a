//! Layers on empty inputs, zeros, constants and extremes: finite outputs and gradients for every
//! quantizer, and ranges from calibration.

use bitnet_burn::{
    functions::{Groups, bit_linear, causal_attention, frozen_linear, rms_norm},
    nn::{BitLinear, BitLinearConfig},
    qat::QuantControls,
    quant::{
        ActivationGranularity, ActivationQuantizer, BitWidth, HadamardConfig, QatScheme,
        WeightGranularity, WeightQuantizer,
        calibration::{ObserverConfig, SamplingPolicy},
    },
};
use burn::{
    module::Param,
    tensor::{DType, Device, Tensor},
};

use crate::support::values::*;

const D_INPUT: usize = 12;
const D_OUTPUT: usize = 5;

/// One quantizer of each kind and granularity, and none.
fn activations() -> Vec<Option<ActivationQuantizer>> {
    let granularities = [
        ActivationGranularity::PerToken,
        ActivationGranularity::PerTensor,
    ];
    let learned = |bits, offset| ActivationQuantizer::LearnedStep {
        bits,
        offset,
        absmean: 0.8,
    };
    let mut all: Vec<ActivationQuantizer> = vec![
        ActivationQuantizer::TopK { keep: 0.5, bits: 8 },
        ActivationQuantizer::Static {
            bits: 8,
            symmetric: true,
        },
        learned(8, false),
        learned(4, true),
    ];
    for granularity in granularities {
        let bits = 8;
        all.push(ActivationQuantizer::Absmax { bits, granularity });
        all.push(ActivationQuantizer::Asymmetric { bits, granularity });
        let bits = 4;
        all.push(ActivationQuantizer::Absmean { bits, granularity });
    }
    all.into_iter().map(Some).chain([None]).collect()
}

fn weights() -> Vec<WeightQuantizer> {
    let symmetric = WeightQuantizer::symmetric(4);
    vec![
        WeightQuantizer::default(),
        WeightQuantizer::binary(WeightGranularity::PerTensor),
        symmetric.with_granularity(WeightGranularity::PerChannel),
        WeightQuantizer::learned_step(BitWidth::Ternary),
        WeightQuantizer::learned_step(BitWidth::Bits(4)),
    ]
}

/// Schemes of all quantizers of weights and activations, with and without a rotation.
fn schemes() -> Vec<QatScheme> {
    let mut schemes = Vec::new();
    for weight in weights() {
        for activation in activations() {
            for rotation in [None, Some(HadamardConfig::largest())] {
                if activation.is_some() || rotation.is_none() {
                    let scheme = QatScheme::b1_58().with_weight(weight.clone());
                    let scheme = scheme.with_activation(activation.clone());
                    schemes.push(scheme.with_rotation(rotation));
                }
            }
        }
    }
    schemes
}

fn layer(scheme: &QatScheme, weight: Vec<f32>) -> BitLinear {
    let device = Device::default().autodiff();
    let config = BitLinearConfig::new(D_INPUT, D_OUTPUT).with_bias(true);
    let mut layer = config.with_scheme(scheme.clone()).init(&device);
    let weight = tensor(&weight, [D_INPUT, D_OUTPUT], DType::F32, &device);
    layer.weight = Param::from_tensor(weight);
    layer
}

fn inputs(rows: usize, value: f32) -> Tensor<2> {
    let device = Device::default().autodiff();
    Tensor::full([rows, D_INPUT], value, &device)
}

/// Computes the output and the gradients of the input, the weight, the bias and the weight's step sizes.
fn pass<const D: usize>(layer: &BitLinear, x: Tensor<D>) -> (Tensor<D>, Vec<Option<Vec<f32>>>) {
    let x = x.require_grad();
    let y = layer.forward(x.clone());
    let grads = y.clone().sum().backward();
    let bias = layer.bias.as_ref().unwrap().val();
    let mut all = vec![
        x.grad(&grads).map(floats),
        layer.weight.val().grad(&grads).map(floats),
        bias.grad(&grads).map(floats),
    ];
    if let Some(steps) = &layer.weight_quant.scale {
        all.push(steps.val().grad(&grads).map(floats));
    }
    (y, all)
}

#[test]
fn an_empty_batch_has_an_empty_output_and_gradients_of_zero() {
    let weight = normal(D_INPUT * D_OUTPUT, 3);
    for scheme in schemes() {
        let layer = layer(&scheme, weight.clone());
        let (y, grads) = pass(&layer, inputs(0, 0.0));
        assert_eq!(y.dims(), [0, D_OUTPUT], "{scheme:?}");
        for (i, grad) in grads.into_iter().enumerate() {
            let grad = grad.unwrap_or_else(|| panic!("no gradient {i} under {scheme:?}"));
            assert_eq!(grad.is_empty(), i == 0, "gradient {i} under {scheme:?}");
            assert!(grad.iter().all(|&g| g == 0.0), "gradient {i}: {scheme:?}");
        }
    }
}

#[test]
fn an_empty_dimension_may_be_any_of_them() {
    let device = Device::default().autodiff();
    let layer = layer(&QatScheme::b1_58(), normal(D_INPUT * D_OUTPUT, 3));
    for [a, b] in [[0, 2], [2, 0], [0, 0]] {
        let (y, grads) = pass(&layer, Tensor::<3>::zeros([a, b, D_INPUT], &device));
        assert_eq!(y.dims(), [a, b, D_OUTPUT]);
        assert_eq!(grads[1], Some(vec![0.0; D_INPUT * D_OUTPUT]));
        assert_eq!(grads[2], Some(vec![0.0; D_OUTPUT]));
    }
    // Without input features, the output is the bias.
    let x = Tensor::<2>::zeros([3, 0], &device).require_grad();
    let weight = Tensor::<2>::zeros([0, 2], &device).require_grad();
    let bias = Tensor::<1>::from_floats([1.0, -2.0], &device).require_grad();
    let y = bit_linear(x, weight, Some(bias.clone()), Groups::per_tensor(0), 8);
    let grads = y.clone().sum().backward();
    assert_equal(&floats(y), &[1.0, -2.0, 1.0, -2.0, 1.0, -2.0], "outputs");
    assert_equal(&floats(bias.grad(&grads).unwrap()), &[3.0, 3.0], "bias");
}

#[test]
fn operations_between_the_layers_have_gradients_of_zero_for_an_empty_batch() {
    let device = Device::default().autodiff();
    let gamma = Tensor::<1>::ones([4], &device).require_grad();
    let y = rms_norm(Tensor::<2>::zeros([0, 4], &device), gamma.clone(), 1e-6);
    assert_eq!(y.dims(), [0, 4]);
    let grads = y.sum().backward();
    assert_equal(&floats(gamma.grad(&grads).unwrap()), &[0.0; 4], "gamma");

    let weight = Tensor::<2>::ones([4, 3], &device).require_grad();
    let y = frozen_linear(Tensor::<2>::zeros([0, 4], &device), weight.clone(), None);
    assert_eq!(y.dims(), [0, 3]);
    let grads = y.sum().backward();
    assert_equal(&floats(weight.grad(&grads).unwrap()), &[0.0; 12], "weight");

    let operand = |positions| Tensor::<4>::ones([1, 2, positions, 4], &device).require_grad();
    let (query, key, value) = (operand(0), operand(3), operand(3));
    let y = causal_attention(query, key.clone(), value.clone());
    assert_eq!(y.dims(), [1, 2, 0, 4]);
    let grads = y.sum().backward();
    for operand in [key, value] {
        assert_equal(&floats(operand.grad(&grads).unwrap()), &[0.0; 24], "keys");
    }
}

#[test]
fn zeros_constants_and_extremes_have_finite_outputs_and_gradients() {
    // Thousands of small kernels: on slow devices only one quantizer of weights.
    let all = schemes();
    let some = if on_flex() { all.len() } else { all.len() / 5 };
    for scheme in &all[..some] {
        for weight in [normal(D_INPUT * D_OUTPUT, 3), vec![0.0; D_INPUT * D_OUTPUT]] {
            let layer = layer(scheme, weight);
            for value in [0.0, 1.0, -2.5, 1e-38, 1e30] {
                let (y, grads) = pass(&layer, inputs(3, value));
                let what = || format!("input {value} under {scheme:?}");
                assert!(floats(y).iter().all(|y| y.is_finite()), "{}", what());
                for grad in grads {
                    let grad = grad.unwrap_or_else(|| panic!("no gradient: {}", what()));
                    assert!(grad.iter().all(|g| g.is_finite()), "{}", what());
                }
            }
        }
    }
}

#[test]
fn ranges_are_calibrated_on_empty_zero_and_constant_inputs() {
    let observers: [ObserverConfig; 5] = [
        ObserverConfig::min_max(),
        ObserverConfig::ema_min_max(),
        ObserverConfig::histogram(),
        ObserverConfig::percentile(),
        ObserverConfig::mse(),
    ];
    let sequences = [
        vec![(0, 0.0), (3, 0.0), (3, 0.0), (1, 1.0)],
        vec![(2, 0.0)],
        vec![(2, -2.5), (0, 0.0)],
    ];
    for symmetric in [true, false] {
        let quantizer = ActivationQuantizer::Static { bits: 8, symmetric };
        let scheme = QatScheme::b1_58().with_activation(Some(quantizer));
        for (observer, sequence) in observers
            .iter()
            .flat_map(|o| sequences.iter().map(move |s| (o, s)))
        {
            let layer = layer(&scheme, normal(D_INPUT * D_OUTPUT, 3));
            let controls = QuantControls::of(&layer).filter(|path| path == "input_quant");
            controls.observe(observer, SamplingPolicy::default());
            for &(rows, value) in sequence {
                layer.forward(inputs(rows, value));
            }
            let table = controls.finish_observation();
            let what = format!("{observer:?} on {sequence:?}");
            let table = table.unwrap_or_else(|error| panic!("{error}: {what}"));
            controls.calibrate(&table).unwrap();
            let y = floats(layer.forward(inputs(1, 1.0)));
            assert!(y.iter().all(|y| y.is_finite()), "{what}");
        }
    }
}
