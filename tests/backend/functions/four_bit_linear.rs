//! Products with weights of 4 bits against sums in `f64`.

use bitnet_burn::{
    functions::{
        FourBitFormat, FourBitTensor, four_bit_dequantize, four_bit_linear, four_bit_quantize,
    },
    quant::FourBitType,
};
use burn::tensor::{DType, Device, Tensor};

use crate::support::{products::*, values::*};

const NF4: FourBitFormat = FourBitFormat {
    quant_type: FourBitType::Nf4,
    block_size: 64,
};

fn in_format(format: FourBitFormat, shape: [usize; 2], seed: u64) -> FourBitTensor<2> {
    let values = normal(shape[0] * shape[1], seed);
    let values = tensor(&values, shape, DType::F32, &Device::default());
    four_bit_quantize(values, format)
}

fn weight(shape: [usize; 2], seed: u64, double_quant: bool) -> FourBitTensor<2> {
    let quantized = in_format(NF4, shape, seed);
    match double_quant {
        true => quantized.double_quantized(),
        false => quantized,
    }
}

/// Checks the product of a weight. Returns the values of the weight.
fn check_product(tokens: usize, weight: &FourBitTensor<2>, dtype: DType) -> Vec<f32> {
    let [d_output, d_input] = weight.shape;
    let what = format!(
        "{tokens} tokens of {dtype:?}, {:?} {:?}",
        weight.shape, weight.format
    );
    let values = floats(four_bit_dequantize(weight, dtype.into()));
    let x = rounded(&normal(tokens * d_input, 2), dtype);
    let input = tensor(&x, [tokens, d_input], dtype, &Device::default());
    let y = four_bit_linear(input, weight, None);
    assert_eq!((y.dims(), y.dtype()), ([tokens, d_output], dtype));
    assert_products(&floats(y), &x, &values, d_input, dtype, &what);
    values
}

/// Checks the product of a weight and the gradient of its input.
fn check(tokens: usize, shape: [usize; 2], double_quant: bool, dtype: DType) {
    let device = Device::default();
    let [d_output, d_input] = shape;
    let what = format!("{tokens} tokens, {shape:?} {dtype:?} {double_quant}");
    let weight = weight(shape, 1, double_quant);
    let values = check_product(tokens, &weight, dtype);

    let input = Tensor::<2>::ones([tokens, d_input], (&device, dtype));
    let input = Tensor::from_inner(input).require_grad();
    let y = four_bit_linear(input.clone(), &weight, None);
    let grads = rounded(&normal(tokens * d_output, 3), dtype);
    let of_y = Tensor::from_inner(tensor(&grads, [tokens, d_output], dtype, &device));
    let gradients = (y * of_y).sum().backward();
    let found = floats(input.grad(&gradients).expect("a gradient of the input"));
    let columns = transposed(&values, d_input);
    assert_products(&found, &grads, &columns, d_output, dtype, &what);
}

#[test]
fn products_and_gradients_are_within_rounding() {
    for (tokens, shape) in [
        (1, [1, 1]),
        (1, [33, 50]),
        (3, [7, 50]),
        (4, [48, 32]),
        (5, [3, 129]),
        (2, [130, 300]),
    ] {
        for double_quant in [false, true] {
            for dtype in float_types(&Device::default()) {
                check(tokens, shape, double_quant, dtype);
            }
        }
    }
}

#[test]
fn products_of_few_tokens_are_within_rounding_for_every_type_and_block() {
    // Rows of whole words, one block or several, across whose ends rows lie or not.
    for (tokens, shape, block_size) in [
        (1, [1, 8], 32),
        (1, [6, 40], 32),
        (2, [3, 64], 64),
        (5, [9, 136], 256),
        (16, [4, 1032], 4096),
        (17, [7, 40], 64),
    ] {
        for quant_type in [FourBitType::Nf4, FourBitType::Fp4] {
            let format = FourBitFormat {
                quant_type,
                block_size,
            };
            let weight = in_format(format, shape, 1);
            for dtype in float_types(&Device::default()) {
                check_product(tokens, &weight, dtype);
            }
            check_product(tokens, &weight.double_quantized(), DType::F32);
        }
    }
}

#[test]
fn a_large_weight_in_parts_that_blocks_cross_equals_the_sums() {
    // More rows than are dequantized at a time, each of an odd number of values.
    check(2, [1100, 1001], true, DType::F32);
}

#[test]
fn the_shape_of_the_input_is_kept_and_the_bias_added_and_learned() {
    let device = Device::default().autodiff();
    let weight = weight([6, 10], 1, false);
    let x = tensor(&normal(60, 2), [2, 3, 10], DType::F32, &device);
    let bias = tensor(&normal(6, 3), [6], DType::F32, &device).require_grad();
    let y = four_bit_linear(x.clone(), &weight, Some(bias.clone()));
    assert_eq!(y.dims(), [2, 3, 6]);
    let without = four_bit_linear(x, &weight, None);
    let expected = floats(without + bias.clone().unsqueeze());
    assert_equal(&floats(y.clone()), &expected, "with a bias");
    let grads = y.sum().backward();
    let of_bias = floats(bias.grad(&grads).unwrap());
    assert_equal(&of_bias, &[6.0; 6], "gradient of the bias");
}

#[test]
fn nothing_times_a_weight_is_the_bias() {
    let device = Device::default();
    let bias = || tensor(&[1.0, 2.0], [2], DType::F32, &device);
    let no_tokens = Tensor::<2>::zeros([0, 10], &device);
    let y = four_bit_linear(no_tokens, &weight([2, 10], 1, true), Some(bias()));
    assert_eq!(y.dims(), [0, 2]);
    let no_features = Tensor::<2>::zeros([3, 0], &device);
    let y = four_bit_linear(no_features, &weight([2, 0], 1, true), Some(bias()));
    assert_equal(&floats(y), &[1.0, 2.0, 1.0, 2.0, 1.0, 2.0], "the bias");
    let x = Tensor::<2>::zeros([3, 10], &device);
    let y = four_bit_linear(x, &weight([0, 10], 1, false), None);
    assert_eq!(y.dims(), [3, 0]);
}

#[test]
fn a_value_that_is_no_number_stays_in_its_rows_and_tokens() {
    let device = Device::default();
    let mut values = normal(4 * 64, 1);
    values[64] = f32::NAN;
    let values = tensor(&values, [4, 64], DType::F32, &device);
    let weight = four_bit_quantize(values, NF4);
    let mut x = normal(3 * 64, 2);
    x[2 * 64] = f32::INFINITY;
    let x = tensor(&x, [3, 64], DType::F32, &device);
    let y = floats(four_bit_linear(x, &weight, None));
    let finite: Vec<bool> = y.iter().map(|v| v.is_finite()).collect();
    let expected: Vec<bool> = (0..12).map(|i| i % 4 != 1 && i < 8).collect();
    assert_eq!(finite, expected);
}

#[test]
#[should_panic(expected = "the weight of 4 bits takes 10 features, got x of shape [3, 9]")]
fn an_input_of_another_width_is_refused() {
    let x = Tensor::<2>::zeros([3, 9], &Device::default());
    four_bit_linear(x, &weight([2, 10], 1, false), None);
}
