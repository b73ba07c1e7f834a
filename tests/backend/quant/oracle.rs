//! Quantizers and packed codes against transformers' `WeightQuant`, `ActQuant` and `pack_weights`.

use bitnet_burn::functions::{
    Groups, absmax_fake_quant, ternary_fake_quant, ternary_pack, ternary_unpack,
};
use burn::tensor::{DType, Device, Tensor};

use crate::support::{
    oracle::{Case, Oracle, strided_bytes},
    values::*,
};

/// Returns the nearest codes `value / scale` of a quantized tensor.
fn codes(quantized: &[f32], scale: impl Fn(usize) -> f32) -> Vec<f32> {
    let code = |(i, &q): (usize, &f32)| (q as f64 / scale(i) as f64).round() as f32;
    quantized.iter().enumerate().map(code).collect()
}

/// Returns cases in the float types of the device.
fn supported<'a>(oracle: &'a Oracle, tensor: &str, device: &Device) -> Vec<Case<'a>> {
    let mut cases = oracle.cases();
    cases.retain(|case| computes_in(device, case.dtype(tensor)));
    assert!(cases.len() >= 9);
    cases
}

/// Error of one rounding to a float type, relative to the value.
fn rounding_of(dtype: DType) -> f64 {
    match dtype {
        DType::F32 => ROUNDING,
        DType::F16 => 2f64.powi(-11),
        DType::BF16 => 2f64.powi(-8),
        _ => unreachable!("no float type of the tests: {dtype:?}"),
    }
}

#[test]
fn ternary_weights_equal_transformers() {
    let device = Device::default();
    let oracle = Oracle::open("a_weight_quant");
    for case in supported(&oracle, "weight", &device) {
        let what = &case.name;
        let (values, dtype) = (case.floats("weight"), case.dtype("weight"));
        let n = values.len();
        let weight = tensor(&values, [n], dtype, &device);
        let (quantized, scales) = ternary_fake_quant(weight, Groups::per_tensor(n));
        let (quantized, gamma) = (floats(quantized), floats(scales)[0]);

        if what == "sum_overflow_3e38" {
            // The sum of PyTorch overflows, and transformers returns NaN; this crate returns the true mean.
            assert!(case.floats("out").iter().any(|v| !v.is_finite()));
            let mean = values.iter().map(|v| v.abs() as f64).sum::<f64>() / n as f64;
            assert_within(&[gamma], &[mean as f32], |_| 6.0 * ROUNDING * mean, what);
            assert!(quantized.iter().all(|v| v.is_finite()));
            continue;
        }

        // PyTorch and CubeCL sum in f32, in different orders: off by at most one rounding per addition, and
        // by one more for the quotient.
        let gamma_error = 2.0 * (n as f64 + 1.0) * ROUNDING;
        let expected_gamma = case.floats("absmean")[0].max(1e-5);
        let bound = |_| gamma_error * expected_gamma as f64;
        assert_within(
            &[gamma],
            &[expected_gamma],
            bound,
            &format!("{what}: gamma"),
        );

        // All codes, without exception: the cases with values on a tie have a mean that is exact in every
        // summation order, and the rounding of ties is the same.
        let ternary = codes(&quantized, |_| gamma);
        assert_equal(&ternary, &case.floats("ternary"), &format!("{what}: codes"));

        // transformers has code / (1 / gamma), two roundings more than code * gamma, and both
        // sides round to the type of the weight.
        let expected = case.floats("out");
        let relative = gamma_error + 3.0 * ROUNDING + 2.0 * rounding_of(dtype);
        let bound = |i: usize| relative * expected[i].abs() as f64;
        assert_within(&quantized, &expected, bound, what);
    }
}

#[test]
fn activations_equal_transformers() {
    let device = Device::default();
    let oracle = Oracle::open("b_act_quant");
    for case in supported(&oracle, "x", &device) {
        let what = &case.name;
        let (values, dtype) = (case.floats("x"), case.dtype("x"));
        let row_length = *case.shape("x").last().unwrap();
        let shape = [values.len() / row_length, row_length];
        let x = tensor(&values, shape, dtype, &device);
        let (quantized, scales) = absmax_fake_quant(x, Groups::per_row(&shape), 8);
        let (quantized, scales) = (floats(quantized), floats(scales));

        // PyTorch evaluates 127 / t as 127 * (1 / t): two roundings to our one.
        let expected_scales = case.floats("scale");
        let bound = |i: usize| 3.0 * ROUNDING * expected_scales[i] as f64;
        assert_within(&scales, &expected_scales, bound, &format!("{what}: scales"));

        // All codes, without exception.
        let q = codes(&quantized, |i| 1.0 / scales[i / row_length]);
        assert_equal(&q, &case.floats("q"), &format!("{what}: codes"));

        // The scale as above, one rounding of the quotient on either side, and one to the type.
        let expected = case.floats("out");
        let relative = 5.0 * ROUNDING + 2.0 * rounding_of(dtype);
        let bound = |i: usize| relative * expected[i].abs() as f64;
        assert_within(&quantized, &expected, bound, what);
    }
}

#[test]
fn gradients_equal_transformers() {
    let device = Device::default().autodiff();
    let files = [
        ("a_weight_quant", "weight", "grad_weight"),
        ("b_act_quant", "x", "grad_x"),
    ];
    for (file, input, grad) in files {
        let oracle = Oracle::open(file);
        for case in supported(&oracle, input, &device) {
            let n = case.floats(input).len();
            let dtype = case.dtype(input);
            let x = tensor(&case.floats(input), [1, n], dtype, &device).require_grad();
            let upstream = tensor(&case.floats("grad_output"), [1, n], dtype, &device);
            let quantized = match input {
                "x" => absmax_fake_quant(x.clone(), Groups::per_row(&[1, n]), 8).0,
                _ => ternary_fake_quant(x.clone(), Groups::per_tensor(n)).0,
            };
            let grads = (quantized * upstream).sum().backward();
            let actual = floats(x.grad(&grads).expect("a gradient"));
            assert_equal(&actual, &case.floats(grad), &case.name);
        }
    }
}

#[test]
fn codes_that_were_packed_here_are_the_bytes_of_transformers() {
    let device = Device::default();
    let oracle = Oracle::open("d_pack");
    let cases = oracle.cases();
    let with_codes: Vec<&Case> = cases.iter().filter(|case| case.has("ternary")).collect();
    assert_eq!(with_codes.len(), 14);
    for case in with_codes {
        let ternary = case.floats("ternary");
        let rows = case.shape("ternary")[0];
        let shape = [rows, ternary.len() / rows];
        let groups = Groups::per_tensor(ternary.len());
        let one = Tensor::<2>::ones([1, 1], &device);
        let weight = tensor(&ternary, shape, DType::F32, &device);
        let words = ternary_pack(weight, one.clone(), groups);
        let unpacked = ternary_unpack(words, one, groups, shape, DType::F32.into());
        let unpacked = floats(unpacked);
        assert_equal(&unpacked, &ternary, &case.name);

        let codes: Vec<i8> = unpacked.iter().map(|&code| code as i8).collect();
        let bytes = strided_bytes(&codes, rows);
        assert_equal(&bytes, &case.bytes("packed"), &case.name);
    }
}
