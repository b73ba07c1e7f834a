//! Loops over slices for the Flex backend.

mod affine;
mod attention;
mod bit_linear;
mod blockwise;
mod columns;
mod disjoint;
mod fake_quant;
mod gated_activation;
mod hadamard;
mod half_precision;
mod matrix;
mod packing;
mod quantizer;
mod rms_norm;
mod rotate;
mod slices;
mod stochastic_round;
mod ternary_gemm;
mod transformer;
mod values;

use bitnet_burn_kernels::{
    CodeRange, DynamicMap, GradientRule, Groups, Statistic, packing::words_per_row,
};
use burn::backend::{
    Flex, FloatDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};

use affine::Steps;
use blockwise::Moment;
use quantizer::{Absmax, Ternary};
use values::{from_values, tensor, with_values};

use super::{AdamWStep, QatOps, packed_shape};

impl QatOps for Flex {
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (values, scales) = with_values(&weight, |w| fake_quant::fake_quant(w, groups, Ternary));
        (
            from_values(values, weight.shape(), weight.dtype()),
            tensor(scales, Shape::new(groups.scale_shape())),
        )
    }

    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let quantizer = Absmax { max_code };
        let (values, scales) = with_values(&x, |x| fake_quant::fake_quant(x, groups, quantizer));
        (
            from_values(values, x.shape(), x.dtype()),
            tensor(scales, Shape::new(groups.scale_shape())),
        )
    }

    fn group_statistic(
        values: FloatTensor<Self>,
        groups: Groups,
        statistic: Statistic,
    ) -> FloatTensor<Self> {
        let scales = with_values(&values, |values| match statistic {
            Statistic::AbsMean => fake_quant::statistics::<Ternary>(values, groups),
            Statistic::AbsMax => fake_quant::statistics::<Absmax>(values, groups),
        });
        tensor(scales, Shape::new(groups.scale_shape()))
    }

    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        let shape = weight.shape();
        let row_length = shape[shape.num_dims() - 1];
        let words = with_values(&weight, |weight| {
            with_values(&scales, |scales| {
                packing::ternary_pack(weight, scales, groups, row_length)
            })
        });
        tensor(words, packed_shape(&shape))
    }

    fn ternary_unpack(
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let row_length = shape[shape.num_dims() - 1];
        let packed = packed.to_contiguous();
        let rows = shape.num_elements() / row_length.max(1);
        let words = &packed.storage::<u32>()[..rows * words_per_row(row_length)];
        let values = with_values(&scales, |scales| {
            packing::ternary_unpack(words, scales, groups, row_length)
        });
        from_values(values, shape, dtype.into())
    }

    fn absmax_quantize(
        x: FloatTensor<Self>,
        max_code: f32,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        bit_linear::absmax_quantize(x, max_code)
    }

    fn absmax_dequantize(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        d_input: usize,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        bit_linear::absmax_dequantize(codes, scales, d_input, dtype)
    }

    fn ternary_linear(
        codes: IntTensor<Self>,
        code_scales: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
    ) -> FloatTensor<Self> {
        bit_linear::ternary_linear(codes, code_scales, weight, bias, groups)
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
        let weight = bit_linear::PackedRows {
            words: packed,
            scales: weight_scales,
            groups,
            d_input,
        };
        bit_linear::packed_linear(codes, code_scales, weight, bias)
    }

    fn affine_fake_quant(
        x: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        zero_points: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
    ) -> FloatTensor<Self> {
        let values = with_values(&x, |x| {
            with_values(&steps, |steps| {
                with_values(&zero_points, |zero_points| {
                    affine::affine_fake_quant(
                        x,
                        Steps {
                            steps,
                            zero_points,
                            groups,
                        },
                        codes,
                    )
                })
            })
        });
        from_values(values, x.shape(), x.dtype())
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
        let values = with_values(&x, |x| {
            with_values(&grads, |grads| {
                with_values(&steps, |steps| {
                    with_values(&zero_points, |zero_points| {
                        let steps = Steps {
                            steps,
                            zero_points,
                            groups,
                        };
                        affine::affine_gradient(x, grads, steps, codes, rule)
                    })
                })
            })
        });
        from_values(values, x.shape(), x.dtype())
    }

    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        let values = with_values(&x, |x| hadamard::hadamard_transform(x, block));
        from_values(values, x.shape(), x.dtype())
    }

    fn blockwise_quantize(
        values: FloatTensor<Self>,
        map: DynamicMap,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        blockwise::blockwise_quantize(values, map)
    }

    fn blockwise_dequantize(
        codes: IntTensor<Self>,
        absmax: FloatTensor<Self>,
        map: DynamicMap,
        n: usize,
    ) -> FloatTensor<Self> {
        blockwise::blockwise_dequantize(codes, absmax, map, n)
    }

    fn adamw_8bit(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        codes_1: IntTensor<Self>,
        absmax_1: FloatTensor<Self>,
        codes_2: IntTensor<Self>,
        absmax_2: FloatTensor<Self>,
        step: AdamWStep,
    ) -> (
        FloatTensor<Self>,
        IntTensor<Self>,
        FloatTensor<Self>,
        IntTensor<Self>,
        FloatTensor<Self>,
    ) {
        let moments = [(codes_1, absmax_1), (codes_2, absmax_2)]
            .map(|(codes, absmax)| Moment { codes, absmax });
        let (param, [first, second]) = blockwise::adamw_8bit(param, grad, moments, step);
        (
            param,
            first.codes,
            first.absmax,
            second.codes,
            second.absmax,
        )
    }

    fn stochastic_round(values: FloatTensor<Self>, seed: u32) -> FloatTensor<Self> {
        let rounded = with_values(&values, |values| {
            stochastic_round::stochastic_round(values, seed)
        });
        tensor(rounded, values.shape())
    }
}
