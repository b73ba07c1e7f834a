//! Gradients: straight-through for the fake quantizers, exact for the Hadamard transform.
//!
//! The forward value of a fake quantizer is the quantized value bit for bit; the backward step is
//! implemented here. The textbook form `w + (q - w).detach()` is not exact: its rounding moves about
//! 4 % of normally distributed weights by one unit in the last place.

mod bit_linear;
mod packed_bit_linear;
mod transformer;

use bitnet_burn_kernels::{CodeRange, GradientRule, Groups, Statistic};
use burn::backend::{
    Autodiff, AutodiffBackend, Backend, FloatDType, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};
use burn_autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads::Gradients,
    ops::{Backward, NodeGuard, Ops, OpsKind, unary},
};

use super::{QatOps, zero_points_of};

/// Identity estimator: `dL/dx = dL/dQ(x)`.
#[derive(Debug)]
struct IdentityStraightThrough;

impl<B: Backend> Backward<B, 1> for IdentityStraightThrough {
    type State = ();

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        unary::<B, _>(ops.parents, ops.node, grads, |grad| grad);
    }
}

/// Returns the gradient of a tensor that does not affect the result.
fn zeros_like<B: Backend>(tensor: &FloatTensor<B>) -> FloatTensor<B> {
    B::float_zeros(tensor.shape(), &tensor.device(), tensor.dtype().into())
}

/// Returns `quantized` as a function of `input` with the gradient of the identity.
fn straight_through<B: Backend, C: CheckpointStrategy>(
    input: NodeGuard,
    quantized: FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    // Nothing is saved for backward, so nothing is recomputed either.
    IdentityStraightThrough
        .prepare::<C>([input])
        .compute_bound()
        .stateless(quantized)
}

/// Gradient of the transform, `dL/dx = H dL/dy`: `H` is symmetric.
#[derive(Debug)]
struct HadamardTransform;

impl<B: Backend + QatOps> Backward<B, 1> for HadamardTransform {
    /// Number of values in a block.
    type State = usize;

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let block = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            B::hadamard_transform(grad, block)
        });
    }
}

/// Tensors that a gradient rule saves for backward.
#[derive(Debug, Clone)]
struct Quantized<B: Backend> {
    x: FloatTensor<B>,
    steps: FloatTensor<B>,
    zero_points: FloatTensor<B>,
    groups: Groups,
    codes: CodeRange,
}

impl<B: QatOps> Quantized<B> {
    fn gradient(self, grad: FloatTensor<B>, rule: GradientRule) -> FloatTensor<B> {
        let Self {
            x,
            steps,
            zero_points,
            groups,
            codes,
        } = self;
        B::affine_gradient(x, grad, steps, zero_points, groups, codes, rule)
    }
}

/// Estimator by rule: `dL/dx = dL/dQ(x) * factor`.
#[derive(Debug)]
struct RuleStraightThrough;

impl<B: QatOps> Backward<B, 1> for RuleStraightThrough {
    type State = (Quantized<B>, GradientRule);

    fn backward(
        self,
        ops: Ops<Self::State, 1>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (quantized, rule) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| {
            quantized.gradient(grad, rule)
        });
    }
}

/// Gradients of LSQ+ for `x`, the steps and the offsets:
/// - `dL/dx = dL/dQ` within the codes, else 0
/// - `dL/dstep = grad_scale * sum dL/dQ * (round(v) - v, or the code at the end)`
/// - `dL/doffset = grad_scale * sum dL/dQ` of the values outside the codes
#[derive(Debug)]
struct LearnedStep;

impl<B: QatOps> Backward<B, 3> for LearnedStep {
    type State = (Quantized<B>, f32);

    fn backward(
        self,
        ops: Ops<Self::State, 3>,
        grads: &mut Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let (quantized, grad_scale) = ops.state;
        let groups = quantized.groups;
        let grad = grads.consume::<B>(&ops.node);
        let [x, steps, offsets] = ops.parents;
        let sum = |terms: FloatTensor<B>| {
            let shape = Shape::new([groups.outer, groups.size, groups.inner]);
            let terms = B::float_reshape(B::float_cast(terms, FloatDType::F32), shape);
            let sum = B::float_mul_scalar(B::float_sum_dim(terms, 1), grad_scale.into());
            B::float_reshape(sum, Shape::new(groups.scale_shape()))
        };
        // Summed in f32: the terms would lose precision in half precision.
        let wide = |tensor: &FloatTensor<B>| B::float_cast(tensor.clone(), FloatDType::F32);
        let wide_quantized = || Quantized {
            x: wide(&quantized.x),
            ..quantized.clone()
        };
        let passing = GradientRule::Clipped { bound: 1.0 };
        if let Some(steps) = steps {
            let terms = wide_quantized().gradient(wide(&grad), GradientRule::StepSize);
            grads.register::<B>(steps.id, sum(terms));
        }
        if let Some(offsets) = offsets {
            let inside = wide_quantized().gradient(wide(&grad), passing);
            let outside = B::float_sub(wide(&grad), inside);
            grads.register::<B>(offsets.id, sum(outside));
        }
        if let Some(x) = x {
            grads.register::<B>(x.id, quantized.gradient(grad, passing));
        }
    }
}

impl<B: Backend + QatOps, C: CheckpointStrategy> QatOps for Autodiff<B, C> {
    fn ternary_fake_quant(
        weight: FloatTensor<Self>,
        groups: Groups,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (weight, node) = weight.into_parts();
        let (quantized, scales) = B::ternary_fake_quant(weight, groups);
        (
            straight_through::<B, C>(node, quantized),
            Self::from_inner(scales),
        )
    }

    fn absmax_fake_quant(
        x: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (x, node) = x.into_parts();
        let (quantized, scales) = B::absmax_fake_quant(x, groups, max_code);
        (
            straight_through::<B, C>(node, quantized),
            Self::from_inner(scales),
        )
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
        packed: IntTensor<Self>,
        scales: FloatTensor<Self>,
        groups: Groups,
        shape: Shape,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let scales = scales.into_primitive();
        Self::from_inner(B::ternary_unpack(packed, scales, groups, shape, dtype))
    }

    fn absmax_quantize(
        x: FloatTensor<Self>,
        max_code: f32,
    ) -> (IntTensor<Self>, FloatTensor<Self>) {
        let (codes, scales) = B::absmax_quantize(x.into_primitive(), max_code);
        (codes, Self::from_inner(scales))
    }

    fn absmax_dequantize(
        codes: IntTensor<Self>,
        scales: FloatTensor<Self>,
        d_input: usize,
        dtype: FloatDType,
    ) -> FloatTensor<Self> {
        let scales = scales.into_primitive();
        Self::from_inner(B::absmax_dequantize(codes, scales, d_input, dtype))
    }

    fn ternary_linear(
        codes: IntTensor<Self>,
        code_scales: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
    ) -> FloatTensor<Self> {
        Self::from_inner(B::ternary_linear(
            codes,
            code_scales.into_primitive(),
            weight.into_primitive(),
            bias.into_primitive(),
            groups,
        ))
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
        Self::from_inner(B::packed_linear(
            codes,
            code_scales.into_primitive(),
            packed,
            weight_scales.into_primitive(),
            bias.into_primitive(),
            groups,
            d_input,
        ))
    }

    fn bit_linear(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> FloatTensor<Self> {
        bit_linear::bit_linear::<B, C>(x, weight, bias, groups, max_code)
    }

    fn packed_bit_linear(
        x: FloatTensor<Self>,
        packed: IntTensor<Self>,
        weight_scales: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        groups: Groups,
        max_code: f32,
    ) -> FloatTensor<Self> {
        let scales = weight_scales.into_primitive();
        packed_bit_linear::packed_bit_linear::<B, C>(x, packed, scales, bias, groups, max_code)
    }

    fn affine_fake_quant(
        x: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        zero_points: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
    ) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let (steps, zero_points) = (steps.into_primitive(), zero_points.into_primitive());
        let quantized = B::affine_fake_quant(x, steps, zero_points, groups, codes);
        straight_through::<B, C>(node, quantized)
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
        Self::from_inner(B::affine_gradient(
            x.into_primitive(),
            grads.into_primitive(),
            steps.into_primitive(),
            zero_points.into_primitive(),
            groups,
            codes,
            rule,
        ))
    }

    fn straight_through(
        x: FloatTensor<Self>,
        quantized: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        zero_points: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
        rule: Option<GradientRule>,
    ) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let quantized = quantized.into_primitive();
        let Some(rule) = rule else {
            return straight_through::<B, C>(node, quantized);
        };
        match RuleStraightThrough
            .prepare::<C>([node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let state = Quantized {
                    x,
                    steps: steps.into_primitive(),
                    zero_points: zero_points.into_primitive(),
                    groups,
                    codes,
                };
                prep.finish((state, rule), quantized)
            }
            OpsKind::UnTracked(prep) => prep.finish(quantized),
        }
    }

    fn learned_step_fake_quant(
        x: FloatTensor<Self>,
        steps: FloatTensor<Self>,
        offsets: FloatTensor<Self>,
        groups: Groups,
        codes: CodeRange,
        grad_scale: f32,
    ) -> FloatTensor<Self> {
        let (x, x_node) = x.into_parts();
        let (steps, steps_node) = steps.into_parts();
        let (offsets, offsets_node) = offsets.into_parts();
        let zero_points = zero_points_of::<B>(&steps, offsets);
        let quantized =
            B::affine_fake_quant(x.clone(), steps.clone(), zero_points.clone(), groups, codes);
        match LearnedStep
            .prepare::<C>([x_node, steps_node, offsets_node])
            .compute_bound()
            .stateful()
        {
            OpsKind::Tracked(prep) => {
                let state = Quantized {
                    x,
                    steps,
                    zero_points,
                    groups,
                    codes,
                };
                prep.finish((state, grad_scale), quantized)
            }
            OpsKind::UnTracked(prep) => prep.finish(quantized),
        }
    }

    fn hadamard_transform(x: FloatTensor<Self>, block: usize) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let output = B::hadamard_transform(x, block);
        // Nothing is saved for backward, so nothing is recomputed either.
        let prepared = HadamardTransform.prepare::<C>([node]).compute_bound();
        match prepared.stateful() {
            OpsKind::Tracked(tracked) => tracked.finish(block, output),
            OpsKind::UnTracked(untracked) => untracked.finish(output),
        }
    }
}
