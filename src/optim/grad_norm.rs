use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{DType, Tensor},
};

use crate::base::{bounds::Bounds, distinct::visit_distinct};

/// Added to the norm before dividing, as in PyTorch.
const EPSILON: f64 = 1e-6;

/// Scales all gradients of a module so that their total norm is at most `max_norm`: `g * min(1,
/// max_norm / (norm + 1e-6))`.
///
/// Returns the gradients and the norm before scaling, of shape `[1]`, or `None` if no parameter has
/// a gradient. The gradient of a shared parameter counts once. The values stay on the device. Equal
/// to `torch.nn.utils.clip_grad_norm_`. (Burn's own gradient clipping takes the norm of each
/// parameter separately.)
///
/// A NaN or infinity in a gradient makes the norm non-finite and all gradients NaN or zero. Check
/// the norm before the optimizer step where that can happen.
///
/// # Panics
///
/// If `max_norm` is not positive.
#[track_caller]
pub fn clip_grad_norm<M: Module>(
    module: &M,
    grads: GradientsParams,
    max_norm: f64,
) -> (GradientsParams, Option<Tensor<1>>) {
    Bounds::ABOVE_0.assert("max_norm", max_norm);
    let mut squares = Squares {
        grads: &grads,
        squares: Vec::new(),
    };
    visit_distinct(module, &mut squares);
    let Some(sum) = squares
        .squares
        .into_iter()
        .reduce(|sum, square| sum + square)
    else {
        return (grads, None);
    };
    let norm = sum.sqrt();
    let factor = norm
        .clone()
        .add_scalar(EPSILON)
        .recip()
        .mul_scalar(max_norm)
        .clamp_max(1.0);
    let mut scale = Scale { grads, factor };
    visit_distinct(module, &mut scale);
    (scale.grads, Some(norm))
}

/// Sum of the squares of each gradient.
struct Squares<'a> {
    grads: &'a GradientsParams,
    squares: Vec<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.get::<D>(param.id) {
            self.squares.push(grad.cast(DType::F32).square().sum());
        }
    }
}

struct Scale {
    grads: GradientsParams,
    factor: Tensor<1>,
}

impl ModuleVisitor for Scale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            let factor = self.factor.clone().cast(grad.dtype()).unsqueeze();
            self.grads.register(param.id, grad * factor);
        }
    }
}
