use burn::{
    backend::{Dispatch, FloatDType},
    tensor::{DType, Int, Tensor},
};

use super::operand::assert_float;
use crate::ops::{AbsmaxCodes, QatOps, QuantRange, packing::code_words_per_row};

/// Quantizes activations symmetrically to codes of one byte: returns
/// `clamp(round(x * s), -2^(bits-1), 2^(bits-1) - 1)` and the inverse scales
/// `s = (2^(bits-1) - 1) / max(max|x|, 1e-5)` of each row, those of
/// [`absmax_fake_quant`](super::absmax_fake_quant). No gradient.
///
/// # Shapes
///
/// - x: `[rows, n]`, f32, f16 or bf16
/// - codes: `[rows, 4 * ceil(n / 16)]`, u32: four to a word, in the layout of
///   [`code_words_per_row`](bitnet_burn_kernels::packing::code_words_per_row)
/// - inverse scales: `[rows, 1]`, f32
///
/// # Panics
///
/// If the type of `x` is none of the above, or `bits` is not in 2..=8.
///
/// # Example
///
/// ```
/// use bitnet_burn::functions::{absmax_dequantize, absmax_quantize};
/// use burn::tensor::{Device, FloatDType, Tensor};
///
/// let x = Tensor::<2>::from_floats([[127.0, 2.5, -64.0]], &Device::default());
/// let (codes, inverse_scales) = absmax_quantize(x, 8);
/// assert_eq!(codes.dims(), [1, 4]);
/// let x = absmax_dequantize(codes, inverse_scales, 3, FloatDType::F32);
/// assert_eq!(x.into_data().to_vec::<f32>().unwrap(), [127.0, 2.0, -64.0]);
/// ```
#[track_caller]
pub fn absmax_quantize(x: Tensor<2>, bits: u8) -> (Tensor<2, Int>, Tensor<2>) {
    assert_float("absmax_quantize", &x);
    let max_code = QuantRange::signed(bits).max;
    let [rows, n] = x.dims();
    if rows * n == 0 {
        let codes = Tensor::zeros([rows, code_words_per_row(n)], (&x.device(), DType::U32));
        return (codes, Tensor::ones([rows, 1], &x.device()));
    }
    let codes = Dispatch::absmax_quantize(x.into_dispatch(), max_code);
    (
        Tensor::from_dispatch(codes.words),
        Tensor::from_dispatch(codes.inverse_scales),
    )
}

/// Computes `code / s`, the inverse of [`absmax_quantize`]: the values of
/// [`absmax_fake_quant`](super::absmax_fake_quant).
///
/// # Shapes
///
/// - codes: `[rows, 4 * ceil(n / 16)]`, u32
/// - inverse scales: `[rows, 1]`, f32
/// - output: `[rows, n]` of type `dtype`
///
/// # Panics
///
/// If the shapes or types of codes and inverse scales do not fit `n`.
#[track_caller]
pub fn absmax_dequantize(
    codes: Tensor<2, Int>,
    inverse_scales: Tensor<2>,
    n: usize,
    dtype: FloatDType,
) -> Tensor<2> {
    let [rows, words] = codes.dims();
    assert!(
        words == code_words_per_row(n) && codes.dtype() == DType::U32,
        "codes of {n} values are {} words of u32, got {words} of {:?}",
        code_words_per_row(n),
        codes.dtype()
    );
    assert!(
        inverse_scales.dims() == [rows, 1] && inverse_scales.dtype() == DType::F32,
        "codes of {rows} rows have f32 scales of shape [{rows}, 1], got {:?} of {:?}",
        inverse_scales.dims(),
        inverse_scales.dtype()
    );
    if rows * n == 0 {
        return Tensor::zeros([rows, n], (&inverse_scales.device(), DType::from(dtype)));
    }
    let codes = AbsmaxCodes {
        words: codes.into_dispatch(),
        inverse_scales: inverse_scales.into_dispatch(),
        d_input: n,
    };
    Tensor::from_dispatch(Dispatch::absmax_dequantize(codes, dtype))
}
