use burn::{
    config::Config,
    tensor::{Bool, DType, Tensor},
};

use super::{
    kl_divergence::kl_divergence,
    token_mean::{flat_mask, token_mean},
    unit_norm::unit_norm,
};
use crate::base::bounds::Bounds;

/// Relation to a padded position, low enough for a probability of zero.
const NO_RELATION: f64 = -1e9;

/// Queries, keys and values of one attention layer, with the heads side by side.
///
/// # Shapes
///
/// Each `[batch, positions, width]`, as the projections return them. Keys and values may be
/// narrower than queries (grouped heads). Use [`from_heads`](Self::from_heads) for states that are
/// already divided into heads.
#[derive(Debug, Clone)]
pub struct AttentionStates {
    /// Queries.
    pub query: Tensor<3>,
    /// Keys.
    pub key: Tensor<3>,
    /// Values.
    pub value: Tensor<3>,
}

/// Divergence of the attention relations of a student from those of a teacher.
///
/// For each of queries, keys and values, with `a_h` the states of head `h` of
/// [`split_heads`](Self::split_heads), each divided by its Euclidean norm:
/// `R = softmax(a_h a_h^T / temperature)`, and
/// `L = sum over Q, K, V of mean over batch, heads and positions of KL(R_teacher || R_student)`.
/// Relations have the shape positions x positions, so student and teacher may differ in width and
/// heads. The paper takes one layer, late in the model. No gradient flows to the teacher.
///
/// # Definition
///
/// [BitNet Distillation](https://arxiv.org/abs/2510.13998) gives two definitions of this loss:
/// equation 12 takes `softmax(A A^T / sqrt(d))` of the raw states, algorithm 1 (the authors' code)
/// normalizes the states first. This is algorithm 1, for two reasons:
///
/// - Without normalization, the relation of a position to itself is its squared norm over
///   `sqrt(d)`: the longer the states, the closer each row is to one-hot and its gradient to zero.
///   Relations then also depend on the scale of the states, which quantization changes and which
///   student and teacher of different widths need not share. Cosines have neither defect.
/// - The paper's weights, 1e5 for classification and 1e3 for summarization, belong to the code:
///   cosines lie in -1 to 1, so that at temperature 1 all rows are nearly uniform and the loss is
///   small. Start lower than 1e5 where other losses are added to it, and check the parts.
///
/// Algorithm 1 also clamps probabilities to 1e-8 before the logarithm. Here the log-softmax is
/// computed directly and needs no clamp. The value is the same as long as no probability is that
/// small, that is for temperatures above 0.17 at 512 positions.
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::{AttentionRelationLoss, AttentionStates};
/// use burn::tensor::{Device, Distribution, Tensor};
///
/// let device = Device::default();
/// let states = |width| {
///     let states = || Tensor::random([2, 5, width], Distribution::Default, &device);
///     AttentionStates { query: states(), key: states(), value: states() }
/// };
/// let loss = AttentionRelationLoss::new(2);
/// assert_eq!(loss.forward(&states(8), &states(12), None).dims(), [1]);
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct AttentionRelationLoss {
    /// Number of heads into which the states are divided, for student and teacher alike; 1 or more.
    /// It may differ from the number of heads of either model, but must divide the width of both.
    pub split_heads: usize,
    /// Temperature by which the relations are divided, above 0.
    #[config(default = 1.0)]
    pub temperature: f64,
}

impl AttentionStates {
    /// Creates the states from tensors that are divided into heads.
    ///
    /// # Shapes
    ///
    /// Each `[batch, heads, positions, d_head]`.
    pub fn from_heads(query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Self {
        let joined = |states: Tensor<4>| {
            let [batch, heads, positions, d_head] = states.dims();
            let states = states.swap_dims(1, 2);
            states.reshape([batch, positions, heads * d_head])
        };
        Self {
            query: joined(query),
            key: joined(key),
            value: joined(value),
        }
    }

    fn all(&self) -> [&Tensor<3>; 3] {
        [&self.query, &self.key, &self.value]
    }
}

impl AttentionRelationLoss {
    /// Computes the loss. Padded positions have no relations, as source or as target.
    ///
    /// # Shapes
    ///
    /// - mask_pad: `[batch, positions]`, true where a position does not count; `None` if all count
    /// - output: `[1]`, 0 if no position counts
    ///
    /// # Panics
    ///
    /// If batch or positions of the states and the mask differ, a width is no multiple of
    /// `split_heads`, there are no heads, or the temperature is not positive and finite.
    #[track_caller]
    pub fn forward(
        &self,
        student: &AttentionStates,
        teacher: &AttentionStates,
        mask_pad: Option<Tensor<2, Bool>>,
    ) -> Tensor<1> {
        self.assert_valid();
        let losses = student.all().into_iter().zip(teacher.all());
        let losses = losses.map(|(student, teacher)| {
            let student = self.relations(student.clone(), mask_pad.clone());
            let teacher = self.relations(teacher.clone().detach(), mask_pad.clone());
            assert_eq!(
                student.dims(),
                teacher.dims(),
                "states of student and teacher must have the same batch and positions"
            );
            let dims = student.dims();
            let mask_pad = mask_pad.clone().map(|mask_pad| {
                let [batch, heads, positions, _] = dims;
                let mask_pad = mask_pad.unsqueeze_dim::<3>(1);
                flat_mask(mask_pad.expand([batch, heads, positions]), &dims)
            });
            token_mean(kl_divergence(student, teacher), mask_pad)
        });
        losses.reduce(|sum, loss| sum + loss).expect("three states")
    }

    /// Panics if there are no heads or the temperature is not positive and finite.
    #[track_caller]
    pub(super) fn assert_valid(&self) {
        Bounds::COUNT.assert("split_heads", self.split_heads);
        Bounds::POSITIVE.assert("temperature", self.temperature);
    }

    /// Returns the relations before the softmax: `[batch, split_heads, positions, positions]`.
    fn relations(&self, states: Tensor<3>, mask_pad: Option<Tensor<2, Bool>>) -> Tensor<4> {
        let states = split_heads(states.cast(DType::F32), self.split_heads);
        let [batch, heads, positions, d_head] = states.dims();
        // All heads in one dimension: with the swapped dimensions of the split, Burn's fused matrix
        // product on CubeCL gives wrong values.
        let states = unit_norm(states.reshape([batch * heads, positions, d_head]));
        let relations = states
            .clone()
            .matmul(states.swap_dims(1, 2))
            .div_scalar(self.temperature)
            .reshape([batch, heads, positions, positions]);
        match mask_pad {
            Some(mask_pad) => {
                let columns = mask_pad.reshape([batch, 1, 1, positions]);
                let columns = columns.expand([batch, heads, positions, positions]);
                relations.mask_fill(columns, NO_RELATION)
            }
            None => relations,
        }
    }
}

/// Divides states into `n` heads of neighboring values:
/// `[batch, positions, width] -> [batch, n, positions, width / n]`.
///
/// # Panics
///
/// If `width` is no multiple of `n`.
#[track_caller]
fn split_heads(states: Tensor<3>, n: usize) -> Tensor<4> {
    let [batch, positions, width] = states.dims();
    assert!(
        width.is_multiple_of(n),
        "states of width {width} cannot be divided into {n} heads"
    );
    let states = states.reshape([batch, positions, n, width / n]);
    states.swap_dims(1, 2)
}
