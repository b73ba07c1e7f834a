//! [`rotary_embedding`] and its gradient against the formula in `f64`.

use bitnet_burn::functions::rotary_embedding;
use burn::tensor::{DType, Device, Tensor};

use crate::support::{transformer_reference::*, values::*};

/// Random values of this shape, with cosines and sines of `[positions, d_head / 2]` angles.
struct Case {
    shape: [usize; 4],
    x: Vec<f32>,
    cos: Vec<f32>,
    sin: Vec<f32>,
}

impl Case {
    fn new(shape: [usize; 4]) -> Self {
        let [_, _, positions, d_head] = shape;
        let angles = normal(positions * d_head / 2, 2);
        let angles = angles.into_iter().map(|angle| 30.0 * angle);
        Self {
            shape,
            x: normal(shape.iter().product(), 1),
            cos: angles.clone().map(f32::cos).collect(),
            sin: angles.map(f32::sin).collect(),
        }
    }

    fn x(&self, dtype: DType, device: &Device) -> Tensor<4> {
        tensor(&self.x, self.shape, dtype, device)
    }

    fn angles(&self, dtype: DType, device: &Device) -> [Tensor<2>; 2] {
        let shape = [self.shape[2], self.shape[3] / 2];
        [&self.cos, &self.sin].map(|values| tensor(values, shape, dtype, device))
    }

    fn turned(&self, x: Tensor<4>) -> Tensor<4> {
        let [cos, sin] = self.angles(DType::F32, &x.device());
        rotary_embedding(x, cos, sin)
    }

    fn turned_back(&self, x: Tensor<4>) -> Tensor<4> {
        let [cos, sin] = self.angles(DType::F32, &x.device());
        rotary_embedding(x, cos, sin.neg())
    }

    /// Computes `x * cos + rotate_half(x) * sin` of values of a type.
    fn expected(&self, dtype: DType) -> Vec<Sum> {
        let [_, _, positions, d_head] = self.shape;
        let half = d_head / 2;
        let x = rounded(&self.x, dtype);
        let turned = |i: usize| {
            let (row, column) = (i / d_head, i % d_head);
            let (pair, at) = (row * d_head, row % positions * half + column % half);
            let (cos, sin) = (self.cos[at] as f64, self.sin[at] as f64);
            let [a, b] = [pair + column % half, pair + column % half + half].map(|i| x[i] as f64);
            let (x, rotated) = if column < half { (a, -b) } else { (b, a) };
            Sum {
                value: x * cos + rotated * sin,
                magnitude: (x * cos).abs() + (rotated * sin).abs(),
            }
        };
        (0..x.len()).map(turned).collect()
    }
}

/// Roundings: of the angles to the type of the values, of a product, of a sum.
const OPERATIONS: f64 = 3.0;

/// Halves with and without a remainder of SIMD lanes; the last is for several threads.
const SHAPES: [[usize; 4]; 6] = [
    [1, 1, 1, 2],
    [1, 1, 7, 10],
    [2, 3, 5, 64],
    [3, 2, 1, 6],
    [1, 4, 3, 34],
    [2, 3, 50, 128],
];

#[test]
fn values_are_those_of_the_formula() {
    let device = Device::default();
    for dtype in float_types(&device) {
        for shape in SHAPES {
            let case = Case::new(shape);
            let turned = case.turned(case.x(dtype, &device));
            assert_eq!((turned.dims(), turned.dtype()), (shape, dtype));
            let what = format!("{shape:?} {dtype:?}");
            let expected = case.expected(dtype);
            assert_sums(&floats(turned), &expected, dtype, OPERATIONS, &what);
        }
    }
}

#[test]
fn a_view_is_turned_as_the_values_that_it_shows() {
    let device = Device::default();
    for dtype in float_types(&device) {
        for shape in [[2, 3, 5, 10], [1, 1, 7, 4], [2, 4, 1, 4], [2, 4, 60, 128]] {
            let case = Case::new(shape);
            let expected = floats(case.turned(case.x(dtype, &device)));
            for (name, view) in views(case.x(dtype, &device)) {
                let turned = case.turned(view);
                assert_eq!(turned.dims(), shape);
                assert_equal(
                    &floats(turned),
                    &expected,
                    &format!("{name} {shape:?} {dtype:?}"),
                );
            }
        }
    }
}

#[test]
fn the_inverse_rotation_restores_the_input() {
    let device = Device::default();
    let case = Case::new([2, 3, 5, 64]);
    let back = floats(case.turned_back(case.turned(case.x(DType::F32, &device))));
    // Errors are rotated: no larger than those of two values, each of the length of a pair.
    let length = |i: usize| {
        let other = (i + 32) % 64 + i / 64 * 64;
        (case.x[i] as f64).hypot(case.x[other] as f64)
    };
    let bound = |i: usize| roundings(DType::F32, 6.0 * OPERATIONS, length(i));
    assert_within(&back, &case.x, bound, "turned and back");
}

#[test]
fn the_gradient_is_turned_back() {
    let device = Device::default().autodiff();
    for device in [device.clone(), device.gradient_checkpointing()] {
        for shape in SHAPES {
            let case = Case::new(shape);
            let back = Case {
                x: normal(case.x.len(), 3),
                sin: case.sin.iter().map(|sin| -sin).collect(),
                ..Case::new(shape)
            };
            let expected = back.expected(DType::F32);
            for laid_out in [|x| x, by_position] {
                let x = laid_out(case.x(DType::F32, &device)).require_grad();
                let upstream = back.x(DType::F32, &device);
                let grads = (case.turned(x.clone()) * upstream).sum().backward();
                let of_x = floats(x.grad(&grads).unwrap());
                let what = format!("{shape:?}");
                assert_sums(&of_x, &expected, DType::F32, OPERATIONS, &what);
            }
        }
    }
}

#[test]
fn angles_are_constants() {
    let device = Device::default().autodiff();
    let case = Case::new([1, 2, 3, 4]);
    let [cos, sin] = case.angles(DType::F32, &device).map(Tensor::require_grad);
    let x = case.x(DType::F32, &device);
    assert!(!rotary_embedding(x.clone(), cos.clone(), sin.clone()).is_tracked());
    let x = x.require_grad();
    let grads = rotary_embedding(x.clone(), cos.clone(), sin.clone())
        .sum()
        .backward();
    assert!(x.grad(&grads).is_some());
    assert!(cos.grad(&grads).is_none() && sin.grad(&grads).is_none());
}

#[test]
fn threads_change_no_bit() {
    let device = Device::default().autodiff();
    let case = Case::new([2, 4, 100, 128]);
    assert_same_in_all_threads(|| {
        let x = by_position(case.x(DType::F32, &device)).require_grad();
        let y = case.turned(x.clone());
        let of_x = x.grad(&(y.clone() * y.clone()).sum().backward()).unwrap();
        vec![floats(y), floats(of_x)]
    });
}

#[test]
fn an_empty_input_has_an_empty_output() {
    let device = Device::default();
    for shape in [[0, 2, 3, 4], [1, 0, 3, 4], [1, 2, 0, 4], [1, 2, 3, 0]] {
        let case = Case::new(shape);
        let turned = case.turned(case.x(DType::F32, &device));
        assert_eq!(turned.dims(), shape);
        assert!(floats(turned).is_empty());
    }
}

/// Rotates heads of one size by angles of others.
fn turn(shape: [usize; 4], cos: [usize; 2], sin: [usize; 2]) {
    let device = Device::default();
    let [cos, sin] = [cos, sin].map(|shape| Tensor::zeros(shape, &device));
    rotary_embedding(Tensor::zeros(shape, &device), cos, sin);
}

#[test]
#[should_panic(expected = "assert_shape!(x, [_, _, _, 2 * half]): axis 3 expected 4, got 5")]
fn an_odd_head_is_refused() {
    turn([1, 2, 3, 5], [3, 2], [3, 2]);
}

#[test]
#[should_panic(expected = "assert_shape!(cos, [positions, half]): axis 0 expected 3, got 4")]
fn cosines_of_other_positions_are_refused() {
    turn([1, 2, 3, 4], [4, 2], [3, 2]);
}

#[test]
#[should_panic(expected = "assert_shape!(sin, [positions, half]): axis 1 expected 2, got 4")]
fn sines_of_whole_heads_are_refused() {
    turn([1, 2, 3, 4], [3, 2], [3, 4]);
}

#[test]
fn another_type_is_refused() {
    assert_refuses_f64("rotary_embedding", |options| {
        let angles = Tensor::<2>::zeros([3, 2], options);
        rotary_embedding(Tensor::zeros([1, 2, 3, 4], options), angles.clone(), angles);
    });
}
