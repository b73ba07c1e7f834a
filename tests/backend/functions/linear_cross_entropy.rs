//! Output head and cross-entropy in one operation, against the formula in `f64` and the chain of operations.

use bitnet_burn::{
    functions::{CrossEntropyTerms, linear_cross_entropy},
    loss::CausalLmLoss,
};
use burn::tensor::{DType, Device, Int, Tensor};

use crate::support::values::*;

const D_MODEL: usize = 12;
const CLASSES: usize = 37;

/// Terms of each loss.
const TERMS: [CrossEntropyTerms; 3] = [
    CrossEntropyTerms {
        label_smoothing: 0.0,
        z_loss: 0.0,
    },
    CrossEntropyTerms {
        label_smoothing: 0.2,
        z_loss: 0.0,
    },
    CrossEntropyTerms {
        label_smoothing: 0.1,
        z_loss: 0.05,
    },
];

struct Inputs {
    x: Vec<f32>,
    weight: Vec<f32>,
    targets: Vec<i32>,
    row_weights: Vec<f32>,
}

impl Inputs {
    /// A third of the rows have no weight.
    fn drawn(rows: usize) -> Self {
        let scaled = |values: Vec<f32>, scale: f32| values.into_iter().map(|v| scale * v).collect();
        Self {
            x: scaled(normal(rows * D_MODEL, 1), 20.0),
            weight: scaled(normal(CLASSES * D_MODEL, 2), 5.0),
            targets: (0..rows).map(|i| (i * 7 % CLASSES) as i32).collect(),
            row_weights: (0..rows).map(|i| [0.5, 0.0, 1.25][i % 3]).collect(),
        }
    }

    fn rows(&self) -> usize {
        self.targets.len()
    }

    fn tensors(&self, device: &Device) -> (Tensor<2>, Tensor<2>, Tensor<1, Int>, Tensor<1>) {
        let rows = self.rows();
        (
            tensor(&self.x, [rows, D_MODEL], DType::F32, device),
            tensor(&self.weight, [CLASSES, D_MODEL], DType::F32, device),
            Tensor::from_ints(self.targets.as_slice(), device),
            tensor(&self.row_weights, [rows], DType::F32, device),
        )
    }

    /// Returns the loss, and the gradients of `x` and the weight, in `f64`.
    fn reference(&self, terms: CrossEntropyTerms) -> (f64, Vec<f64>, Vec<f64>) {
        let (smoothing, z_loss) = (f64::from(terms.label_smoothing), f64::from(terms.z_loss));
        let (mut loss, mut of_x) = (0.0, vec![0.0; self.x.len()]);
        let mut of_weight = vec![0.0; self.weight.len()];
        for i in 0..self.rows() {
            let row_weight = f64::from(self.row_weights[i]);
            let x = &self.x[i * D_MODEL..][..D_MODEL];
            let logit = |c: usize| -> f64 {
                let weight = &self.weight[c * D_MODEL..][..D_MODEL];
                x.iter()
                    .zip(weight)
                    .map(|(a, b)| f64::from(*a) * f64::from(*b))
                    .sum()
            };
            let logits: Vec<f64> = (0..CLASSES).map(logit).collect();
            let sum: f64 = logits.iter().map(|z| z.exp()).sum();
            let (lse, target) = (sum.ln(), self.targets[i] as usize);
            let mean = logits.iter().sum::<f64>() / CLASSES as f64;
            loss += row_weight
                * (lse - (1.0 - smoothing) * logits[target] - smoothing * mean
                    + z_loss * lse * lse);
            for c in 0..CLASSES {
                let of_target = if c == target { 1.0 - smoothing } else { 0.0 };
                let probability = logits[c].exp() / sum;
                let grad = row_weight
                    * (probability * (1.0 + 2.0 * z_loss * lse)
                        - of_target
                        - smoothing / CLASSES as f64);
                for d in 0..D_MODEL {
                    of_x[i * D_MODEL + d] += grad * f64::from(self.weight[c * D_MODEL + d]);
                    of_weight[c * D_MODEL + d] += grad * f64::from(x[d]);
                }
            }
        }
        (loss, of_x, of_weight)
    }
}

/// Errors of sums of up to `terms` products of values up to `largest`, and of exponentials of differences of logits
/// below 64, which WGSL allows 3 + 2 x 64 units in the last place, for the probability and for its sum.
fn assert_close(actual: &[f32], expected: &[f64], terms: usize, what: &str) {
    let largest = expected.iter().fold(1.0f64, |a, b| a.max(b.abs()));
    let bound = (terms + 4 * 131) as f64 * ROUNDING * largest;
    let expected: Vec<f32> = expected.iter().map(|&v| v as f32).collect();
    assert_within(actual, &expected, |_| bound, what);
}

#[test]
fn loss_and_gradients_are_those_of_the_formula() {
    let device = Device::default().autodiff();
    // More rows than are computed at a time.
    for (rows, terms) in [
        (9, TERMS[0]),
        (9, TERMS[1]),
        (9, TERMS[2]),
        (1100, TERMS[2]),
    ] {
        let inputs = Inputs::drawn(rows);
        let (x, weight, targets, row_weights) = inputs.tensors(&device);
        let (x, weight) = (x.require_grad(), weight.require_grad());
        let loss = linear_cross_entropy(x.clone(), weight.clone(), targets, row_weights, terms);
        let (expected, of_x, of_weight) = inputs.reference(terms);
        assert_close(&floats(loss.clone()), &[expected], rows, "loss");
        // The gradient of what follows is not 1.
        let grads = (loss * 3.0).backward();
        let thrice = |values: Vec<f64>| values.into_iter().map(|v| 3.0 * v).collect::<Vec<_>>();
        assert_close(
            &floats(x.grad(&grads).unwrap()),
            &thrice(of_x),
            CLASSES,
            "x",
        );
        let found = floats(weight.grad(&grads).unwrap());
        assert_close(&found, &thrice(of_weight), rows, "weight");
    }
}

#[test]
fn a_frozen_or_transposed_head_gives_the_same_gradients() {
    let device = Device::default().autodiff();
    let inputs = Inputs::drawn(20);
    let (x, weight, targets, row_weights) = inputs.tensors(&device);
    let gradients = |weight: Tensor<2>| {
        let x = x.clone().detach().require_grad();
        let (targets, rows) = (targets.clone(), row_weights.clone());
        let loss = linear_cross_entropy(x.clone(), weight, targets, rows, TERMS[2]);
        let value = floats(loss.clone());
        let grads = loss.backward();
        (value, floats(x.grad(&grads).unwrap()), grads)
    };
    let plain = weight.clone().require_grad();
    let (loss, of_x, grads) = gradients(plain.clone());
    let of_weight = floats(plain.grad(&grads).unwrap());

    let (frozen_loss, of_frozen, _) = gradients(weight.clone());
    assert_equal(&frozen_loss, &loss, "loss of a frozen head");
    assert_equal(&of_frozen, &of_x, "gradient with a frozen head");

    // A matrix `[d_model, classes]`, as a Linear has it.
    let stored = tensor(
        &floats(weight.transpose()),
        [D_MODEL, CLASSES],
        DType::F32,
        &device,
    );
    let stored = stored.require_grad();
    let (transposed_loss, of_x_here, grads) = gradients(stored.clone().transpose());
    let close = |actual: &[f32], expected: &[f32], what| {
        let expected: Vec<f64> = expected.iter().map(|&v| f64::from(v)).collect();
        assert_close(actual, &expected, CLASSES, what);
    };
    close(&transposed_loss, &loss, "loss");
    close(&of_x_here, &of_x, "x");
    close(
        &floats(stored.grad(&grads).unwrap().transpose()),
        &of_weight,
        "weight",
    );
}

#[test]
fn rows_without_weight_have_no_effect_whatever_they_hold() {
    let device = Device::default().autodiff();
    let mut inputs = Inputs::drawn(6);
    let loss = |inputs: &Inputs| {
        let (x, weight, targets, row_weights) = inputs.tensors(&device);
        let x = x.require_grad();
        let loss = linear_cross_entropy(x.clone(), weight, targets, row_weights, TERMS[1]);
        let value = floats(loss.clone());
        (value, floats(x.grad(&loss.backward()).unwrap()))
    };
    let (expected, of_x) = loss(&inputs);
    inputs.x[D_MODEL..2 * D_MODEL].fill(1e30);
    let (found, of_changed) = loss(&inputs);
    assert_equal(&found, &expected, "loss");
    assert_equal(&of_changed, &of_x, "gradient");
    assert!(of_x[D_MODEL..2 * D_MODEL].iter().all(|v| *v == 0.0));
}

#[test]
fn a_value_that_is_not_finite_is_not_lost() {
    let device = Device::default();
    let mut inputs = Inputs::drawn(6);
    inputs.x[3] = f32::NAN;
    let (x, weight, targets, row_weights) = inputs.tensors(&device);
    let loss = linear_cross_entropy(x, weight, targets, row_weights, TERMS[0]);
    assert!(floats(loss)[0].is_nan());
}

#[test]
fn the_loss_of_hidden_states_is_that_of_their_logits() {
    let device = Device::default().autodiff();
    let inputs = Inputs::drawn(10);
    let (x, weight, targets, _) = inputs.tensors(&device);
    let hidden = x.reshape([2, 5, D_MODEL]).require_grad();
    let mut ids = inputs.targets.clone();
    ids[3] = -100;
    let targets = Tensor::<1, Int>::from_ints(ids.as_slice(), &targets.device()).reshape([2, 5]);
    use burn::nn::loss::Reduction::*;
    for reduction in [Mean, Sum, BatchMean] {
        let loss = CausalLmLoss::new()
            .with_label_smoothing(0.1)
            .with_z_loss(0.01)
            .with_reduction(reduction);
        let logits = hidden
            .clone()
            .matmul(weight.clone().transpose().unsqueeze());
        let of_logits = loss.forward(logits, targets.clone());
        let of_hidden = loss.forward_hidden(hidden.clone(), weight.clone(), targets.clone());
        let expected = f64::from(floats(of_logits.clone())[0]);
        assert_close(&floats(of_hidden.clone()), &[expected], 10, "loss");
        let gradient = |loss: Tensor<1>| floats(hidden.grad(&loss.backward()).unwrap());
        let expected: Vec<f64> = gradient(of_logits).into_iter().map(f64::from).collect();
        assert_close(&gradient(of_hidden), &expected, CLASSES, "hidden");
    }
}

#[test]
fn without_a_token_that_counts_loss_and_gradients_are_zero() {
    let device = Device::default().autodiff();
    let inputs = Inputs::drawn(4);
    let (x, weight, ..) = inputs.tensors(&device);
    let hidden = x.reshape([1, 4, D_MODEL]).require_grad();
    let targets = Tensor::<2, Int>::full([1, 4], -100, &device);
    let loss = CausalLmLoss::new().forward_hidden(hidden.clone(), weight, targets);
    assert_equal(&floats(loss.clone()), &[0.0], "loss");
    let grads = loss.backward();
    let of_hidden = floats(hidden.grad(&grads).unwrap());
    assert!(of_hidden.iter().all(|v| *v == 0.0), "{of_hidden:?}");
}

#[test]
fn half_precision_inputs_give_the_loss_of_their_values() {
    let device = Device::default();
    if !computes_in(&device, DType::BF16) {
        return;
    }
    let inputs = Inputs::drawn(9);
    let (x, weight, targets, row_weights) = inputs.tensors(&device);
    let [x, weight] = [x, weight].map(|t| t.cast(DType::BF16));
    let rounded = [x.clone(), weight.clone()].map(|t| t.cast(DType::F32));
    let [a, b] = rounded;
    let exact = linear_cross_entropy(a, b, targets.clone(), row_weights.clone(), TERMS[0]);
    let found = linear_cross_entropy(x, weight, targets, row_weights, TERMS[0]);
    // Other devices round logits of up to 32 to bf16: half of 2^-8 each, and 9 rows.
    let bound = 9.0 * 32.0 / 512.0;
    assert_within(&floats(found), &floats(exact), |_| bound, "loss");
}

#[test]
fn a_target_out_of_range_is_named_on_flex() {
    if !on_flex() {
        return;
    }
    let mut inputs = Inputs::drawn(3);
    inputs.targets[2] = CLASSES as i32;
    let (x, weight, targets, row_weights) = inputs.tensors(&Device::default());
    let loss = || linear_cross_entropy(x, weight, targets, row_weights, TERMS[0]);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(loss)).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert_eq!(message, "the target 37 of row 2 is not one of 37 classes");
}

#[test]
fn another_type_of_the_weight_is_refused() {
    let device = Device::default();
    if !computes_in(&device, DType::F16) {
        return;
    }
    let (x, weight, targets, row_weights) = Inputs::drawn(3).tensors(&device);
    let weight = weight.cast(DType::F16);
    let loss = || linear_cross_entropy(x, weight, targets, row_weights, TERMS[0]);
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(loss)).unwrap_err();
    let message = panic.downcast_ref::<String>().unwrap();
    assert!(message.contains("have one type"), "{message}");
}
