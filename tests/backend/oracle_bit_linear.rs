//! [`BitLinear`] against transformers' `AutoBitLinear` and `BitLinear`, and against torchao.

use bitnet_burn::nn::{BitLinear, BitLinearConfig};
use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor},
};

use super::{
    oracle::{Case, Oracle},
    values::*,
};

/// A layer with the weights of a case, whose weight lies as `[out, in]`.
fn layer(case: &Case, weight: Tensor<2>, device: &Device) -> BitLinear {
    let [d_output, d_input] = weight.dims();
    let epsilon = case.has("rms_weight").then(|| case.number("rms_norm_eps"));
    let mut layer = BitLinearConfig::new(d_input, d_output)
        .with_bias(case.has("bias"))
        .with_rms_norm_epsilon(epsilon)
        .init(device);
    layer.weight = Param::from_tensor(weight.transpose());
    if let Some(bias) = &mut layer.bias {
        *bias = Param::from_tensor(case.tensor("bias", device));
    }
    if let Some(norm) = &mut layer.rms_norm {
        norm.gamma = Param::from_tensor(case.tensor("rms_weight", device));
    }
    layer
}

/// The input as tokens `[n, d_input]`: what the layers do to a token knows no other.
fn tokens(case: &Case, tensor: &str, device: &Device) -> Tensor<2> {
    let columns = *case.shape(tensor).last().unwrap();
    let values = case.floats(tensor);
    let shape = [values.len() / columns, columns];
    super::values::tensor(&values, shape, DType::F32, device)
}

/// The matrix of magnitudes, in `f64`, row-major, and its number of columns.
struct Magnitudes(Vec<f64>, usize);

impl Magnitudes {
    fn of(case: &Case, tensor: &str) -> Self {
        let values = case.floats(tensor);
        let columns = *case.shape(tensor).last().unwrap();
        Self(values.iter().map(|v| v.abs() as f64).collect(), columns)
    }

    fn at(&self, row: usize, column: usize) -> f64 {
        self.0[row * self.1 + column]
    }

    fn rows(&self) -> usize {
        self.0.len() / self.1
    }

    fn transposed(&self) -> Self {
        let (rows, columns) = (self.rows(), self.1);
        let position = |i: usize| self.at(i % rows, i / rows);
        Self((0..rows * columns).map(position).collect(), rows)
    }

    /// What the terms of each dot product add up to; rounding errors are a part of that.
    fn times(&self, other: &Self) -> Self {
        assert_eq!(self.1, other.rows());
        let dot = |i: usize| {
            let (row, column) = (i / other.1, i % other.1);
            (0..self.1)
                .map(|k| self.at(row, k) * other.at(k, column))
                .sum()
        };
        Self((0..self.rows() * other.1).map(dot).collect(), other.1)
    }
}

/// Roundings that a dot product of `terms` may be apart by: one per addition and product on either
/// side, and those of the quantised factors. A scale `gamma` is a mean of up to 6144 values, for
/// which both sides sum in f32 blocks: measured 2 roundings apart, 16 are granted. A norm costs 8.
fn roundings(terms: usize) -> f64 {
    2.0 * (terms as f64 + 1.0) + 16.0 + 8.0
}

#[test]
fn forward_and_gradients_equal_transformers() {
    let device = Device::default().autodiff();
    for case in Oracle::open("c_bitlinear").cases() {
        let what = |part: &str| format!("{}: {part}", case.name);
        let layer = layer(&case, case.tensor("weight", &device), &device);
        let x = tokens(&case, "x", &device).require_grad();
        let y = layer.forward(x.clone());
        let upstream = tokens(&case, "grad_output", &device);
        let grads = (y.clone() * upstream).sum().backward();

        let (w, x_q) = (
            Magnitudes::of(&case, "weight_q"),
            Magnitudes::of(&case, "x_q"),
        );
        let g = Magnitudes::of(&case, "grad_output");
        let bound = |magnitudes: &Magnitudes, terms: usize| {
            let roundings = roundings(terms) * ROUNDING;
            let magnitudes = magnitudes.0.clone();
            move |i: usize| roundings * magnitudes[i]
        };

        let mut terms = x_q.times(&w.transposed());
        if case.has("bias") {
            let bias = case.floats("bias");
            for (i, term) in terms.0.iter_mut().enumerate() {
                *term += bias[i % bias.len()].abs() as f64;
            }
        }
        let worst = assert_within(
            &floats(y),
            &case.floats("y"),
            bound(&terms, w.1),
            &what("y"),
        );
        println!("{}: y at {worst:.3} of the bound", case.name);

        let dw = layer
            .weight
            .val()
            .grad(&grads)
            .expect("a gradient")
            .transpose();
        let terms = g.transposed().times(&x_q);
        let limit = bound(&terms, g.rows());
        let worst = assert_within(&floats(dw), &case.floats("grad_weight"), limit, &what("dW"));
        println!("{}: dW at {worst:.3} of the bound", case.name);

        if let Some(bias) = &layer.bias {
            let db = bias.val().grad(&grads).expect("a gradient");
            let ones = Magnitudes(vec![1.0; g.rows()], g.rows());
            let limit = bound(&ones.times(&g), g.rows());
            assert_within(&floats(db), &case.floats("grad_bias"), limit, &what("db"));
        }

        // The gradient of the quantised input, in front of the norm if there is one.
        let mut terms = g.times(&w);
        if let Some(norm) = &layer.rms_norm {
            let gamma = case.floats("rms_weight");
            let inverse = inverse_rms(&case);
            let x = Magnitudes::of(&case, "x");
            let d = x.1;

            let dgamma = norm.gamma.val().grad(&grads).expect("a gradient");
            // sum over tokens of d_norm * x / rms.
            let of_gamma = |c: usize| {
                (0..x.rows())
                    .map(|r| terms.at(r, c) * x.at(r, c) * inverse[r])
                    .sum()
            };
            let limit = bound(
                &Magnitudes((0..d).map(of_gamma).collect(), d),
                w.rows() + x.rows(),
            );
            let expected = case.floats("grad_rms_weight");
            assert_within(&floats(dgamma), &expected, limit, &what("d rms_weight"));

            // (gamma d_norm - x_hat mean(x_hat gamma d_norm)) / rms, with x_hat = x / rms.
            for r in 0..x.rows() {
                let scaled = |c: usize| terms.at(r, c) * gamma[c].abs() as f64;
                let hat = |c: usize| x.at(r, c) * inverse[r];
                let mean = (0..d).map(|c| hat(c) * scaled(c)).sum::<f64>() / d as f64;
                let row: Vec<f64> = (0..d)
                    .map(|c| inverse[r] * (scaled(c) + hat(c) * mean))
                    .collect();
                terms.0[r * d..][..d].copy_from_slice(&row);
            }
        }
        let dx = x.grad(&grads).expect("a gradient");
        let limit = bound(&terms, w.rows() + w.1);
        let worst = assert_within(&floats(dx), &case.floats("grad_x"), limit, &what("dx"));
        println!("{}: dx at {worst:.3} of the bound", case.name);
    }
}

/// `1 / sqrt(mean(x^2) + epsilon)` of each token.
fn inverse_rms(case: &Case) -> Vec<f64> {
    let d = *case.shape("x").last().unwrap();
    let rms = |token: &[f32]| {
        let squares: f64 = token.iter().map(|&v| v as f64 * v as f64).sum();
        (squares / d as f64 + case.number("rms_norm_eps")).sqrt()
    };
    case.floats("x")
        .chunks(d)
        .map(|token| 1.0 / rms(token))
        .collect()
}

/// The output of a layer and of its packed form, and the largest value of an output term by term.
fn outputs(layer: &BitLinear, x: Tensor<2>) -> [Vec<f32>; 2] {
    let layer = layer.valid();
    let packed = layer.pack();
    [floats(layer.forward(x.clone())), floats(packed.forward(x))]
}

/// All cases of this file have 16 input features, weights of at most 0.4 in magnitude after
/// quantisation and inputs below 4.
fn small_bound(_: usize) -> f64 {
    16.0 * 0.4 * 4.0 * roundings(16) * ROUNDING
}

#[test]
fn packed_inference_equals_both_conventions_of_transformers() {
    let device = Device::default();
    let oracle = Oracle::open("c2_bitlinear_offline");
    let online = oracle.case("autobitlinear_online_same_weights");
    let bit_linear = layer(&online, online.tensor("weight", &device), &device);
    let x = tokens(&online, "x", &device);
    let outputs = outputs(&bit_linear, x);
    for y in &outputs {
        assert_within(y, &online.floats("y"), small_bound, "online");
    }

    // `BitLinear` divides by weight_scale = 1 / mean|W|.
    let divide = oracle.case("bitlinear_packed");
    for y in &outputs {
        assert_within(y, &divide.floats("y"), small_bound, "packed, dividing");
    }

    // `AutoBitLinear` offline multiplies by weight_scale = mean|W|, and the bias with it: ours
    // has that output plus the bias, less the bias times the scale.
    let multiply = oracle.case("autobitlinear_offline");
    let (bias, scale) = (multiply.floats("bias"), multiply.floats("weight_scale")[0]);
    let expected: Vec<f32> = multiply.floats("y");
    let expected: Vec<f32> = (expected.iter().enumerate())
        .map(|(i, y)| y + bias[i % bias.len()] * (1.0 - scale))
        .collect();
    for y in &outputs {
        assert_within(y, &expected, small_bound, "offline, multiplying");
    }

    // The codes of that checkpoint as latent weights have another mean; times their scale over
    // that mean they are the weights of the checkpoint.
    let codes = multiply.floats("ternary");
    let quantized = floats(bit_linear.quantized_weight().transpose());
    let gamma = quantized
        .iter()
        .fold(0f32, |largest, v| largest.max(v.abs()));
    assert_within(&[gamma], &[scale], |_| 200.0 * ROUNDING, "gamma");
    let ours: Vec<f32> = quantized.iter().map(|v| v / gamma).collect();
    assert_equal(&ours, &codes, "codes");
}

#[test]
fn forward_and_gradients_equal_torchao() {
    let device = Device::default().autodiff();
    let oracle = Oracle::open("c2_bitlinear_offline");
    let case = oracle.case("torchao_bitnet_training");
    let layer = layer(&case, case.tensor("weight", &device), &device);
    let x = tokens(&case, "x", &device).require_grad();
    let y = layer.forward(x.clone());
    let grads = (y.clone() * tokens(&case, "grad_output", &device))
        .sum()
        .backward();
    assert_within(&floats(y), &case.floats("y"), small_bound, "y");
    let dx = x.grad(&grads).unwrap();
    assert_within(&floats(dx), &case.floats("grad_x"), small_bound, "dx");
    let dw = layer.weight.val().grad(&grads).unwrap().transpose();
    assert_within(&floats(dw), &case.floats("grad_weight"), small_bound, "dW");
    let db = layer.bias.as_ref().unwrap().val().grad(&grads).unwrap();
    assert_within(&floats(db), &case.floats("grad_bias"), small_bound, "db");
}
