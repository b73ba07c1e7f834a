//! Gradients of a model that come from several graphs.

use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Gradients, Tensor},
};

/// Returns a value whose backward pass gives `x` the gradient `upstream`, bit for bit, if `x` has one.
pub(super) fn product<const D: usize>(x: Tensor<D>, upstream: Tensor<D>) -> Option<Tensor<1>> {
    let upstream = upstream.autodiff();
    let upstream = match x.gradient_checkpointing_strategy() {
        Some(strategy) => upstream.with_gradient_checkpointing_strategy(strategy),
        None => upstream,
    };
    x.is_tracked().then(|| (x * upstream).sum())
}

/// Moves the gradients of the parameters of a module into a sum.
pub(super) fn add_gradients<M: Module>(
    module: &M,
    grads: &mut Gradients,
    sum: &mut GradientsParams,
) {
    module.visit(&mut Add { grads, sum });
}

struct Add<'a> {
    grads: &'a mut Gradients,
    sum: &'a mut GradientsParams,
}

impl ModuleVisitor for Add<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if !param.is_require_grad() {
            return;
        }
        let Some(grad) = param.val().grad_remove(self.grads) else {
            return;
        };
        // In the order of Burn's own sums.
        let grad = match self.sum.remove::<D>(param.id) {
            Some(earlier) => grad + earlier,
            None => grad,
        };
        self.sum.register(param.id, grad);
    }
}

/// Returns whether a parameter of a module trains.
pub(super) fn has_trained<M: Module>(module: &M) -> bool {
    let mut trained = Trained(false);
    module.visit(&mut trained);
    trained.0
}

struct Trained(bool);

impl ModuleVisitor for Trained {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0 |= param.is_require_grad();
    }
}
