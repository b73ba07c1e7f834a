use std::fmt::Debug;

use burn::backend::{Autodiff, Backend, TensorMetadata, tensor::FloatTensor};
use burn_autodiff::{
    NodeId,
    checkpoint::{
        base::Checkpointer,
        retro_forward::RetroForward,
        state::BackwardStates,
        strategy::{BalancedCheckpointing, CheckpointStrategy},
    },
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

/// Returns `output` as a function of `inputs`, like [`operation`]. An operation after it that asks the checkpointer for
/// it has it computed again by `forward` from its inputs, instead of saving it: for outputs that take little time, and
/// are as large as the inputs that are saved anyway.
///
/// This holds for every strategy of checkpointing. Under that of Burn which computes again what can be, all sums along
/// a residual stream would be.
pub(super) fn recomputed<B: Backend, C: CheckpointStrategy, S, T, const N: usize>(
    inputs: [FloatTensor<Autodiff<B, C>>; N],
    output: FloatTensor<B>,
    forward: Forward<B, T, N>,
    settings: T,
    save: impl FnOnce() -> S,
    gradients: Gradients<B, S, N>,
) -> FloatTensor<Autodiff<B, C>>
where
    S: Clone + Send + Debug + 'static,
    T: Send + Debug + 'static,
{
    let nodes = inputs.each_ref().map(|input| input.clone().into_parts().1);
    let again = Again::<B, T, N> {
        inputs: nodes.each_ref().map(NodeGuard::id),
        forward,
        settings,
    };
    let prepared = Operation { gradients }.prepare::<BalancedCheckpointing>(nodes);
    let prepared = prepared.memory_bound().retro_forward(again);
    match prepared.parents(&inputs).stateful() {
        OpsKind::Tracked(tracked) => tracked.finish(save(), output),
        OpsKind::UnTracked(untracked) => untracked.finish(output),
    }
}

/// Computes an output from its inputs.
type Forward<B, T, const N: usize> = fn([FloatTensor<B>; N], &T) -> FloatTensor<B>;

/// The forward pass of an operation, for backward.
#[derive(Debug)]
struct Again<B: Backend, T, const N: usize> {
    inputs: [NodeId; N],
    forward: Forward<B, T, N>,
    settings: T,
}

impl<B: Backend, T: Send + Debug + 'static, const N: usize> RetroForward for Again<B, T, N> {
    fn forward(&self, states: &mut BackwardStates, output: NodeId) {
        let inputs = self.inputs.map(|input| states.get_state(&input));
        states.save(output, (self.forward)(inputs, &self.settings));
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
