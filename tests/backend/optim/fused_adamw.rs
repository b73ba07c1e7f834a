//! `FusedAdamW` against Burn's `AdamW`, bit for bit.

use bitnet_burn::optim::{FusedAdamW, FusedAdamWConfig};
use burn::{
    optim::{AdamW, AdamWConfig, AdamWState, Optimizer},
    tensor::{DType, Device, Tensor},
};

use crate::support::values::*;

const SHAPE: [usize; 2] = [131, 257];
const LR: f64 = 3e-3;

fn optimizers(weight_decay: f32) -> (AdamW, FusedAdamW) {
    let burn = AdamWConfig::new()
        .with_epsilon(1e-8)
        .with_weight_decay(weight_decay);
    let fused = FusedAdamWConfig::new().with_weight_decay(weight_decay);
    (burn.build(), fused.build())
}

/// Values of many sizes, zeros of both signs among them. More than a thread takes at a time.
fn values(seed: usize, device: &Device) -> Tensor<2> {
    let values: Vec<f32> = (0..SHAPE[0] * SHAPE[1])
        .map(|i| match (i + seed) % 11 {
            0 => 0.0,
            1 => -0.0,
            k => ((i * 7919 + seed * 31) as f32).sin() * 10f32.powi(k as i32 - 7),
        })
        .collect();
    Tensor::<1>::from_floats(values.as_slice(), device).reshape(SHAPE)
}

fn assert_same_bits(fused: Tensor<2>, burn: Tensor<2>, what: &str) {
    assert_eq!(fused.dtype(), burn.dtype(), "{what}");
    let bits = |tensor: Tensor<2>| -> Vec<u32> {
        let values = floats(tensor.cast(DType::F32));
        values.into_iter().map(f32::to_bits).collect()
    };
    assert_eq!(bits(fused), bits(burn), "{what}");
}

fn assert_same_state(fused: &AdamWState<2>, burn: &AdamWState<2>, what: &str) {
    let [fused, burn] = [fused, burn].map(|state| state.momentum.clone());
    assert_eq!(fused.time, burn.time, "{what}");
    assert_same_bits(fused.moment_1, burn.moment_1, what);
    assert_same_bits(fused.moment_2, burn.moment_2, what);
}

fn steps_are_the_same(weight_decay: f32, dtype: DType, gradient: impl Fn(Tensor<2>) -> Tensor<2>) {
    let device = Device::default();
    let (burn, fused) = optimizers(weight_decay);
    let param = values(0, &device).cast(dtype);
    let (mut a, mut b) = (param.clone(), param);
    let (mut state_a, mut state_b) = (None, None);
    for step in 1..=5 {
        let what = format!("{dtype:?}, weight decay {weight_decay}, step {step}");
        let grad = gradient(values(step, &device)).cast(dtype);
        (a, state_a) = fused.step(LR, a, grad.clone(), state_a);
        (b, state_b) = burn.step(LR, b, grad, state_b);
        assert_same_bits(a.clone(), b.clone(), &what);
        assert_same_state(state_a.as_ref().unwrap(), state_b.as_ref().unwrap(), &what);
    }
}

#[test]
fn steps_are_those_of_burn() {
    for weight_decay in [0.0, 1e-2] {
        steps_are_the_same(weight_decay, DType::F32, |grad| grad);
    }
}

#[test]
fn steps_with_a_transposed_gradient_are_those_of_burn() {
    steps_are_the_same(1e-2, DType::F32, |grad| {
        grad.reshape([SHAPE[1], SHAPE[0]]).transpose()
    });
}

#[test]
fn steps_of_a_parameter_in_16_bits_are_those_of_burn() {
    if computes_in(&Device::default(), DType::BF16) {
        steps_are_the_same(1e-2, DType::BF16, |grad| grad);
    }
}

#[test]
fn a_training_goes_on_with_the_other_optimizer() {
    let device = Device::default();
    let (burn, fused) = optimizers(1e-2);
    let (param, grad) = (values(0, &device), values(1, &device));
    let (param, state) = burn.step(LR, param, grad.clone(), None);
    let (a, state_a) = fused.step(LR, param.clone(), grad.clone(), state.clone());
    let (b, state_b) = burn.step(LR, param, grad, state);
    assert_same_bits(a, b, "parameter");
    assert_same_state(&state_a.unwrap(), &state_b.unwrap(), "state");
}

#[test]
fn a_step_leaves_other_tensors_of_the_same_values_alone() {
    let device = Device::default();
    let (_, fused) = optimizers(1e-2);
    let param = values(0, &device);
    let before = floats(param.clone());
    let rows = param.clone().narrow(0, 1, 2);
    let (_, state) = fused.step(LR, param.clone(), values(1, &device), None);
    assert_equal(&floats(param), &before, "a copy of the parameter");

    let state = state.unwrap();
    let moment = floats(state.momentum.moment_1.clone());
    let param = values(0, &device);
    let _ = fused.step(LR, param, values(2, &device), Some(state.clone()));
    assert_equal(
        &floats(state.momentum.moment_1),
        &moment,
        "a copy of the state",
    );

    // Some rows of a tensor, which begin inside its storage.
    let grad = values(1, &device).narrow(0, 1, 2);
    let (stepped, _) = fused.step(LR, rows.clone(), grad.clone(), None);
    let (expected, _) = optimizers(1e-2).0.step(LR, rows, grad, None);
    assert_same_bits(stepped, expected, "rows");
}

#[test]
#[should_panic(expected = "a parameter of shape [2, 3] has no gradient of shape [3, 2]")]
fn a_gradient_of_another_shape_panics() {
    let device = Device::default();
    let (_, fused) = optimizers(0.0);
    let param = Tensor::<2>::zeros([2, 3], &device);
    let grad = Tensor::<2>::zeros([3, 2], &device);
    let _ = fused.step(LR, param, grad, None);
}
