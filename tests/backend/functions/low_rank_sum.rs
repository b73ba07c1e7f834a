//! Sums of low rank against the same sum by single operations.

use bitnet_burn::{
    functions::{gated_activation, low_rank_sum, rms_norm},
    nn::GatedActivation,
};
use burn::tensor::{DType, Device, Tensor};

use crate::support::values::*;

const RANK: usize = 4;
const SCALING: f64 = 0.5;

/// Leaves `y` `[2, 3, 7]`, `x` `[2, 3, 10]`, `a` and `b`.
struct Leaves {
    device: Device,
    y: Tensor<3>,
    x: Tensor<3>,
    a: Tensor<2>,
    b: Tensor<2>,
}

fn leaf<const D: usize>(shape: [usize; D], seed: u64, device: &Device) -> Tensor<D> {
    let values = normal(shape.iter().product(), seed);
    tensor(&values, shape, DType::F32, device).require_grad()
}

/// Returns the values of a leaf as no leaf.
fn constant<const D: usize>(leaf: &Tensor<D>) -> Tensor<D> {
    Tensor::from_inner(leaf.clone().inner())
}

impl Leaves {
    fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            y: leaf([2, 3, 7], 1, device),
            x: leaf([2, 3, 10], 2, device),
            a: leaf([10, RANK], 3, device),
            b: leaf([RANK, 7], 4, device),
        }
    }

    fn sum(&self, x: Tensor<3>) -> Tensor<3> {
        // An output, as that of a projection: not a leaf.
        let y = self.y.clone() * 1.5;
        low_rank_sum(y, x, self.a.clone(), self.b.clone(), SCALING)
    }

    fn chain(&self, x: Tensor<3>) -> Tensor<3> {
        let product = x.matmul(self.a.clone().unsqueeze()) * SCALING;
        self.y.clone() * 1.5 + product.matmul(self.b.clone().unsqueeze())
    }

    /// Returns the output and the gradients of all leaves, with the input `x` as a function of its leaf.
    fn results(
        &self,
        input: impl Fn(Tensor<3>) -> Tensor<3>,
        map: impl Fn(&Self, Tensor<3>) -> Tensor<3>,
    ) -> [Vec<f32>; 5] {
        let device = &self.device;
        let upstream = tensor(&normal(42, 5), [2, 3, 7], DType::F32, device);
        let output = map(self, input(self.x.clone()));
        let values = floats(output.clone());
        let grads = (output * upstream).sum().backward();
        [
            values,
            floats(self.y.grad(&grads).unwrap()),
            floats(self.x.grad(&grads).unwrap()),
            floats(self.a.grad(&grads).unwrap()),
            floats(self.b.grad(&grads).unwrap()),
        ]
    }
}

const NAMES: [&str; 5] = ["output", "y", "x", "a", "b"];

/// Asserts results whose sums were rounded in another order: of at most `10 + RANK` products of values below 1.
fn assert_close(found: &[Vec<f32>; 5], expected: &[Vec<f32>; 5]) {
    for ((found, expected), name) in found.iter().zip(expected).zip(NAMES) {
        let bound = |_: usize| 40.0 * ROUNDING;
        assert_within(found, expected, bound, name);
    }
}

#[test]
fn values_and_gradients_are_those_of_single_operations() {
    let leaves = Leaves::new(&Device::default().autodiff());
    let found = leaves.results(|x| x, Leaves::sum);
    assert_close(&found, &leaves.results(|x| x, Leaves::chain));
}

/// Inputs that are computed again for backward.
fn recomputed(device: &Device) -> [Box<dyn Fn(Tensor<3>) -> Tensor<3>>; 3] {
    let gamma = leaf([10], 6, device);
    let frozen = tensor(&normal(10, 6), [10], DType::F32, device);
    let up = leaf([2, 3, 10], 7, device);
    [
        Box::new(move |x| rms_norm(x, gamma.clone(), 1e-6)),
        Box::new(move |x| rms_norm(x, frozen.clone(), 1e-6)),
        Box::new(move |x| gated_activation(x, up.clone(), GatedActivation::Silu)),
    ]
}

#[test]
fn an_input_that_is_computed_again_changes_no_bit() {
    let device = Device::default().autodiff();
    let leaves = Leaves::new(&device);
    for input in recomputed(&device) {
        // The shape of 4 dimensions is saved, and with it the values.
        let saved = |x: Tensor<3>| input(x).unsqueeze::<4>().squeeze_dim::<3>(0);
        let [found, expected] = [&input as &dyn Fn(Tensor<3>) -> Tensor<3>, &saved]
            .map(|input| leaves.results(input, Leaves::sum));
        assert_eq!(found, expected);
        assert_close(&found, &leaves.results(&input, Leaves::chain));
    }
}

#[test]
fn projections_of_one_input_share_it() {
    let device = Device::default().autodiff();
    let leaves = Leaves::new(&device);
    for input in recomputed(&device) {
        let three = |leaves: &Leaves, x: Tensor<3>| {
            leaves.sum(x.clone()) + leaves.sum(x.clone()) * 2.0 + leaves.chain(x)
        };
        let found = leaves.results(&input, three);
        let once = leaves.results(&input, Leaves::chain);
        for ((found, once), name) in found.iter().zip(once).zip(NAMES) {
            let expected: Vec<f32> = once.iter().map(|v| 4.0 * v).collect();
            assert_within(found, &expected, |_: usize| 200.0 * ROUNDING, name);
        }
    }
}

#[test]
fn checkpointing_of_burn_changes_no_bit() {
    let saving = Device::default().autodiff();
    let checkpointing = Device::default().autodiff().gradient_checkpointing();
    let results = [saving, checkpointing].map(|device| {
        let leaves = Leaves::new(&device);
        // Sums of a residual stream, which Burn computes again.
        let inputs = recomputed(&device).into_iter();
        let residual = inputs.map(|input| leaves.results(|x| input(x.clone() + x), Leaves::sum));
        residual.collect::<Vec<_>>()
    });
    assert_eq!(results[0], results[1]);
}

#[test]
fn only_factors_that_train_have_gradients() {
    let device = Device::default().autodiff();
    let leaves = Leaves::new(&device);
    let [y, x] = [&leaves.y, &leaves.x].map(constant);
    let (a, b) = (leaves.a.clone(), leaves.b.clone());
    let grads = low_rank_sum(y, x.clone(), a, b, SCALING).sum().backward();
    assert!(leaves.a.grad(&grads).is_some() && leaves.b.grad(&grads).is_some());
    assert!(x.grad(&grads).is_none() && leaves.y.grad(&grads).is_none());
}

#[test]
fn an_output_that_others_hold_keeps_its_values() {
    let device = Device::default();
    let y = tensor(&normal(42, 1), [6, 7], DType::F32, &device);
    let x = tensor(&normal(60, 2), [6, 10], DType::F32, &device);
    let a = tensor(&normal(40, 3), [10, RANK], DType::F32, &device);
    let b = tensor(&normal(28, 4), [RANK, 7], DType::F32, &device);
    let held = y.clone();
    let sum = floats(low_rank_sum(
        y.clone(),
        x.clone(),
        a.clone(),
        b.clone(),
        SCALING,
    ));
    assert_equal(&floats(held), &normal(42, 1), "the tensor that was held");
    assert_ne!(sum, normal(42, 1));
    // A part of a larger tensor.
    let whole = Tensor::cat(vec![y.clone(), y], 0);
    let part = low_rank_sum(whole.clone().narrow(0, 6, 6), x, a, b, SCALING);
    assert_equal(&floats(part), &sum, "a part");
    assert_equal(&floats(whole.narrow(0, 6, 6)), &normal(42, 1), "the whole");
}

#[test]
#[should_panic(expected = "a has another type than y")]
fn factors_of_another_type_are_refused() {
    let device = Device::default();
    let y = Tensor::<2>::zeros([3, 7], &device);
    let a = Tensor::<2>::zeros([10, RANK], (&device, DType::F64));
    low_rank_sum(
        y,
        Tensor::zeros([3, 10], &device),
        a,
        Tensor::zeros([RANK, 7], &device),
        1.0,
    );
}
