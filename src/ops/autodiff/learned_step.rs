use burn::backend::{Autodiff, Backend, FloatDType, Shape, tensor::FloatTensor};
use burn_autodiff::{checkpoint::strategy::CheckpointStrategy, ops::NodeGuard};

use super::operation::operation;
use crate::ops::{AffineLevels, GradientRule, QatOps};

/// Tensors saved for backward, and the factor of the gradients of scales and offsets.
#[derive(Debug, Clone)]
struct Saved<B: Backend> {
    x: FloatTensor<B>,
    levels: AffineLevels<B>,
    grad_scale: f32,
}

impl<B: QatOps> Saved<B> {
    /// Returns `grad_scale` times the sums over the groups.
    fn sum(&self, terms: FloatTensor<B>) -> FloatTensor<B> {
        let groups = self.levels.groups;
        let shape = Shape::new([groups.outer, groups.size, groups.inner]);
        let terms = B::float_reshape(B::float_cast(terms, FloatDType::F32), shape);
        let sum = B::float_mul_scalar(B::float_sum_dim(terms, 1), self.grad_scale.into());
        B::float_reshape(sum, Shape::new(groups.scale_shape()))
    }
}

/// Gradients of LSQ+:
/// - `dL/dx = dL/dQ` within the codes, else 0
/// - `dL/dscale = grad_scale * sum dL/dQ * (round(v) - v, or the code at the end)`
/// - `dL/doffset = grad_scale * sum dL/dQ` of the values outside the codes
fn gradients<B: QatOps>(
    saved: Saved<B>,
    grad: FloatTensor<B>,
    [x, scales, offsets]: [bool; 3],
) -> [Option<FloatTensor<B>>; 3] {
    // Summed in f32: the terms would lose precision in half precision.
    let wide = |tensor: &FloatTensor<B>| B::float_cast(tensor.clone(), FloatDType::F32);
    let wide_gradient =
        |rule| B::affine_gradient(wide(&saved.x), wide(&grad), saved.levels.clone(), rule);
    let passing = GradientRule::Clipped { bound: 1.0 };
    let of_scales = scales.then(|| saved.sum(wide_gradient(GradientRule::StepSize)));
    let of_offsets = offsets.then(|| saved.sum(B::float_sub(wide(&grad), wide_gradient(passing))));
    let of_x = x.then(|| B::affine_gradient(saved.x, grad, saved.levels, passing));
    [of_x, of_scales, of_offsets]
}

pub(super) fn learned_step_fake_quant<B: QatOps, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    levels: AffineLevels<B>,
    [scales_node, offsets_node]: [NodeGuard; 2],
    grad_scale: f32,
) -> FloatTensor<Autodiff<B, C>> {
    let (x, x_node) = x.into_parts();
    let quantized = B::affine_fake_quant(x.clone(), levels.clone());
    let save = || Saved::<B> {
        x,
        levels,
        grad_scale,
    };
    let inputs = [x_node, scales_node, offsets_node];
    operation::<B, C, _, 3>(inputs, quantized, save, gradients::<B>)
}
