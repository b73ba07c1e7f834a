//! Fused linear layer: the interface of tensors to [`ternary_gemm`].

use bitnet_burn_kernels::{Groups, packing::code_words_per_row};
use burn::backend::{
    Flex, FloatDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use super::{
    fake_quant::statistics,
    quantizer::Ternary,
    ternary_gemm::{self, Output, Panels, Rows, packed_product},
    values::{from_values, tensor, with_values},
};
use crate::ops::composed;

pub(super) fn absmax_quantize(
    x: FloatTensor<Flex>,
    max_code: f32,
) -> (IntTensor<Flex>, FloatTensor<Flex>) {
    let [tokens, d_input] = x.shape().dims();
    let (words, scales) = with_values(&x, |x| ternary_gemm::quantize(x, d_input, max_code));
    let shape = Shape::new([tokens, code_words_per_row(d_input)]);
    (
        tensor(words, shape),
        tensor(scales, Shape::new([tokens, 1])),
    )
}

pub(super) fn absmax_dequantize(
    codes: IntTensor<Flex>,
    scales: FloatTensor<Flex>,
    d_input: usize,
    dtype: FloatDType,
) -> FloatTensor<Flex> {
    let codes = codes.to_contiguous();
    let tokens = codes.shape()[0];
    let values = with_values(&scales, |scales| {
        ternary_gemm::dequantize(codes.storage::<u32>(), scales, d_input)
    });
    from_values(values, Shape::new([tokens, d_input]), dtype.into())
}

/// Calls `product` with the rows of codes and the data for writing outputs.
fn with_rows(
    codes: IntTensor<Flex>,
    code_scales: &FloatTensor<Flex>,
    weight_scales: &[f32],
    bias: &FloatTensor<Flex>,
    d_input: usize,
    product: impl FnOnce(Rows<'_>, Output<'_>) -> Vec<f32>,
) -> Vec<f32> {
    let codes = codes.to_contiguous();
    let rows = Rows::new(codes.storage::<u32>(), d_input);
    with_values(code_scales, |scales| {
        let steps: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
        with_values(bias, |bias| {
            let output = Output {
                steps: &steps,
                weight_scales,
                bias,
            };
            product(rows, output)
        })
    })
}

pub(super) fn ternary_linear(
    codes: IntTensor<Flex>,
    code_scales: FloatTensor<Flex>,
    weight: FloatTensor<Flex>,
    bias: FloatTensor<Flex>,
    groups: Groups,
) -> FloatTensor<Flex> {
    let [d_input, d_output] = weight.shape().dims();
    if groups.outer != 1 || (groups.inner != 1 && groups.inner != d_output) {
        return composed::ternary_linear::<Flex>(codes, code_scales, weight, bias, groups);
    }
    let (tokens, dtype) = (codes.shape()[0], bias.dtype());
    let values = with_values(&weight, |weight| {
        let scales = statistics::<Ternary>(weight, groups);
        let panels = Panels::from_latent(weight, d_output, &scales);
        with_rows(
            codes,
            &code_scales,
            &scales,
            &bias,
            d_input,
            |rows, output| panels.product(rows, output),
        )
    });
    from_values(values, Shape::new([tokens, d_output]), dtype)
}

/// A packed weight `[d_output, d_input]`.
pub(super) struct PackedRows {
    pub words: IntTensor<Flex>,
    pub scales: FloatTensor<Flex>,
    pub groups: Groups,
    pub d_input: usize,
}

pub(super) fn packed_linear(
    codes: IntTensor<Flex>,
    code_scales: FloatTensor<Flex>,
    weight: PackedRows,
    bias: FloatTensor<Flex>,
) -> FloatTensor<Flex> {
    let PackedRows {
        words,
        scales,
        groups,
        d_input,
    } = weight;
    let d_output = words.shape()[0];
    if groups.inner != 1 || (groups.outer != 1 && groups.outer != d_output) {
        return composed::packed_linear::<Flex>(
            codes,
            code_scales,
            words,
            scales,
            bias,
            groups,
            d_input,
        );
    }
    let tokens = codes.shape()[0];
    let words = words.to_contiguous();
    let values = with_values(&scales, |scales| {
        with_rows(
            codes,
            &code_scales,
            scales,
            &bias,
            d_input,
            |rows, output| packed_product(words.storage::<u32>(), d_output, rows, output),
        )
    });
    from_values(values, Shape::new([tokens, d_output]), bias.dtype())
}
