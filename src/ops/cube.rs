//! Launches of the CubeCL kernels of `bitnet-burn-kernels`.

mod allocation;
mod four_bit;
mod int8_matmul;

use bitnet_burn_kernels::{
    BLOCK, DynamicMap, GradientRule, Groups, Statistic, kernels, packing::code_words_per_row,
};
use burn::backend::{
    DType, FloatDType, Shape, TensorMetadata,
    cubecl::dtype_to_elem_type,
    tensor::{FloatTensor, IntTensor},
};
use burn_cubecl::{CubeBackend, kernel::into_contiguous};

use allocation::empty;
use int8_matmul::{Input, has_int8_matmul};

use super::{
    AbsmaxCodes, AdapterOps, AffineLevels, BlockwiseCodes, CrossEntropyOps, PackedTernary, QatOps,
    TransformerOps, composed, packed_shape,
};

/// Number of tokens up to which weights are multiplied in packed form. Above it, it is faster to unpack
/// them once for a matrix product, which uses tensor cores if the device has them.
const SMALL_BATCH: usize = 16;

impl QatOps for CubeBackend {
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let weight = into_contiguous(weight);
        let output = empty(&weight, weight.shape(), weight.dtype);
        let scales = empty(&weight, Shape::new(groups.scale_shape()), DType::F32);
        kernels::ternary_fake_quant(
            &weight.client,
            &weight.handle,
            &output.handle,
            &scales.handle,
            groups,
            dtype_to_elem_type(weight.dtype),
        );
        (output, scales)
    }

    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let x = into_contiguous(x);
        let output = empty(&x, x.shape(), x.dtype);
        let inverse_scales = empty(&x, Shape::new(groups.scale_shape()), DType::F32);
        kernels::absmax_fake_quant(
            &x.client,
            &x.handle,
            &output.handle,
            &inverse_scales.handle,
            groups,
            max_code,
            dtype_to_elem_type(x.dtype),
        );
        (output, inverse_scales)
    }

    fn group_statistic(
        values: FloatTensor<Self>,
        groups: Groups,
        statistic: Statistic,
    ) -> FloatTensor<Self> {
        let values = into_contiguous(values);
        let output = empty(&values, Shape::new(groups.scale_shape()), DType::F32);
        kernels::group_statistic(
            &values.client,
            &values.handle,
            &output.handle,
            groups,
            statistic,
            dtype_to_elem_type(values.dtype),
        );
        output
    }

    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        let [weight, scales] = [weight, scales].map(into_contiguous);
        let shape = weight.shape();
        let output = empty(&weight, packed_shape(&shape), DType::U32);
        kernels::ternary_pack(
            &weight.client,
            &weight.handle,
            &scales.handle,
            &output.handle,
            groups,
            shape[shape.num_dims() - 1],
            dtype_to_elem_type(weight.dtype),
        );
        output
    }

    fn ternary_unpack(
        packed: PackedTernary<Self>,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let [words, scales] = [packed.words, packed.scales].map(into_contiguous);
        let row_length = shape[shape.num_dims() - 1];
        let output = empty(&words, shape, dtype.into());
        kernels::ternary_unpack(
            &words.client,
            &words.handle,
            &scales.handle,
            &output.handle,
            packed.groups,
            row_length,
            dtype_to_elem_type(output.dtype),
        );
        output
    }

    fn absmax_quantize(x: FloatTensor<Self>, max_code: f32) -> AbsmaxCodes<Self> {
        let x = into_contiguous(x);
        let [tokens, d_input] = x.shape().dims();
        let shape = Shape::new([tokens, code_words_per_row(d_input)]);
        let words = empty(&x, shape, DType::U32);
        let inverse_scales = empty(&x, Shape::new([tokens, 1]), DType::F32);
        kernels::absmax_quantize(
            &x.client,
            &x.handle,
            &words.handle,
            &inverse_scales.handle,
            [tokens, d_input],
            max_code,
            dtype_to_elem_type(x.dtype),
        );
        AbsmaxCodes {
            words,
            inverse_scales,
            d_input,
        }
    }

    fn absmax_dequantize(codes: AbsmaxCodes<Self>, dtype: FloatDType) -> FloatTensor<Self> {
        let [words, inverse_scales] = [codes.words, codes.inverse_scales].map(into_contiguous);
        let shape = [words.shape()[0], codes.d_input];
        let output = empty(&words, Shape::new(shape), dtype.into());
        kernels::absmax_dequantize(
            &words.client,
            &words.handle,
            &inverse_scales.handle,
            &output.handle,
            shape,
            dtype_to_elem_type(output.dtype),
        );
        output
    }

    fn ternary_linear(
        x: AbsmaxCodes<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
    ) -> FloatTensor<Self> {
        if has_int8_matmul(&weight.client) {
            let input = Input::new(&x, &bias);
            if let Some(y) = int8_matmul::ternary_linear(&input, weight.clone(), groups) {
                return y;
            }
        }
        composed::ternary_linear::<Self>(x, weight, bias, groups)
    }

    fn packed_linear(
        x: AbsmaxCodes<Self>,
        weight: PackedTernary<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let (tokens, d_output) = (x.words.shape()[0], weight.words.shape()[0]);
        if tokens > SMALL_BATCH && has_int8_matmul(&x.words.client) {
            let input = Input::new(&x, &bias);
            if let Some(y) = int8_matmul::packed_linear(&input, weight.clone()) {
                return y;
            }
        }
        let Groups { outer, size, inner } = weight.groups;
        let per_row = outer == d_output && size == x.d_input;
        if tokens > SMALL_BATCH || inner != 1 || !(per_row || outer == 1) {
            return composed::packed_linear::<Self>(x, weight, bias);
        }
        let [codes, inverse_scales] = [x.words, x.inverse_scales].map(into_contiguous);
        let [packed, weight_scales] = [weight.words, weight.scales].map(into_contiguous);
        let output = empty(&codes, Shape::new([tokens, d_output]), bias.dtype);
        kernels::packed_product(
            &codes.client,
            &codes.handle,
            &inverse_scales.handle,
            &packed.handle,
            &weight_scales.handle,
            per_row,
            &output.handle,
            [tokens, x.d_input, d_output],
            dtype_to_elem_type(output.dtype),
        );
        composed::biased::<Self>(output, bias)
    }

    fn affine_fake_quant(x: FloatTensor<Self>, levels: AffineLevels<Self>) -> FloatTensor<Self> {
        let [x, scales, zero_points] = [x, levels.scales, levels.zero_points].map(into_contiguous);
        let output = empty(&x, x.shape(), x.dtype);
        kernels::affine_fake_quant(
            &x.client,
            &x.handle,
            &scales.handle,
            &zero_points.handle,
            &output.handle,
            levels.groups,
            levels.codes,
            dtype_to_elem_type(x.dtype),
        );
        output
    }

    fn affine_gradient(
        x: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        levels: AffineLevels<Self>,
        rule: GradientRule,
    ) -> FloatTensor<Self> {
        let [x, grads] = [x, grads].map(into_contiguous);
        let [scales, zero_points] = [levels.scales, levels.zero_points].map(into_contiguous);
        let output = empty(&x, x.shape(), x.dtype);
        kernels::affine_gradient(
            &x.client,
            &x.handle,
            &grads.handle,
            &scales.handle,
            &zero_points.handle,
            &output.handle,
            levels.groups,
            levels.codes,
            rule,
            dtype_to_elem_type(x.dtype),
        );
        output
    }

    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        let x = into_contiguous(x);
        let output = empty(&x, x.shape(), x.dtype);
        kernels::hadamard_transform(
            &x.client,
            &x.handle,
            &output.handle,
            x.shape().num_elements(),
            block,
            dtype_to_elem_type(x.dtype),
        );
        output
    }

    fn blockwise_quantize(values: FloatTensor<Self>, map: DynamicMap) -> BlockwiseCodes<Self> {
        let values = into_contiguous(values);
        let n = values.shape().num_elements();
        let words = empty(&values, Shape::new([n.div_ceil(4)]), DType::U32);
        let absmax = empty(&values, Shape::new([n.div_ceil(BLOCK)]), DType::F32);
        kernels::blockwise_quantize(
            &values.client,
            &values.handle,
            &words.handle,
            &absmax.handle,
            n,
            map,
        );
        BlockwiseCodes { words, absmax }
    }

    fn blockwise_dequantize(
        codes: BlockwiseCodes<Self>,
        map: DynamicMap,
        n: usize,
    ) -> FloatTensor<Self> {
        let [words, absmax] = [codes.words, codes.absmax].map(into_contiguous);
        let values = empty(&words, Shape::new([n]), DType::F32);
        kernels::blockwise_dequantize(
            &words.client,
            &words.handle,
            &absmax.handle,
            &values.handle,
            n,
            map,
        );
        values
    }

    fn stochastic_round(values: FloatTensor<Self>, seed: u32) -> FloatTensor<Self> {
        let values = into_contiguous(values);
        let output = empty(&values, values.shape(), DType::BF16);
        let n = values.shape().num_elements();
        kernels::stochastic_round(&values.client, &values.handle, &output.handle, n, seed);
        output
    }
}

// Chains of Burn operations, which Fusion compiles into few kernels.
impl TransformerOps for CubeBackend {}

impl CrossEntropyOps for CubeBackend {}

impl AdapterOps for CubeBackend {}
