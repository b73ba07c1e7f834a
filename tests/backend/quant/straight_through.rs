//! Gradients of the fake quantizers: the identity, bit for bit.

use bitnet_burn::functions::{Groups, absmax_fake_quant, ternary_fake_quant};
use burn::tensor::{DType, Device, Tensor};

use crate::support::values::*;

/// With and without recomputation of the forward pass.
fn training_devices() -> [Device; 2] {
    let device = Device::default().autodiff();
    [device.clone(), device.gradient_checkpointing()]
}

/// Checks that the gradient of `sum(quantize(2 w) * upstream)` is `2 * upstream`, with constant scales.
fn check(quantize: impl Fn(Tensor<2>, Groups) -> (Tensor<2>, Tensor<2>)) {
    let shape = [6, 10];
    let (values, upstream) = (normal(60, 1), normal(60, 2));
    let expected: Vec<f32> = upstream.iter().map(|g| 2.0 * g).collect();
    for device in training_devices() {
        for groups in groupings(&shape) {
            let x = tensor(&values, shape, DType::F32, &device).require_grad();
            let g = tensor(&upstream, shape, DType::F32, &device);
            let (quantized, scales) = quantize(x.clone().mul_scalar(2.0), groups);
            assert!(!scales.is_tracked(), "{groups:?}");
            // Scales that take part in the loss must not add to the gradient.
            let loss = (quantized * g).sum() + scales.sum();
            let grad = x.grad(&loss.backward()).expect("a gradient");
            assert_equal(&floats(grad), &expected, &format!("{device:?} {groups:?}"));
        }
    }
}

#[test]
fn of_ternary_weights_is_the_identity() {
    check(ternary_fake_quant);
}

#[test]
fn of_absmax_activations_is_the_identity() {
    check(|x, groups| absmax_fake_quant(x, groups, 8));
}

#[test]
fn passes_values_that_are_clamped() {
    // No clipping mask: 5 is far above gamma = 2, its gradient is that of its neighbors.
    let device = Device::default().autodiff();
    let weight = tensor(&[5.0, 1.0, -1.0, 1.0], [4], DType::F32, &device).require_grad();
    let (quantized, _) = ternary_fake_quant(weight.clone(), Groups::per_tensor(4));
    let grad = weight.grad(&quantized.sum().backward()).unwrap();
    assert_equal(&floats(grad), &[1.0; 4], "gradient");
}

#[test]
fn forward_values_under_autodiff_are_those_without() {
    let values = normal(60, 3);
    let groups = Groups::along_axis(&[6, 10], 0, 3);
    let plain = tensor(&values, [6, 10], DType::F32, &Device::default());
    let expected = floats(ternary_fake_quant(plain.clone(), groups).0);
    let expected_int8 = floats(absmax_fake_quant(plain, groups, 8).0);
    for device in training_devices() {
        let x = tensor(&values, [6, 10], DType::F32, &device).require_grad();
        let ternary = ternary_fake_quant(x.clone(), groups).0;
        assert_equal(&floats(ternary), &expected, "ternary");
        let int8 = absmax_fake_quant(x, groups, 8).0;
        assert_equal(&floats(int8), &expected_int8, "int8");
    }
}
