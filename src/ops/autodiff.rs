//! Gradients: straight-through for the fake quantizers, exact for the Hadamard transform.
//!
//! The forward value of a fake quantizer is the quantized value bit for bit; the backward step is
//! implemented here. The textbook form `w + (q - w).detach()` is not exact: its rounding moves about
//! 4 % of normally distributed weights by one unit in the last place.

mod adapter;
mod bit_linear;
mod cross_entropy;
mod four_bit;
mod learned_step;
mod operation;
mod transformer;

use bitnet_burn_kernels::{GradientRule, Groups, QuantRange, Statistic};
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, FloatDType, Shape,
    tensor::{FloatTensor, IntTensor},
};
use burn_autodiff::{checkpoint::strategy::CheckpointStrategy, ops::NodeGuard};

use super::{AbsmaxCodes, AffineLevels, InputGradient, PackedTernary, QatOps};
use operation::operation;

/// Returns `quantized` as a function of `input` with the gradient of the identity.
fn straight_through<B: Backend, C: CheckpointStrategy>(
    input: NodeGuard,
    quantized: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    operation::<B, C, _, 1>([input], quantized, || (), |(), grad, _| [Some(grad)])
}

impl<B: Backend, C: CheckpointStrategy> AbsmaxCodes<Autodiff<B, C>> {
    fn inner(self) -> AbsmaxCodes<B> {
        AbsmaxCodes {
            words: self.words,
            inverse_scales: self.inverse_scales.into_primitive(),
            d_input: self.d_input,
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> PackedTernary<Autodiff<B, C>> {
    fn inner(self) -> PackedTernary<B> {
        PackedTernary {
            words: self.words,
            scales: self.scales.into_primitive(),
            groups: self.groups,
        }
    }
}

impl<B: Backend, C: CheckpointStrategy> AffineLevels<Autodiff<B, C>> {
    fn inner(self) -> AffineLevels<B> {
        AffineLevels {
            scales: self.scales.into_primitive(),
            zero_points: self.zero_points.into_primitive(),
            groups: self.groups,
            codes: self.codes,
        }
    }
}

impl<B: QatOps, C: CheckpointStrategy> QatOps for Autodiff<B, C> {
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (weight, node) = weight.into_parts();
        let (quantized, scales) = B::ternary_fake_quant(weight, groups);
        let quantized = straight_through::<B, C>(node, quantized);
        (quantized, Self::from_inner(scales))
    }

    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, node) = x.into_parts();
        let (quantized, inverse_scales) = B::absmax_fake_quant(x, groups, max_code);
        let quantized = straight_through::<B, C>(node, quantized);
        (quantized, Self::from_inner(inverse_scales))
    }

    fn group_statistic(
        values: FloatTensor<Self>,
        groups: Groups,
        statistic: Statistic,
    ) -> FloatTensor<Self> {
        let values = values.into_primitive();
        Self::from_inner(B::group_statistic(values, groups, statistic))
    }

    fn ternary_pack(
        weight: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
    ) -> IntTensor<Self> {
        B::ternary_pack(weight.into_primitive(), scales.into_primitive(), groups)
    }

    fn ternary_unpack(
        packed: PackedTernary<Self>,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::ternary_unpack(packed.inner(), shape, dtype))
    }

    fn absmax_quantize(x: FloatTensor<Self>, max_code: f32) -> AbsmaxCodes<Self> {
        let codes = B::absmax_quantize(x.into_primitive(), max_code);
        AbsmaxCodes {
            words: codes.words,
            inverse_scales: Self::from_inner(codes.inverse_scales),
            d_input: codes.d_input,
        }
    }

    fn absmax_dequantize(codes: AbsmaxCodes<Self>, dtype: FloatDType) -> FloatTensor<Self> {
        Self::from_inner(B::absmax_dequantize(codes.inner(), dtype))
    }

    fn ternary_linear(
        x: AbsmaxCodes<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
    ) -> FloatTensor<Self> {
        let [weight, bias] = [weight, bias].map(|t| t.into_primitive());
        Self::from_inner(B::ternary_linear(x.inner(), weight, bias, groups))
    }

    fn packed_linear(
        x: AbsmaxCodes<Self>,
        weight: PackedTernary<Self>,
        bias: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        let bias = bias.into_primitive();
        Self::from_inner(B::packed_linear(x.inner(), weight.inner(), bias))
    }

    fn bit_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
        input_gradient: InputGradient,
    ) -> FloatTensor<Self> {
        bit_linear::bit_linear::<B, C>(x, weight, bias, groups, max_code, input_gradient)
    }

    fn packed_bit_linear(
        x: FloatTensor<Self>,
        weight: PackedTernary<Self>,
        bias: FloatTensor<Self>,
        max_code: f32,
    ) -> FloatTensor<Self> {
        bit_linear::packed_bit_linear::<B, C>(x, weight.inner(), bias, max_code)
    }

    fn affine_fake_quant(x: FloatTensor<Self>, levels: AffineLevels<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        straight_through::<B, C>(node, B::affine_fake_quant(x, levels.inner()))
    }

    fn straight_through(
        x: FloatTensor<Self>,
        quantized: FloatTensor<Self>,
        levels: AffineLevels<Self>,
        rule: Option<GradientRule>,
    ) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let quantized = quantized.into_primitive();
        let Some(rule) = rule else {
            return straight_through::<B, C>(node, quantized);
        };
        let save = || (x, levels.inner(), rule);
        operation::<B, C, _, 1>([node], quantized, save, |saved, grad, [tracked]| {
            let (x, levels, rule) = saved;
            [tracked.then(|| B::affine_gradient(x, grad, levels, rule))]
        })
    }

    fn learned_step_fake_quant(
        x: FloatTensor<Self>,
        scales: FloatTensor<Self>,
        offsets: FloatTensor<Self>,
        groups: Groups,
        codes: QuantRange,
        grad_scale: f32,
    ) -> FloatTensor<Self> {
        let (scales, scales_node) = scales.into_parts();
        let (offsets, offsets_node) = offsets.into_parts();
        let levels = AffineLevels::<B>::with_offsets(scales, offsets, groups, codes);
        let level_nodes = [scales_node, offsets_node];
        learned_step::learned_step_fake_quant::<B, C>(x, levels, level_nodes, grad_scale)
    }

    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = B::hadamard_transform(x, block);
        // dL/dx = H dL/dy, since H is symmetric.
        operation::<B, C, _, 1>(
            [node],
            y,
            || block,
            |block, grad, [tracked]| [tracked.then(|| B::hadamard_transform(grad, block))],
        )
    }
}
