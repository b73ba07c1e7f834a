//! [`rms_norm`] and its gradients against the formulas in `f64`, and against Burn's own norm.

use core::array;

use bitnet_burn::functions::rms_norm;
use burn::{
    module::Param,
    nn::RmsNormConfig,
    tensor::{DType, Device, Tensor},
};

use crate::support::{transformer_reference::*, values::*};

const EPSILON: f64 = 1e-3;

struct Case {
    n: usize,
    x: Vec<f32>,
    gamma: Vec<f32>,
    upstream: Vec<f32>,
}

impl Case {
    fn new(rows: usize, n: usize, dtype: DType) -> Self {
        let values = |n, seed| rounded(&normal(n, seed), dtype);
        Self {
            n,
            x: values(rows * n, 1),
            gamma: values(n, 2),
            upstream: values(rows * n, 3),
        }
    }

    fn tensors(&self, dtype: DType, device: &Device) -> [Tensor<2>; 2] {
        let shape = [self.x.len() / self.n, self.n];
        [&self.x, &self.upstream].map(|values| tensor(values, shape, dtype, device))
    }

    fn gamma(&self, dtype: DType, device: &Device) -> Tensor<1> {
        tensor(&self.gamma, [self.n], dtype, device)
    }

    /// Roundings of `1 / rms`: those of the sum of squares count half, under the root.
    fn of_rms(&self) -> f64 {
        self.n as f64 / 2.0 + 6.0
    }

    fn inverse_rms(&self, row: usize) -> f64 {
        let squares = self.x[row * self.n..][..self.n].iter().map(|&x| x as f64);
        let mean = squares.map(|x| x * x).sum::<f64>() / self.n as f64;
        (mean + EPSILON).sqrt().recip()
    }

    fn values(&self) -> Vec<Sum> {
        let row = |row: usize| {
            let inverse = self.inverse_rms(row);
            let x = &self.x[row * self.n..][..self.n];
            x.iter().zip(&self.gamma).map(move |(&x, &gamma)| {
                let value = x as f64 * inverse * gamma as f64;
                let magnitude = value.abs();
                Sum { value, magnitude }
            })
        };
        (0..self.x.len() / self.n).flat_map(row).collect()
    }

    /// Computes the gradients of `x` and `gamma`.
    fn gradients(&self) -> [Vec<Sum>; 2] {
        let mut of_gamma = vec![Sum::default(); self.n];
        let mut of_x = Vec::with_capacity(self.x.len());
        for row in 0..self.x.len() / self.n {
            let inverse = self.inverse_rms(row);
            let at = |i: usize| {
                let (x, grad) = (self.x[row * self.n + i], self.upstream[row * self.n + i]);
                (x as f64 * inverse, grad as f64, self.gamma[i] as f64)
            };
            let mut mean = Sum::default();
            for (i, of_gamma) in of_gamma.iter_mut().enumerate() {
                let (z, grad, gamma) = at(i);
                let product = z * grad * gamma / self.n as f64;
                mean.add(product, product.abs());
                of_gamma.add(z * grad, (z * grad).abs());
            }
            of_x.extend((0..self.n).map(|i| {
                let (z, grad, gamma) = at(i);
                Sum {
                    value: (grad * gamma - z * mean.value) * inverse,
                    magnitude: ((grad * gamma).abs() + z.abs() * mean.magnitude) * inverse,
                }
            }));
        }
        [of_x, of_gamma]
    }
}

/// Rows with and without a remainder of SIMD lanes; the last two are for several threads.
const SHAPES: [[usize; 2]; 7] = [
    [1, 1],
    [3, 5],
    [1, 64],
    [7, 33],
    [2, 1000],
    [40, 1000],
    [14_000, 5],
];

#[test]
fn values_are_those_of_the_formula() {
    let device = Device::default();
    for dtype in float_types(&device) {
        for [rows, n] in SHAPES {
            let case = Case::new(rows, n, dtype);
            let [x, _] = case.tensors(dtype, &device);
            let y = rms_norm(x, case.gamma(dtype, &device), EPSILON);
            assert_eq!((y.dims(), y.dtype()), ([rows, n], dtype));
            // Rounding to a smaller type exceeds all errors in f32.
            let in_f32 = if dtype == DType::F32 {
                case.of_rms()
            } else {
                0.0
            };
            let what = format!("{rows} x {n} {dtype:?}");
            assert_sums(&floats(y), &case.values(), dtype, in_f32 + 2.0, &what);
        }
    }
}

/// Returns the requested gradients of `x` and `gamma` by a norm.
fn gradients(
    case: &Case,
    device: &Device,
    [of_x, of_gamma]: [bool; 2],
    norm: impl Fn(Tensor<2>, Tensor<1>) -> Tensor<2>,
) -> [Option<Vec<f32>>; 2] {
    let [x, upstream] = case.tensors(DType::F32, device);
    let x = x.set_require_grad(of_x);
    let gamma = case.gamma(DType::F32, device).set_require_grad(of_gamma);
    let y = norm(x.clone(), gamma.clone());
    let grads = (y * upstream).sum().backward();
    [x.grad(&grads).map(floats), gamma.grad(&grads).map(floats)]
}

#[test]
fn gradients_are_those_of_the_formula() {
    let device = Device::default().autodiff();
    for device in [device.clone(), device.gradient_checkpointing()] {
        for [rows, n] in SHAPES {
            let case = Case::new(rows, n, DType::F32);
            let norm = |x, gamma| rms_norm(x, gamma, EPSILON);
            // The root mean square is a factor of three, and the mean is a sum of `n` products.
            let of_x = 3.0 * case.of_rms() + n as f64 + 8.0;
            let of_gamma = case.of_rms() + rows as f64 + 2.0;
            let gradients = gradients(&case, &device, [true, true], norm).into_iter();
            for ((gradient, expected), operations) in
                gradients.zip(case.gradients()).zip([of_x, of_gamma])
            {
                let (gradient, what) = (gradient.unwrap(), format!("{rows} x {n}"));
                assert_sums(&gradient, &expected, DType::F32, operations, &what);
            }
        }
    }
}

#[test]
fn an_input_without_a_gradient_gets_none_and_is_not_missed() {
    let device = Device::default().autodiff();
    let case = Case::new(7, 33, DType::F32);
    let norm = |x, gamma| rms_norm(x, gamma, EPSILON);
    let both = gradients(&case, &device, [true, true], norm);
    for tracked in [[true, false], [false, true]] {
        let expected = array::from_fn(|i| both[i].clone().filter(|_| tracked[i]));
        assert_eq!(
            gradients(&case, &device, tracked, norm),
            expected,
            "{tracked:?}"
        );
    }
    let [x, _] = case.tensors(DType::F32, &device);
    assert!(!norm(x, case.gamma(DType::F32, &device)).is_tracked());
}

#[test]
fn it_is_the_norm_of_burn() {
    let device = Device::default().autodiff();
    let case = Case::new(7, 33, DType::F32);
    let burns = |x, gamma: Tensor<1>| {
        let mut norm = RmsNormConfig::new(33).with_epsilon(EPSILON).init(&device);
        norm.gamma = Param::from_tensor(gamma);
        norm.forward(x)
    };
    let [of_x, _] = gradients(&case, &device, [true, false], burns);
    let operations = 3.0 * case.of_rms() + 41.0;
    let expected = &case.gradients()[0];
    // Burn's chain of operations gives the same values as the reference.
    assert_sums(&of_x.unwrap(), expected, DType::F32, operations, "chain");
    let [x, _] = case.tensors(DType::F32, &device);
    let y = floats(burns(x, case.gamma(DType::F32, &device)));
    assert_sums(&y, &case.values(), DType::F32, case.of_rms() + 2.0, "chain");
}

#[test]
fn a_view_is_normed_as_the_values_that_it_shows() {
    let device = Device::default();
    for dtype in float_types(&device) {
        let whole = tensor(&normal(96, 6), [8, 12], dtype, &device);
        let gammas = tensor(&normal(24, 7), [24], dtype, &device);
        let views: [(&str, Tensor<2>); 4] = [
            ("transposed", whole.clone().transpose()),
            ("rows", whole.clone().narrow(0, 3, 4)),
            ("columns", whole.clone().narrow(1, 3, 8)),
            ("both", whole.narrow(1, 2, 7).transpose()),
        ];
        for (name, view) in views {
            let gamma = gammas.clone().narrow(0, 9, view.dims()[1]);
            let copy = tensor(&floats(view.clone()), view.dims(), dtype, &device);
            let gamma_copy = tensor(&floats(gamma.clone()), gamma.dims(), dtype, &device);
            let expected = floats(rms_norm(copy, gamma_copy, EPSILON));
            let what = format!("{name} {dtype:?}");
            assert_equal(&floats(rms_norm(view, gamma, EPSILON)), &expected, &what);
        }
    }
}

#[test]
fn leading_dimensions_are_rows() {
    let device = Device::default();
    let case = Case::new(6, 5, DType::F32);
    let [x, _] = case.tensors(DType::F32, &device);
    let gamma = case.gamma(DType::F32, &device);
    let expected = floats(rms_norm(x.clone(), gamma.clone(), EPSILON));
    let y = rms_norm(x.reshape([2, 1, 3, 5]), gamma, EPSILON);
    assert_eq!(y.dims(), [2, 1, 3, 5]);
    assert_equal(&floats(y), &expected, "four dimensions");
}

#[test]
fn threads_change_no_bit() {
    let device = Device::default().autodiff();
    for [rows, n] in [[100, 1000], [20_000, 5]] {
        let case = Case::new(rows, n, DType::F32);
        assert_same_in_all_threads(|| {
            let [x, _] = case.tensors(DType::F32, &device);
            let norm = |x, gamma| rms_norm(x, gamma, EPSILON);
            let [of_x, of_gamma] = gradients(&case, &device, [true, true], norm);
            let y = norm(x, case.gamma(DType::F32, &device));
            vec![floats(y), of_x.unwrap(), of_gamma.unwrap()]
        });
    }
}

#[test]
fn non_finite_values_affect_only_their_row() {
    let device = Device::default();
    let mut case = Case::new(5, 33, DType::F32);
    let norm = |case: &Case| {
        let [x, _] = case.tensors(DType::F32, &device);
        floats(rms_norm(x, case.gamma(DType::F32, &device), EPSILON))
    };
    let expected = norm(&case);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        case.x[2 * 33 + 7] = bad;
        let y = norm(&case);
        assert!(!y[2 * 33 + 7].is_finite(), "{bad}: got {}", y[2 * 33 + 7]);
        assert_equal(&y[..66], &expected[..66], "rows before");
        assert_equal(&y[99..], &expected[99..], "rows after");
    }
}

#[test]
fn an_empty_input_has_an_empty_output() {
    let device = Device::default();
    for shape in [[0, 4], [3, 0]] {
        let gamma = Tensor::ones([shape[1]], &device);
        let y = rms_norm(Tensor::<2>::zeros(shape, &device), gamma, EPSILON);
        assert_eq!(y.dims(), shape);
        assert!(floats(y).is_empty());
    }
}

#[test]
#[should_panic(expected = "assert_shape!(x, [.., n]): axis 1 expected 12, got 4")]
fn a_gamma_of_another_length_is_refused() {
    let device = Device::default();
    let x = Tensor::<2>::zeros([3, 4], &device);
    rms_norm(x, Tensor::ones([12], &device), EPSILON);
}

#[test]
fn another_type_is_refused() {
    assert_refuses_f64("rms_norm", |options| {
        let x = Tensor::<2>::zeros([3, 4], options);
        rms_norm(x, Tensor::ones([4], options), EPSILON);
    });
}
