use burn::{
    config::Config,
    nn::loss::Reduction,
    tensor::{Bool, DType, Int, Tensor, assert_shape},
};
use serde::{Deserialize, Serialize};

use super::precision::full_precision;
use crate::{
    base::bounds::{Bounds, fraction, not_negative},
    functions::linear_cross_entropy,
    nn::{BitNetLm, Projection},
    ops::CrossEntropyTerms,
};

/// Cross-entropy of a language model: the mean of `-log p(target)` over the counted positions.
///
/// With logits `x`, `lse = log(sum_j exp(x_j))` and target `y`, the loss of a position is
///
/// `(1 - epsilon) (lse - x_y) + epsilon (lse - mean_j x_j) + z_loss * lse^2`
///
/// Logits and targets must be aligned: the target of a position is the token *after* it. Nothing is
/// shifted here, unlike in Hugging Face's models.
///
/// In contrast to Burn's [`CrossEntropyLoss`](burn::nn::loss::CrossEntropyLoss), with which it
/// agrees where both apply, it accepts targets such as -100 that are no token, supports the z-loss
/// and a sum, computes in f32 for f16 and bf16 logits, and returns 0 instead of NaN if no position
/// counts. Nothing is read back from the device.
///
/// Equal to `torch.nn.functional.cross_entropy` with the same `ignore_index` and
/// `label_smoothing`. Source of the z-loss: [PaLM](https://arxiv.org/abs/2204.02311).
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::CausalLmLoss;
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let tokens = Tensor::<2, Int>::from_ints([[5, 2, 7, 1]], &device);
/// // Logits of a model with 8 tokens for the first three positions.
/// let logits = Tensor::<3>::zeros([1, 3, 8], &device);
/// let targets = tokens.slice([0..1, 1..4]);
/// let loss = CausalLmLoss::new().forward(logits, targets);
/// assert!((loss.into_scalar::<f32>() - 8f32.ln()).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CausalLmLoss {
    /// Target value of the positions that are ignored, -100 as in PyTorch by default. `None` counts
    /// all positions.
    pub ignore_index: Option<i64>,
    /// Part `epsilon` of the target distribution that is spread evenly over the vocabulary, 0 to 1.
    #[serde(deserialize_with = "fraction")]
    pub label_smoothing: f64,
    /// Weight of the squared log of the partition function, 0 or above; 1e-4 in PaLM.
    #[serde(deserialize_with = "not_negative")]
    pub z_loss: f64,
    /// Reduction over the positions: `Mean` (and `Auto`) divides the sum of the losses by the
    /// number of counted positions, `BatchMean` by the number of sequences. `Sum` does not divide.
    pub reduction: Reduction,
}

impl Config for CausalLmLoss {}

impl Default for CausalLmLoss {
    fn default() -> Self {
        Self {
            ignore_index: Some(-100),
            label_smoothing: 0.0,
            z_loss: 0.0,
            reduction: Reduction::Mean,
        }
    }
}

impl CausalLmLoss {
    /// Creates the plain cross-entropy, the mean over the positions whose target is not -100.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`ignore_index`](Self::ignore_index).
    #[must_use]
    pub fn with_ignore_index(mut self, ignore_index: Option<i64>) -> Self {
        self.ignore_index = ignore_index;
        self
    }

    /// Sets [`label_smoothing`](Self::label_smoothing).
    ///
    /// # Panics
    ///
    /// If it is not in [0, 1].
    #[track_caller]
    #[must_use]
    pub fn with_label_smoothing(mut self, label_smoothing: f64) -> Self {
        Bounds::FRACTION.assert("label_smoothing", label_smoothing);
        self.label_smoothing = label_smoothing;
        self
    }

    /// Sets [`z_loss`](Self::z_loss).
    ///
    /// # Panics
    ///
    /// If it is not zero or above and finite.
    #[track_caller]
    #[must_use]
    pub fn with_z_loss(mut self, z_loss: f64) -> Self {
        Bounds::NOT_NEGATIVE.assert("z_loss", z_loss);
        self.z_loss = z_loss;
        self
    }

    /// Sets [`reduction`](Self::reduction).
    #[must_use]
    pub fn with_reduction(mut self, reduction: Reduction) -> Self {
        self.reduction = reduction;
        self
    }

    /// Computes the loss; 0, with gradients of 0, if no position counts.
    ///
    /// Targets are not checked to be in `0..vocab` or `ignore_index`: for others, the result
    /// depends on how the backend treats an index out of range.
    ///
    /// # Shapes
    ///
    /// - logits: `[batch, positions, vocab]`
    /// - targets: `[batch, positions]`
    /// - output: `[1]`, f32, or f64 for f64 logits
    ///
    /// # Panics
    ///
    /// If the shapes do not fit, or the vocabulary is empty.
    #[track_caller]
    pub fn forward(&self, logits: Tensor<3>, targets: Tensor<2, Int>) -> Tensor<1> {
        let [batch, positions, vocab] = logits.dims();
        assert_shape!(targets, [batch, positions]);
        assert!(
            vocab > 0,
            "logits of shape {:?} have no vocabulary",
            logits.dims()
        );
        if batch * positions == 0 {
            // Not every backend reduces a dimension of a tensor without values.
            return full_precision(logits).sum();
        }
        let ignored = self
            .ignore_index
            .map(|index| targets.clone().equal_scalar(index));
        let targets = match &ignored {
            // An ignored target is no valid index for the gather.
            Some(ignored) => targets.mask_fill(ignored.clone(), 0),
            None => targets,
        };
        let losses = self.losses(logits, targets);
        let losses = match &ignored {
            Some(ignored) => losses.mask_fill(ignored.clone(), 0),
            None => losses,
        };
        self.reduce(losses.sum(), [batch, positions], ignored)
    }

    /// Computes the loss of the logits `hidden head^T` without holding all of them, by
    /// [`linear_cross_entropy`]; the logits of a large vocabulary take more memory than the rest of a small model.
    ///
    /// # Shapes
    ///
    /// - hidden: `[batch, positions, d_model]`, f32, f16 or bf16
    /// - head: `[vocab, d_model]`, of the type of `hidden`
    /// - targets: `[batch, positions]`
    /// - output: `[1]`, f32
    ///
    /// # Panics
    ///
    /// If shapes or types do not fit, or the vocabulary is empty. On Flex, if a target that counts is not in it.
    #[track_caller]
    pub fn forward_hidden(
        &self,
        hidden: Tensor<3>,
        head: Tensor<2>,
        targets: Tensor<2, Int>,
    ) -> Tensor<1> {
        let [batch, positions, d_model] = hidden.dims();
        assert_shape!(targets, [batch, positions]);
        let ignored = self
            .ignore_index
            .map(|index| targets.clone().equal_scalar(index));
        let rows = batch * positions;
        let device = hidden.device().inner();
        let ones = Tensor::<2>::ones([batch, positions], (&device, DType::F32));
        let (targets, weights) = match &ignored {
            Some(ignored) => (
                targets.mask_fill(ignored.clone(), 0),
                ones.mask_fill(ignored.clone(), 0),
            ),
            None => (targets, ones),
        };
        let weights = match hidden.is_autodiff() {
            true => weights.autodiff(),
            false => weights,
        };
        let terms = CrossEntropyTerms {
            label_smoothing: self.label_smoothing as f32,
            z_loss: self.z_loss as f32,
        };
        let sum = linear_cross_entropy(
            hidden.reshape([rows, d_model]),
            head,
            targets.reshape([rows]),
            weights.reshape([rows]),
            terms,
        );
        self.reduce(sum, [batch, positions], ignored)
    }

    /// Computes the loss of a language model on targets, without holding all logits if its head allows it.
    ///
    /// # Shapes
    ///
    /// - tokens, targets: `[batch, positions]`
    /// - output: `[1]`, f32
    ///
    /// # Panics
    ///
    /// As [`BitNetLm::forward`] and [`forward_hidden`](Self::forward_hidden).
    #[track_caller]
    pub fn forward_lm<P: Projection>(
        &self,
        lm: &BitNetLm<P>,
        tokens: Tensor<2, Int>,
        targets: Tensor<2, Int>,
    ) -> Tensor<1> {
        self.forward_states(lm, lm.model.forward(tokens), targets)
    }

    /// Computes the loss of the hidden states of a language model on targets, as [`forward_lm`](Self::forward_lm).
    ///
    /// # Shapes
    ///
    /// - hidden: `[batch, positions, d_model]`, as of [`BitNetModel::forward`](crate::nn::BitNetModel::forward)
    /// - targets: `[batch, positions]`
    /// - output: `[1]`, f32
    ///
    /// # Panics
    ///
    /// As [`forward_hidden`](Self::forward_hidden).
    #[track_caller]
    pub fn forward_states<P: Projection>(
        &self,
        lm: &BitNetLm<P>,
        hidden: Tensor<3>,
        targets: Tensor<2, Int>,
    ) -> Tensor<1> {
        match lm.head_weight() {
            Some(head) => self.forward_hidden(hidden, head, targets),
            None => self.forward(lm.head(hidden), targets),
        }
    }

    /// Returns the loss of each position, counted or not.
    fn losses(&self, logits: Tensor<3>, targets: Tensor<2, Int>) -> Tensor<2> {
        let logits = full_precision(logits);
        // Differences from the largest logit: `exp` does not overflow, and the loss is no
        // difference of large numbers. The maximum cancels in the loss and needs no gradient.
        let largest = logits.clone().detach().max_dim(2);
        let shifted = logits - largest.clone();
        let log_sum = shifted.clone().exp().sum_dim(2).log();
        let target = shifted.clone().gather(2, targets.unsqueeze_dim(2));

        let mut losses = log_sum.clone() - target.mul_scalar(1.0 - self.label_smoothing);
        if self.label_smoothing > 0.0 {
            losses = losses - shifted.mean_dim(2).mul_scalar(self.label_smoothing);
        }
        if self.z_loss > 0.0 {
            losses = losses + (log_sum + largest).square().mul_scalar(self.z_loss);
        }
        losses.squeeze_dim(2)
    }

    /// Reduces the sum of the losses that count.
    fn reduce(
        &self,
        sum: Tensor<1>,
        [batch, positions]: [usize; 2],
        ignored: Option<Tensor<2, Bool>>,
    ) -> Tensor<1> {
        match (&self.reduction, ignored) {
            (Reduction::Sum, _) => sum,
            (Reduction::BatchMean, _) => sum.div_scalar(batch as f64),
            (Reduction::Mean | Reduction::Auto, None) => sum.div_scalar((batch * positions) as f64),
            (Reduction::Mean | Reduction::Auto, Some(ignored)) => {
                // An integer count: f32 cannot count above 2^24.
                let counted = ignored.bool_not().int().sum().clamp_min(1);
                let dtype = sum.dtype();
                sum / counted.float().cast(dtype)
            }
        }
    }
}
