//! [`gated_activation`] and its gradients against the formulas in `f64`, and against Burn's own chains.

use core::array;

use bitnet_burn::{functions::gated_activation, nn::GatedActivation};
use burn::tensor::{
    DType, Device, Tensor,
    activation::{relu, silu},
};

use crate::support::{transformer_reference::*, values::*};

const ACTIVATIONS: [GatedActivation; 2] = [GatedActivation::SquaredRelu, GatedActivation::Silu];

/// Lengths with and without a remainder of SIMD lanes and chunks; the last is for several threads.
const LENGTHS: [usize; 6] = [1, 5, 64, 1000, 1025, 40_000];

struct Case {
    activation: GatedActivation,
    gate: Vec<f32>,
    up: Vec<f32>,
    upstream: Vec<f32>,
}

impl Case {
    fn new(activation: GatedActivation, n: usize, dtype: DType) -> Self {
        // Gates of size 4, and gates where the sigmoid is 0 or 1.
        let mut gate: Vec<f32> = normal(n, 1).iter().map(|v| 40.0 * v).collect();
        for (gate, extreme) in gate.iter_mut().skip(1).zip([0.0, -100.0, 100.0, -30.0]) {
            *gate = extreme;
        }
        Self {
            activation,
            gate: rounded(&gate, dtype),
            up: rounded(&normal(n, 2), dtype),
            upstream: rounded(&normal(n, 3), dtype),
        }
    }

    fn tensors(&self, dtype: DType, device: &Device) -> [Tensor<1>; 3] {
        [&self.gate, &self.up, &self.upstream]
            .map(|values| tensor(values, [self.gate.len()], dtype, device))
    }

    /// Activation of each gate, and its derivative. The magnitudes are those of the terms, with the factor by
    /// which the result amplifies the rounding of a sigmoid.
    fn activated(&self) -> impl Iterator<Item = [Sum; 2]> {
        self.gate.iter().map(|&gate| {
            let gate = gate as f64;
            let sum = |value, magnitude| Sum { value, magnitude };
            match self.activation {
                GatedActivation::SquaredRelu => {
                    let relu = gate.max(0.0);
                    [relu * relu, 2.0 * relu].map(|value| sum(value, value))
                }
                GatedActivation::Silu => {
                    // A backend may compute `exp(-ln(1 + exp(-x)))`, with the logarithm's rounding error.
                    let follows = 4.0 + gate.abs();
                    let sigmoid = (1.0 + (-gate).exp()).recip();
                    let (silu, rest) = (gate * sigmoid, (1.0 + gate.exp()).recip());
                    let magnitude = sigmoid * (1.0 + gate.abs() * (1.0 + sigmoid));
                    [
                        sum(silu, silu.abs() * follows),
                        sum(sigmoid + silu * rest, magnitude * follows),
                    ]
                }
                other => unreachable!("no activation of the tests: {other:?}"),
            }
        })
    }

    fn products(&self, factors: impl Fn(usize, [Sum; 2]) -> (Sum, f64)) -> Vec<Sum> {
        let products = self.activated().enumerate().map(|(i, activated)| {
            let (sum, factor) = factors(i, activated);
            Sum {
                value: sum.value * factor,
                magnitude: sum.magnitude * factor.abs(),
            }
        });
        products.collect()
    }

    fn values(&self) -> Vec<Sum> {
        self.products(|i, [activated, _]| (activated, self.up[i] as f64))
    }

    /// Computes the gradients of `gate` and `up`.
    fn gradients(&self) -> [Vec<Sum>; 2] {
        let upstream = |i| self.upstream[i] as f64;
        [
            self.products(|i, [_, derivative]| (derivative, self.up[i] as f64 * upstream(i))),
            self.products(|i, [activated, _]| (activated, upstream(i))),
        ]
    }
}

fn cases(dtype: DType) -> impl Iterator<Item = Case> {
    let of = move |activation| LENGTHS.map(|n| Case::new(activation, n, dtype));
    ACTIVATIONS.into_iter().flat_map(of)
}

/// Roundings: of the sigmoid or the square, of two more sums and three products.
const OPERATIONS: f64 = 6.0;

#[test]
fn values_are_those_of_the_formula() {
    let device = Device::default();
    for dtype in float_types(&device) {
        for case in cases(dtype) {
            let (activation, n) = (case.activation, case.gate.len());
            let [gate, up, _] = case.tensors(dtype, &device);
            let y = gated_activation(gate, up, activation);
            assert_eq!((y.dims(), y.dtype()), ([n], dtype));
            let what = format!("{activation:?} {n} {dtype:?}");
            assert_sums(&floats(y), &case.values(), dtype, OPERATIONS, &what);
        }
    }
}

/// Returns the requested gradients of gate and up.
fn gradients(
    case: &Case,
    device: &Device,
    [of_gate, of_up]: [bool; 2],
    gated: impl Fn(Tensor<1>, Tensor<1>) -> Tensor<1>,
) -> [Option<Vec<f32>>; 2] {
    let [gate, up, upstream] = case.tensors(DType::F32, device);
    let (gate, up) = (gate.set_require_grad(of_gate), up.set_require_grad(of_up));
    let grads = (gated(gate.clone(), up.clone()) * upstream)
        .sum()
        .backward();
    [gate, up].map(|input| input.grad(&grads).map(floats))
}

#[test]
fn gradients_are_those_of_the_formula() {
    let device = Device::default().autodiff();
    for device in [device.clone(), device.gradient_checkpointing()] {
        for case in cases(DType::F32) {
            let (activation, n) = (case.activation, case.gate.len());
            let gated = |gate, up| gated_activation(gate, up, activation);
            let gradients = gradients(&case, &device, [true, true], gated);
            for (gradient, expected) in gradients.into_iter().zip(case.gradients()) {
                let what = format!("{activation:?} {n}");
                assert_sums(&gradient.unwrap(), &expected, DType::F32, OPERATIONS, &what);
            }
        }
    }
}

#[test]
fn chains_of_burn_have_these_gradients_too() {
    let device = Device::default().autodiff();
    for activation in ACTIVATIONS {
        let mut case = Case::new(activation, 1000, DType::F32);
        // Burn's own are not finite everywhere.
        case.gate
            .iter_mut()
            .for_each(|gate| *gate = gate.clamp(-20.0, 20.0));
        let chain = |gate, up| match activation {
            GatedActivation::SquaredRelu => relu::<1>(gate).powi_scalar(2) * up,
            _ => silu(gate) * up,
        };
        let gradients = gradients(&case, &device, [true, true], chain);
        for (gradient, expected) in gradients.into_iter().zip(case.gradients()) {
            let what = format!("{activation:?}");
            let operations = 2.0 * OPERATIONS;
            assert_sums(&gradient.unwrap(), &expected, DType::F32, operations, &what);
        }
    }
}

#[test]
fn an_input_without_a_gradient_gets_none_and_is_not_missed() {
    let device = Device::default().autodiff();
    for activation in ACTIVATIONS {
        let case = Case::new(activation, 33, DType::F32);
        let gated = |gate, up| gated_activation(gate, up, activation);
        let both = gradients(&case, &device, [true, true], gated);
        for tracked in [[true, false], [false, true]] {
            let gradients = gradients(&case, &device, tracked, gated);
            let expected = array::from_fn(|i| both[i].clone().filter(|_| tracked[i]));
            assert_eq!(gradients, expected, "{activation:?} {tracked:?}");
        }
        let [gate, up, _] = case.tensors(DType::F32, &device);
        assert!(!gated(gate, up).is_tracked());
    }
}

#[test]
fn views_give_the_products_of_the_values_that_they_show() {
    let device = Device::default();
    for dtype in float_types(&device) {
        let case = Case::new(GatedActivation::Silu, 96, dtype);
        let [gate, up, _] = case.tensors(dtype, &device);
        let (gate, up) = (gate.reshape([8, 12]), up.reshape([12, 8]).transpose());
        for (gate, up) in [
            (gate.clone(), up.clone()),
            (gate.clone().narrow(0, 3, 4), up.clone().narrow(0, 1, 4)),
            (gate.narrow(1, 3, 5), up.narrow(1, 7, 5)),
        ] {
            for activation in ACTIVATIONS {
                let copy = |x: &Tensor<2>| tensor(&floats(x.clone()), x.dims(), dtype, &device);
                let expected = floats(gated_activation(copy(&gate), copy(&up), activation));
                let y = floats(gated_activation(gate.clone(), up.clone(), activation));
                assert_equal(&y, &expected, &format!("{activation:?} {dtype:?}"));
            }
        }
    }
}

#[test]
fn threads_change_no_bit() {
    let device = Device::default().autodiff();
    for activation in ACTIVATIONS {
        let case = Case::new(activation, 50_003, DType::F32);
        assert_same_in_all_threads(|| {
            let gated = |gate, up| gated_activation(gate, up, activation);
            let [of_gate, of_up] = gradients(&case, &device, [true, true], gated);
            let [gate, up, _] = case.tensors(DType::F32, &device);
            vec![floats(gated(gate, up)), of_gate.unwrap(), of_up.unwrap()]
        });
    }
}

#[test]
fn non_finite_values_affect_only_their_element() {
    let device = Device::default();
    for activation in ACTIVATIONS {
        let mut case = Case::new(activation, 33, DType::F32);
        (case.gate[7], case.gate[9]) = (1.5, 1.5);
        let gated = |case: &Case| {
            let [gate, up, _] = case.tensors(DType::F32, &device);
            floats(gated_activation(gate, up, activation))
        };
        let expected = gated(&case);
        for (bad_gate, bad_up) in [(f32::NAN, f32::INFINITY), (f32::INFINITY, f32::NAN)] {
            (case.gate[7], case.up[9]) = (bad_gate, bad_up);
            for (i, (y, expected)) in gated(&case).into_iter().zip(&expected).enumerate() {
                let what = format!("{activation:?}, {bad_gate} and {bad_up}, value {i}: {y}");
                match i {
                    7 | 9 => assert!(!y.is_finite(), "{what}"),
                    _ => assert_eq!(y, *expected, "{what}"),
                }
            }
        }
    }
}

#[test]
fn an_empty_input_has_an_empty_output() {
    let device = Device::default();
    for (shape, activation) in [[0, 4], [3, 0]].into_iter().zip(ACTIVATIONS) {
        let gate = Tensor::<2>::zeros(shape, &device);
        let y = gated_activation(gate.clone(), gate, activation);
        assert_eq!(y.dims(), shape);
        assert!(floats(y).is_empty());
    }
}

#[test]
#[should_panic(expected = "gate and up have different shapes")]
fn other_shapes_are_refused() {
    let device = Device::default();
    let [gate, up] = [[2, 3], [3, 2]].map(|shape| Tensor::<2>::zeros(shape, &device));
    gated_activation(gate, up, GatedActivation::Silu);
}

#[test]
fn other_types_are_refused() {
    assert_refuses_f64("gated_activation", |options| {
        let gate = Tensor::<1>::zeros([3], options);
        gated_activation(gate.clone(), gate, GatedActivation::Silu);
    });
}

#[test]
#[should_panic(expected = "gate and up have different types")]
fn an_up_of_another_type_is_refused() {
    let device = Device::default();
    let Some(&other) = float_types(&device).get(1) else {
        panic!("gate and up have different types: not on {device:?}, which has one");
    };
    let [gate, up] = [DType::F32, other].map(|dtype| Tensor::<1>::zeros([3], (&device, dtype)));
    gated_activation(gate, up, GatedActivation::Silu);
}
