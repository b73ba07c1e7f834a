//! Launches of the CubeCL kernels of `bitnet-burn-kernels`.

mod allocation;
mod int8_matmul;

use bitnet_burn_kernels::{
    BLOCK, CodeRange, DynamicMap, GradientRule, Groups, Statistic, kernels,
    packing::code_words_per_row,
};
use burn::backend::{
    DType, FloatDType, Shape, TensorMetadata,
    cubecl::dtype_to_elem_type,
    tensor::{FloatTensor, IntTensor},
};
use burn_cubecl::{CubeBackend, kernel::into_contiguous};

use allocation::empty;
use int8_matmul::{Input, has_int8_matmul};

use super::{QatOps, TransformerOps, composed, packed_shape};

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
        let scales = empty(&x, Shape::new(groups.scale_shape()), DType::F32);
        kernels::absmax_fake_quant(
            &x.client,
            &x.handle,
            &output.handle,
            &scales.handle,
            groups,
            max_code,
            dtype_to_elem_type(x.dtype),
        );
        (output, scales)
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
        let weight = into_contiguous(weight);
        let scales = into_contiguous(scales);
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
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let packed = into_contiguous(packed);
        let scales = into_contiguous(scales);
        let row_length = shape[shape.num_dims() - 1];
        let output = empty(&packed, shape, dtype.into());
        kernels::ternary_unpack(
            &packed.client,
            &packed.handle,
            &scales.handle,
            &output.handle,
            groups,
            row_length,
            dtype_to_elem_type(output.dtype),
        );
        output
    }

    fn absmax_quantize(
        x: FloatTensor<Self>,
        max_code: f32,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let x = into_contiguous(x);
        let [tokens, d_input] = x.shape().dims();
        let words = Shape::new([tokens, code_words_per_row(d_input)]);
        let output = empty(&x, words, DType::U32);
        let scales = empty(&x, Shape::new([tokens, 1]), DType::F32);
        kernels::absmax_quantize(
            &x.client,
            &x.handle,
            &output.handle,
            &scales.handle,
            [tokens, d_input],
            max_code,
            dtype_to_elem_type(x.dtype),
        );
        (output, scales)
    }

    fn absmax_dequantize(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        d_input: usize,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let [codes, scales] = [codes, scales].map(into_contiguous);
        let tokens = codes.shape()[0];
        let output = empty(&codes, Shape::new([tokens, d_input]), dtype.into());
        kernels::absmax_dequantize(
            &codes.client,
            &codes.handle,
            &scales.handle,
            &output.handle,
            [tokens, d_input],
            dtype_to_elem_type(output.dtype),
        );
        output
    }

    fn ternary_linear(
        codes: IntTensor<Self>,
        code_scales: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
    ) -> FloatTensor<Self> {
        if has_int8_matmul(&weight.client) {
            let input = Input::new(&codes, &code_scales, &bias);
            if let Some(y) = int8_matmul::ternary_linear(&input, weight.clone(), groups) {
                return y;
            }
        }
        composed::ternary_linear::<Self>(codes, code_scales, weight, bias, groups)
    }

    fn packed_linear(
        codes: IntTensor<Self>,
        code_scales: FloatTensor<Self>,
        packed: IntTensor<Self>,
        weight_scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
        d_input: usize,
    ) -> FloatTensor<Self> {
        let ([tokens, _], [d_output, _]) = (codes.shape().dims(), packed.shape().dims());
        let per_row = groups.outer == d_output && groups.size == d_input;
        if tokens > SMALL_BATCH && has_int8_matmul(&codes.client) {
            let input = Input::new(&codes, &code_scales, &bias);
            let (packed, gamma) = (packed.clone(), weight_scales.clone());
            if let Some(y) = int8_matmul::packed_linear(&input, packed, gamma, groups) {
                return y;
            }
        }
        if tokens > SMALL_BATCH || groups.inner != 1 || !(per_row || groups.outer == 1) {
            return composed::packed_linear::<Self>(
                codes,
                code_scales,
                packed,
                weight_scales,
                bias,
                groups,
                d_input,
            );
        }
        let [codes, code_scales] = [codes, code_scales].map(into_contiguous);
        let [packed, weight_scales] = [packed, weight_scales].map(into_contiguous);
        let output = empty(&codes, Shape::new([tokens, d_output]), bias.dtype);
        kernels::packed_product(
            &codes.client,
            &codes.handle,
            &code_scales.handle,
            &packed.handle,
            &weight_scales.handle,
            per_row,
            &output.handle,
            [tokens, d_input, d_output],
            dtype_to_elem_type(output.dtype),
        );
        composed::biased::<Self>(output, bias)
    }

    fn affine_fake_quant(
        x: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        zero_points: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
    ) -> FloatTensor<Self> {
        let [x, steps, zero_points] = [x, steps, zero_points].map(into_contiguous);
        let output = empty(&x, x.shape(), x.dtype);
        kernels::affine_fake_quant(
            &x.client,
            &x.handle,
            &steps.handle,
            &zero_points.handle,
            &output.handle,
            groups,
            codes,
            dtype_to_elem_type(x.dtype),
        );
        output
    }

    fn affine_gradient(
        x: FloatTensor<Self>,
        grads: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        zero_points: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
        rule: GradientRule,
    ) -> FloatTensor<Self> {
        let [x, grads] = [x, grads].map(into_contiguous);
        let [steps, zero_points] = [steps, zero_points].map(into_contiguous);
        let output = empty(&x, x.shape(), x.dtype);
        kernels::affine_gradient(
            &x.client,
            &x.handle,
            &grads.handle,
            &steps.handle,
            &zero_points.handle,
            &output.handle,
            groups,
            codes,
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

    fn blockwise_quantize(
        values: FloatTensor<Self>,
        map: DynamicMap,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let values = into_contiguous(values);
        let n = values.shape().num_elements();
        let codes = empty(&values, Shape::new([n.div_ceil(4)]), DType::U32);
        let absmax = empty(&values, Shape::new([n.div_ceil(BLOCK)]), DType::F32);
        kernels::blockwise_quantize(
            &values.client,
            &values.handle,
            &codes.handle,
            &absmax.handle,
            n,
            map,
        );
        (codes, absmax)
    }

    fn blockwise_dequantize(
        codes: IntTensor<Self>,
        absmax: FloatTensor<Self>,
        map: DynamicMap,
        n: usize,
    ) -> FloatTensor<Self> {
        let [codes, absmax] = [codes, absmax].map(into_contiguous);
        let values = empty(&codes, Shape::new([n]), DType::F32);
        kernels::blockwise_dequantize(
            &codes.client,
            &codes.handle,
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
