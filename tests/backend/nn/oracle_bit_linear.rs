//! [`BitLinear`] against transformers' `AutoBitLinear` and `BitLinear`, and against torchao.

use bitnet_burn::nn::{BitLinear, BitLinearConfig};
use burn::{
    module::Param,
    tensor::{DType, Device, Tensor},
};

use crate::support::{
    oracle::{Case, Oracle},
    values::*,
};

/// Creates a layer with the weights of a case, transposed from `[out, in]` as in file readers.
fn layer(case: &Case, device: &Device) -> BitLinear {
    let shape = case.shape("weight");
    let (d_output, d_input) = (shape[0], shape[1]);
    let weight = case.floats("weight");
    let position = |i: usize| i % d_output * d_input + i / d_output;
    let weight: Vec<f32> = (0..weight.len()).map(|i| weight[position(i)]).collect();
    let weight = tensor(&weight, [d_input, d_output], DType::F32, device);
    let epsilon = case.has("rms_weight").then(|| case.number("rms_norm_eps"));
    let mut layer = BitLinearConfig::new(d_input, d_output)
        .with_bias(case.has("bias"))
        .with_rms_norm_epsilon(epsilon)
        .init(device);
    layer.weight = Param::from_tensor(weight);
    if let Some(bias) = &mut layer.bias {
        *bias = Param::from_tensor(case.tensor("bias", device));
    }
    if let Some(norm) = &mut layer.rms_norm {
        norm.gamma = Param::from_tensor(case.tensor("rms_weight", device));
    }
    layer
}

/// Returns the input as tokens `[n, d_input]`: the layers process each token independently.
fn tokens(case: &Case, name: &str, device: &Device) -> Tensor<2> {
    let columns = *case.shape(name).last().unwrap();
    let values = case.floats(name);
    let shape = [values.len() / columns, columns];
    tensor(&values, shape, DType::F32, device)
}

/// Matrix of magnitudes, in `f64`, row-major, and its number of columns.
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

    /// Sums of the term magnitudes of each dot product; rounding errors are relative to them.
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

/// Roundings by which the dot products of `terms` products may differ: one per addition and product on
/// either side, and those of the factors.
fn roundings(terms: usize, factors: f64) -> f64 {
    2.0 * (terms as f64 + 1.0) + factors
}

/// Returns the largest magnitude.
fn largest(values: Vec<f32>) -> f64 {
    values.iter().fold(0f32, |m, v| m.max(v.abs())) as f64
}

/// Roundings by which the quantized weight and input may differ, each relative to itself, where the peer
/// has the scale `gamma`.
fn of_factors(layer: &BitLinear, gamma: f64) -> f64 {
    // Both sides sum in f32, in different orders: the difference of their scales is measured here; it is
    // at most one rounding per addition on either side.
    let weight = layer.weight.val();
    let ours = largest(floats(layer.quantized_weight()));
    let apart = (ours / gamma - 1.0).abs() / ROUNDING;
    let additions = weight.shape().num_elements() as f64 + 2.0;
    assert!(
        apart <= 2.0 * additions,
        "scales are {apart} roundings apart"
    );
    // code / (1 / gamma) instead of code * gamma: 3. Scale and quotient of the input: 5. The norm:
    // half of those of its sum of squares on either side, root, quotient and product.
    let d_input = weight.dims()[0] as f64;
    let norm = layer.rms_norm.as_ref().map_or(0.0, |_| d_input + 8.0);
    apart + 3.0 + 5.0 + norm
}

#[test]
fn forward_and_gradients_equal_transformers() {
    let device = Device::default().autodiff();
    for case in Oracle::open("c_bitlinear").cases() {
        // Burn's product of a column with a row, the weight gradient of one token, does not launch
        // on CubeCL's CPU runtime: "Shared memory budget exceeded: kernel requests 66560 bytes,
        // hardware allows 32768 bytes per cube".
        if on_cubecl_cpu() && case.name == "one_token" {
            println!("{}: left out, Burn cannot multiply it here", case.name);
            continue;
        }
        let what = |part: &str| format!("{}: {part}", case.name);
        let layer = layer(&case, &device);
        let x = tokens(&case, "x", &device).require_grad();
        let y = layer.forward(x.clone());
        let upstream = tokens(&case, "grad_output", &device);
        let grads = (y.clone() * upstream).sum().backward();

        let (w, x_q) = (
            Magnitudes::of(&case, "weight_q"),
            Magnitudes::of(&case, "x_q"),
        );
        let g = Magnitudes::of(&case, "grad_output");
        let factors = of_factors(&layer, largest(case.floats("weight_q")));
        let bound = |magnitudes: &Magnitudes, terms: usize| {
            let roundings = roundings(terms, factors) * ROUNDING;
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

        // The gradient of the quantized input, before the norm if there is one.
        let mut terms = g.times(&w);
        let mut additions = w.rows();
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

            additions += d;
            // (gamma d_norm - x_hat mean(x_hat gamma d_norm)) / rms, with x_hat = x / rms.
            for (r, &inverse) in inverse.iter().enumerate() {
                let scaled = |c: usize| terms.at(r, c) * gamma[c].abs() as f64;
                let hat = |c: usize| x.at(r, c) * inverse;
                let mean = (0..d).map(|c| hat(c) * scaled(c)).sum::<f64>() / d as f64;
                let row: Vec<f64> = (0..d)
                    .map(|c| inverse * (scaled(c) + hat(c) * mean))
                    .collect();
                terms.0[r * d..][..d].copy_from_slice(&row);
            }
        }
        let dx = x.grad(&grads).expect("a gradient");
        let limit = bound(&terms, additions);
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

/// Error bound where each value is a sum of `terms` products and a bias, with the given total magnitude.
fn uniform_bound(layer: &BitLinear, terms: usize, magnitude: f64) -> impl Fn(usize) -> f64 {
    let oracle = Oracle::open("c2_bitlinear_offline");
    let gamma = oracle.case("autobitlinear_offline").floats("weight_scale");
    let factors = of_factors(layer, gamma[0] as f64);
    move |_| roundings(terms, factors) * ROUNDING * magnitude
}

#[test]
fn packed_inference_equals_both_conventions_of_transformers() {
    let device = Device::default();
    let oracle = Oracle::open("c2_bitlinear_offline");
    let online = oracle.case("autobitlinear_online_same_weights");
    let layer = layer(&online, &device);
    let x = tokens(&online, "x", &device);
    let outputs = [
        floats(layer.forward(x.clone())),
        floats(layer.pack().forward(x)),
    ];

    // 16 products of |w| <= 0.041 and |x| <= 3.5, and a bias |b| <= 3.1.
    let bound = uniform_bound(&layer, 16, 16.0 * 0.041 * 3.5 + 3.1);
    let divide = oracle.case("bitlinear_packed");
    // `AutoBitLinear` offline multiplies the output by weight_scale = mean|W|, including the bias: the
    // difference is the bias less the bias times the scale.
    let multiply = oracle.case("autobitlinear_offline");
    let (bias, scale) = (multiply.floats("bias"), multiply.floats("weight_scale")[0]);
    let without_bias = multiply.floats("y");
    let with_bias: Vec<f32> = (without_bias.iter().enumerate())
        .map(|(i, y)| y + bias[i % bias.len()] * (1.0 - scale))
        .collect();
    for y in &outputs {
        assert_within(y, &online.floats("y"), &bound, "online");
        // `BitLinear` divides by weight_scale = 1 / mean|W|.
        assert_within(y, &divide.floats("y"), &bound, "packed, dividing");
        assert_within(y, &with_bias, &bound, "offline, multiplying");
    }

    let quantized = layer.quantized_weight().transpose();
    let gamma = largest(floats(quantized.clone())) as f32;
    let codes: Vec<f32> = floats(quantized).iter().map(|v| v / gamma).collect();
    assert_equal(&codes, &multiply.floats("ternary"), "codes");
}

#[test]
fn forward_and_gradients_equal_torchao() {
    let device = Device::default().autodiff();
    let oracle = Oracle::open("c2_bitlinear_offline");
    let case = oracle.case("torchao_bitnet_training");
    let layer = layer(&case, &device);
    let x = tokens(&case, "x", &device).require_grad();
    let y = layer.forward(x.clone());
    let upstream = tokens(&case, "grad_output", &device);
    let grads = (y.clone() * upstream).sum().backward();

    // 16 inputs |x| <= 3.5, 12 outputs with gradients |g| <= 2.9, 10 tokens, |w| and |b| as above.
    let bound = uniform_bound(&layer, 16, 16.0 * 0.041 * 3.5 + 3.1);
    assert_within(&floats(y), &case.floats("y"), bound, "y");
    let dx = x.grad(&grads).unwrap();
    let bound = uniform_bound(&layer, 12, 12.0 * 2.9 * 0.041);
    assert_within(&floats(dx), &case.floats("grad_x"), bound, "dx");
    let dw = layer.weight.val().grad(&grads).unwrap().transpose();
    let bound = uniform_bound(&layer, 10, 10.0 * 2.9 * 3.5);
    assert_within(&floats(dw), &case.floats("grad_weight"), bound, "dW");
    let db = layer.bias.as_ref().unwrap().val().grad(&grads).unwrap();
    let bound = uniform_bound(&layer, 10, 10.0 * 2.9);
    assert_within(&floats(db), &case.floats("grad_bias"), bound, "db");
}
