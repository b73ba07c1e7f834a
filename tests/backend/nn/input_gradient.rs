//! The gradient of a layer's input in 8 bits.

use bitnet_burn::{
    functions::{Groups, absmax_fake_quant, ternary_fake_quant},
    nn::{BitLinear, BitLinearConfig},
    quant::{InputGradient, QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::{
    module::Param,
    tensor::{DType, Device},
};

use crate::support::values::*;

const SHAPE: [usize; 2] = [48, 40];
const TOKENS: usize = 7;

fn layer(scheme: QatScheme, device: &Device) -> BitLinear {
    let config = BitLinearConfig::new(SHAPE[0], SHAPE[1]).with_bias(false);
    let mut layer = config.with_scheme(scheme).init(device);
    let weight = tensor(&normal(SHAPE[0] * SHAPE[1], 2), SHAPE, DType::F32, device);
    layer.weight = Param::from_tensor(weight);
    layer
}

struct Gradients {
    y: Vec<f32>,
    x: Vec<f32>,
    weight: Vec<f32>,
}

/// Computes the gradients for a gradient of the output.
fn gradients(layer: &BitLinear, of_output: &[f32], device: &Device) -> Gradients {
    let x = tensor(
        &normal(TOKENS * SHAPE[0], 1),
        [TOKENS, SHAPE[0]],
        DType::F32,
        device,
    );
    let x = x.require_grad();
    let of_output = tensor(of_output, [TOKENS, SHAPE[1]], DType::F32, device);
    let y = layer.forward(x.clone());
    let grads = (y.clone() * of_output).sum().backward();
    Gradients {
        y: floats(y),
        x: floats(x.grad(&grads).unwrap()),
        weight: floats(layer.weight.val().grad(&grads).unwrap()),
    }
}

fn granularities() -> [(WeightGranularity, Groups); 3] {
    let along_inputs = |group_size| Groups::along_axis(&SHAPE, 0, group_size);
    [
        (
            WeightGranularity::PerTensor,
            Groups::per_tensor(SHAPE[0] * SHAPE[1]),
        ),
        (WeightGranularity::PerChannel, along_inputs(SHAPE[0])),
        (
            WeightGranularity::PerGroup { group_size: 16 },
            along_inputs(16),
        ),
    ]
}

fn schemes(granularity: WeightGranularity) -> [QatScheme; 2] {
    let scheme = QatScheme::b1_58().with_weight(WeightQuantizer::ternary(granularity));
    [InputGradient::Float, InputGradient::Int8].map(|g| scheme.clone().with_input_gradient(g))
}

#[test]
fn an_input_gradient_in_8_bits_is_the_product_of_the_quantized_one() {
    let device = Device::default().autodiff();
    let of_output = normal(TOKENS * SHAPE[1], 3);
    for (granularity, groups) in granularities() {
        let [float, int8] = schemes(granularity).map(|s| layer(s, &device));
        let float = gradients(&float, &of_output, &device);
        let ours = gradients(&int8, &of_output, &device);
        assert_eq!((&ours.y, &ours.weight), (&float.y, &float.weight));
        assert_ne!(ours.x, float.x);
        let plain = Device::default();
        let dy = tensor(&of_output, [TOKENS, SHAPE[1]], DType::F32, &plain);
        let dy = absmax_fake_quant(dy, Groups::per_row(&[TOKENS, SHAPE[1]]), 8).0;
        let weight = int8.weight.val().inner();
        let weight = ternary_fake_quant(weight, groups).0;
        let sizes = floats(dy.clone().abs().matmul(weight.clone().abs().transpose()));
        let expected = floats(dy.matmul(weight.transpose()));
        // Each value is rounded a few times (also by the division by the largest gradient, which can move it to the next
        // code only if it is within a rounding of the middle: none here), and each of up to 40 sums.
        let bound = |i: usize| 50.0 * ROUNDING * f64::from(sizes[i]);
        assert_within(&ours.x, &expected, bound, &format!("{granularity:?}"));
    }
}

#[test]
fn small_gradients_keep_their_digits() {
    let device = Device::default().autodiff();
    let [_, scheme] = schemes(WeightGranularity::PerTensor);
    let layer = layer(scheme, &device);
    let of_output = normal(TOKENS * SHAPE[1], 3);
    let factor = (-40f32).exp2();
    let small: Vec<f32> = of_output.iter().map(|v| v * factor).collect();
    let [large, small] = [of_output, small].map(|g| gradients(&layer, &g, &device).x);
    let scaled: Vec<f32> = large.iter().map(|v| v * factor).collect();
    assert_eq!(small, scaled);
    assert!(small.iter().any(|v| *v != 0.0));
}

#[test]
fn zero_gradients_are_zero_and_nan_stays_nan() {
    let device = Device::default().autodiff();
    let [_, scheme] = schemes(WeightGranularity::PerTensor);
    let layer = layer(scheme, &device);
    let mut of_output = vec![0.0; TOKENS * SHAPE[1]];
    assert!(
        gradients(&layer, &of_output, &device)
            .x
            .iter()
            .all(|v| *v == 0.0)
    );
    of_output[3] = f32::NAN;
    let x = gradients(&layer, &of_output, &device).x;
    assert!(x[..SHAPE[0]].iter().all(|v| v.is_nan()));
}

#[test]
fn a_scheme_without_the_setting_has_float_gradients_and_writes_none() {
    let written = serde_json::to_string(&QatScheme::b1_58()).unwrap();
    assert!(!written.contains("input_gradient"));
    let int8 = QatScheme::b1_58().with_input_gradient(InputGradient::Int8);
    let written = serde_json::to_string(&int8).unwrap();
    assert!(written.contains(r#""input_gradient":"int8""#));
    assert_eq!(serde_json::from_str::<QatScheme>(&written).unwrap(), int8);
    assert_ne!(int8.to_string(), QatScheme::b1_58().to_string());
}
