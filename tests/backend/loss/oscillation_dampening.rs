//! [`OscillationDampeningLoss`] against its definition in `f64`.

use bitnet_burn::{
    functions::{Groups, ternary_fake_quant},
    loss::OscillationDampeningLoss,
};
use burn::tensor::{DType, Device, Tensor};

use crate::support::{loss_reference::*, values::*};

/// Reference of weights with the same levels `-gamma`, 0 and `gamma` for each row.
fn reference(weight: &[f64], gammas: &[f64]) -> Reference {
    let row = weight.len() / gammas.len();
    let (mut value, mut gradient) = (0.0, Vec::new());
    for (i, w) in weight.iter().enumerate() {
        let gamma = gammas[i / row];
        let code = (w / gamma).round_ties_even().clamp(-1.0, 1.0);
        if w.abs() >= gamma {
            // At the outer level the loss and its gradient are zero.
            gradient.push(0.0);
        } else {
            value += (code * gamma - w).powi(2);
            gradient.push(2.0 * (w - code * gamma));
        }
    }
    (value, gradient)
}

/// The loss of a weight, with one scale per row, whose gradients must be stopped.
fn loss(weight: Tensor<2>) -> Tensor<1> {
    let groups = Groups::per_row(&weight.dims());
    let (quantized, scales) = ternary_fake_quant(weight.clone(), groups);
    let tracked = weight
        .clone()
        .slice([0..1, 0..1])
        .mul_scalar(0.0)
        .cast(DType::F32);
    let highest = scales + tracked;
    OscillationDampeningLoss::new().forward(
        weight.cast(DType::F32),
        quantized.cast(DType::F32),
        highest.clone().neg(),
        highest,
    )
}

#[test]
fn values_and_gradients_equal_the_reference() {
    let shape = [3, 12];
    // Their sums are exact, but a mean of 12 values is not: it is read back.
    let values = exactly_summable(36, 71);
    let device = Device::default();
    let weight = tensor(&values, shape, DType::F32, &device);
    let scales = floats(ternary_fake_quant(weight, Groups::per_row(&shape)).1);

    let (value, gradient) = evaluate(&values, shape, DType::F32, loss);
    let (weight, scales) = (wide(&values), wide(&scales));
    let expected = reference(&weight, &scales);
    assert!(expected.1.iter().filter(|g| **g == 0.0).count() > 5);
    assert!(expected.1.iter().filter(|g| **g != 0.0).count() > 5);
    // A difference and its square have three roundings, a sum of positive terms one for each.
    let bound = (36 + 3) as f64 * ROUNDING * expected.0;
    assert_near(value, expected.0, bound, "loss");
    let bound = |i: usize| 2.0 * ROUNDING * f64::abs(expected.1[i]);
    assert_gradient(&gradient, &expected.1, DType::F32, bound, "gradient");
    assert_consistent(|w| reference(w, &scales), &weight, 1.0);
}

#[test]
fn half_precision_is_summed_in_f32() {
    let device = Device::default().autodiff();
    for dtype in float_types(&device) {
        // 2048 quarters squared: a sum in f16 or bf16 would stop growing.
        let weight = tensor(&[0.25; 2048], [2048], dtype, &device).require_grad();
        let levels = |level: f32| tensor(&[level], [1], dtype, &device);
        let loss = OscillationDampeningLoss::new().forward(
            weight.clone(),
            Tensor::zeros_like(&weight),
            levels(-1.0),
            levels(1.0),
        );
        assert_eq!(loss.dtype(), DType::F32);
        let gradient = weight.grad(&loss.backward()).unwrap();
        assert_eq!(loss.into_scalar::<f32>(), 128.0, "{dtype:?}");
        assert_equal(&floats(gradient), &[0.5; 2048], "gradient");
    }
}

#[test]
fn the_loss_is_a_sum() {
    let device = Device::default();
    let of = |n: usize| {
        let weight = tensor(&vec![0.5; n], [n], DType::F32, &device);
        let levels = |level: f32| tensor(&[level], [1], DType::F32, &device);
        let quantized = weight.zeros_like();
        let dampening = OscillationDampeningLoss::new();
        let loss = dampening.forward(weight, quantized, levels(-1.0), levels(1.0));
        loss.into_scalar::<f32>()
    };
    assert_eq!([of(0), of(1), of(8)], [0.0, 0.25, 2.0]);
}

#[test]
#[should_panic(expected = "a weight and its quantized value have one shape")]
fn a_quantized_value_of_another_shape_is_refused() {
    let zeros = |shape: [usize; 2]| Tensor::<2>::zeros(shape, &Device::default());
    let level = zeros([1, 1]);
    OscillationDampeningLoss::new().forward(zeros([2, 3]), zeros([3, 2]), level.clone(), level);
}

#[test]
#[should_panic(expected = "levels of shape [3, 1] do not broadcast to a weight of shape [2, 3]")]
fn levels_that_do_not_broadcast_are_refused() {
    let zeros = |shape: [usize; 2]| Tensor::<2>::zeros(shape, &Device::default());
    let level = zeros([3, 1]);
    OscillationDampeningLoss::new().forward(zeros([2, 3]), zeros([2, 3]), level.clone(), level);
}
