use burn::backend::{
    Autodiff, AutodiffBackend, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;

use super::operation::{is_tracked, operation};
use crate::ops::{CrossEntropyOps, CrossEntropyTerms};

impl<B: CrossEntropyOps, C: CheckpointStrategy> CrossEntropyOps for Autodiff<B, C> {
    fn linear_cross_entropy(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        targets: IntTensor<Self>,
        row_weights: FloatTensor<Self>,
        terms: CrossEntropyTerms,
    ) -> FloatTensor<Self> {
        let [of_x, of_weight] = [&x, &weight].map(is_tracked::<B, C>);
        let (x, x_node) = x.into_parts();
        let (weight, weight_node) = weight.into_parts();
        let row_weights = row_weights.into_primitive();
        if !of_weight && !of_x {
            let sum = B::linear_cross_entropy(x, weight, targets, row_weights, terms);
            return Self::from_inner(sum);
        }
        let (sum, of_x, of_weight) =
            B::linear_cross_entropy_gradients(x, weight, targets, row_weights, terms, of_weight);
        let save = || [of_x, of_weight];
        let nodes = [x_node, weight_node];
        operation::<B, C, _, 2>(nodes, sum, save, |[of_x, of_weight], grad, tracked| {
            let grad = B::float_reshape(grad, Shape::new([1, 1]));
            let times_grad = |gradient: FloatTensor<B>| {
                let grad = B::float_cast(grad.clone(), gradient.dtype().into());
                B::float_mul(gradient, grad)
            };
            [
                tracked[0].then(|| times_grad(of_x)),
                tracked[1].then(|| times_grad(of_weight)),
            ]
        })
    }
}
