//! Loops over slices for the Flex backend.

mod adamw;
mod adapter;
mod affine;
mod attention;
mod blockwise;
mod columns;
mod cross_entropy;
mod disjoint;
mod fake_quant;
mod four_bit;
mod gated_activation;
mod hadamard;
mod half_precision;
mod matrix;
mod packing;
mod quantizer;
mod rms_norm;
mod rotate;
mod row_panels;
mod slices;
mod stochastic_round;
mod ternary_gemm;
mod transformer;
mod values;

use bitnet_burn_kernels::{
    DynamicMap, GradientRule, Groups, Statistic,
    packing::{code_words_per_row, words_per_row},
};
use burn::backend::{
    Flex, FloatDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use affine::Levels;
use quantizer::{Absmax, Ternary};
use ternary_gemm::{Output, Panels, Rows, packed_product};
use values::{Values, from_values, from_values_like, per_group, tensor};

use super::{
    AbsmaxCodes, AdamWStep, AffineLevels, BlockwiseCodes, FusedAdamWStep, PackedTernary, QatOps,
    composed, packed_shape,
};

impl QatOps for Flex {
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (values, scales) = fake_quant::fake_quant(&Values::of(&weight), groups, Ternary);
        (from_values_like(values, &weight), per_group(scales, groups))
    }

    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let quantizer = Absmax { max_code };
        let (values, inverse_scales) = fake_quant::fake_quant(&Values::of(&x), groups, quantizer);
        (
            from_values_like(values, &x),
            per_group(inverse_scales, groups),
        )
    }

    fn group_statistic(
        values: FloatTensor<Self>,
        groups: Groups,
        statistic: Statistic,
    ) -> FloatTensor<Self> {
        let values = Values::of(&values);
        let statistics = match statistic {
            Statistic::AbsMean => fake_quant::statistics::<Ternary>(&values, groups),
            Statistic::AbsMax => fake_quant::statistics::<Absmax>(&values, groups),
        };
        per_group(statistics, groups)
    }

    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        let shape = weight.shape();
        let row_length = shape[shape.num_dims() - 1];
        let (weight, scales) = (Values::of(&weight), Values::of(&scales));
        let words = packing::ternary_pack(&weight, &scales, groups, row_length);
        tensor(words, packed_shape(&shape))
    }

    fn ternary_unpack(
        packed: PackedTernary<Self>,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let row_length = shape[shape.num_dims() - 1];
        let rows = shape.num_elements() / row_length.max(1);
        let words = packed.words.to_contiguous();
        let words = &words.storage::<u32>()[..rows * words_per_row(row_length)];
        let scales = Values::of(&packed.scales);
        let values = packing::ternary_unpack(words, &scales, packed.groups, row_length);
        from_values(values, shape, dtype.into())
    }

    fn absmax_quantize(x: FloatTensor<Self>, max_code: f32) -> AbsmaxCodes<Self> {
        let [tokens, d_input] = x.shape().dims();
        let (words, inverse_scales) = ternary_gemm::quantize(&Values::of(&x), d_input, max_code);
        AbsmaxCodes {
            words: tensor(words, Shape::new([tokens, code_words_per_row(d_input)])),
            inverse_scales: tensor(inverse_scales, Shape::new([tokens, 1])),
            d_input,
        }
    }

    fn absmax_dequantize(codes: AbsmaxCodes<Self>, dtype: FloatDType) -> FloatTensor<Self> {
        let words = codes.words.to_contiguous();
        let shape = Shape::new([words.shape()[0], codes.d_input]);
        let inverse_scales = Values::of(&codes.inverse_scales);
        let words = words.storage::<u32>();
        let values = ternary_gemm::dequantize(words, &inverse_scales, codes.d_input);
        from_values(values, shape, dtype.into())
    }

    fn ternary_linear(
        x: AbsmaxCodes<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
    ) -> FloatTensor<Self> {
        let [_, d_output] = weight.shape().dims();
        if groups.outer != 1 || (groups.inner != 1 && groups.inner != d_output) {
            return composed::ternary_linear::<Self>(x, weight, bias, groups);
        }
        let weight = Values::of(&weight);
        let scales = fake_quant::statistics::<Ternary>(&weight, groups);
        let panels = Panels::from_latent(&weight, d_output, &scales);
        linear_output(&x, &scales, &bias, d_output, |rows, output| {
            panels.product(rows, output)
        })
    }

    fn packed_linear(
        x: AbsmaxCodes<Self>,
        weight: PackedTernary<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let d_output = weight.words.shape()[0];
        let Groups { outer, inner, .. } = weight.groups;
        if inner != 1 || (outer != 1 && outer != d_output) {
            return composed::packed_linear::<Self>(x, weight, bias);
        }
        let words = weight.words.to_contiguous();
        let scales = Values::of(&weight.scales);
        linear_output(&x, &scales, &bias, d_output, |rows, output| {
            packed_product(words.storage::<u32>(), d_output, rows, output)
        })
    }

    fn affine_fake_quant(x: FloatTensor<Self>, levels: AffineLevels<Self>) -> FloatTensor<Self> {
        let levels = Levels::of(&levels);
        from_values_like(levels.fake_quant(&Values::of(&x)), &x)
    }

    fn affine_gradient(
        x: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        levels: AffineLevels<Self>,
        rule: GradientRule,
    ) -> FloatTensor<Self> {
        let levels = Levels::of(&levels);
        let values = levels.gradient(&Values::of(&x), &Values::of(&grads), rule);
        from_values_like(values, &x)
    }

    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        from_values_like(hadamard::hadamard_transform(&Values::of(&x), block), &x)
    }

    fn blockwise_quantize(values: FloatTensor<Self>, map: DynamicMap) -> BlockwiseCodes<Self> {
        blockwise::blockwise_quantize(&Values::of(&values), map)
    }

    fn blockwise_dequantize(
        codes: BlockwiseCodes<Self>,
        map: DynamicMap,
        n: usize,
    ) -> FloatTensor<Self> {
        blockwise::blockwise_dequantize(codes, map, n)
    }

    fn adamw_8bit(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: BlockwiseCodes<Self>,
        moment_2: BlockwiseCodes<Self>,
        step: AdamWStep,
    ) -> (
        FloatTensor<Self>,
        BlockwiseCodes<Self>,
        BlockwiseCodes<Self>,
    ) {
        blockwise::adamw_8bit(param, grad, [moment_1, moment_2], step)
    }

    fn fused_adamw(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        moment_1: FloatTensor<Self>,
        moment_2: FloatTensor<Self>,
        step: FusedAdamWStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        adamw::fused_adamw(param, grad, [moment_1, moment_2], step)
    }

    fn stochastic_round(values: FloatTensor<Self>, seed: u32) -> FloatTensor<Self> {
        let rounded = stochastic_round::stochastic_round(&Values::of(&values), seed);
        tensor(rounded, values.shape())
    }
}

/// Returns the output `[tokens, d_output]` of a linear layer, whose values `product` computes from the rows of
/// codes.
fn linear_output(
    x: &AbsmaxCodes<Flex>,
    weight_scales: &[f32],
    bias: &FloatTensor<Flex>,
    d_output: usize,
    product: impl FnOnce(Rows<'_>, Output<'_>) -> Vec<f32>,
) -> FloatTensor<Flex> {
    let words = x.words.to_contiguous();
    let rows = Rows::new(words.storage::<u32>(), x.d_input);
    let scales: Vec<f32> = Values::of(&x.inverse_scales)
        .iter()
        .map(|inverse| 1.0 / inverse)
        .collect();
    let output = Output {
        scales: &scales,
        weight_scales,
        bias: &Values::of(bias),
    };
    let shape = Shape::new([words.shape()[0], d_output]);
    from_values(product(rows, output), shape, bias.dtype())
}
