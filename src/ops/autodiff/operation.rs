use std::fmt::Debug;

use burn::backend::{Autodiff, Backend, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::{
    checkpoint::{base::Checkpointer, strategy::CheckpointStrategy},
    grads,
    ops::{Backward, NodeGuard, Ops, OpsKind},
};

/// Computes the gradients of the inputs from what was saved for backward and the gradient of the output.
/// An input that is not tracked needs none.
type Gradients<B, S, const N: usize> =
    fn(S, FloatTensor<B>, tracked: [bool; N]) -> [Option<FloatTensor<B>>; N];

/// An operation with its own backward step.
#[derive(Debug)]
struct Operation<B: Backend, S, const N: usize> {
    gradients: Gradients<B, S, N>,
}

impl<B: Backend, S, const N: usize> Backward<B, N> for Operation<B, S, N>
where
    S: Clone + Send + Debug + 'static,
{
    type State = S;

    fn backward(
        self,
        ops: Ops<Self::State, N>,
        grads: &mut grads::Gradients,
        _checkpointer: &mut Checkpointer,
    ) {
        let grad = grads.consume::<B>(&ops.node);
        let tracked = ops.parents.each_ref().map(Option::is_some);
        let gradients = (self.gradients)(ops.state, grad, tracked);
        for (node, gradient) in ops.parents.into_iter().zip(gradients) {
            if let (Some(node), Some(gradient)) = (node, gradient) {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// Returns `output` as a function of `inputs`. What `save` returns is kept for backward if one of them is
/// tracked.
pub(super) fn operation<B: Backend, C: CheckpointStrategy, S, const N: usize>(
    inputs: [NodeGuard; N],
    output: FloatTensor<B>,
    save: impl FnOnce() -> S,
    gradients: Gradients<B, S, N>,
) -> FloatTensor<Autodiff<B, C>>
where
    S: Clone + Send + Debug + 'static,
{
    // Backward needs no output of another operation, so nothing is recomputed.
    let prepared = Operation { gradients }.prepare::<C>(inputs).compute_bound();
    match prepared.stateful() {
        OpsKind::Tracked(tracked) => tracked.finish(save(), output),
        OpsKind::UnTracked(untracked) => untracked.finish(output),
    }
}

/// Returns whether backward needs the gradient of a tensor.
pub(super) fn is_tracked<B: Backend, C: CheckpointStrategy>(
    tensor: &FloatTensor<Autodiff<B, C>>,
) -> bool {
    let (_, node) = tensor.clone().into_parts();
    let operation = Operation::<B, (), 1> {
        gradients: |(), grad, _| [Some(grad)],
    };
    let prepared = operation.prepare::<C>([node]).compute_bound();
    matches!(prepared.stateful(), OpsKind::Tracked(_))
}

/// Returns the gradient of a tensor that does not affect the result.
pub(super) fn zeros_like<B: Backend>(tensor: &FloatTensor<B>) -> FloatTensor<B> {
    B::float_zeros(tensor.shape(), &tensor.device(), tensor.dtype().into())
}
