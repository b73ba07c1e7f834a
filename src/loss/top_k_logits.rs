use burn::tensor::{Int, Tensor};

use super::kl_divergence::{log_sum_exp, scaled, without};
use crate::base::bounds::Bounds;

/// Teacher's `k` largest logits of each token, and the mass of the others.
///
/// Sufficient for distillation from a teacher with a large vocabulary, in a fraction of the space.
/// See [`forward_top_k_no_reduction`](super::LogitsDistillationLoss::forward_top_k_no_reduction)
/// for the divergence.
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::TopKLogits;
/// use burn::tensor::{Device, Tensor};
///
/// let logits = Tensor::<3>::from_floats([[[0.0, 3.0, 1.0, 2.0]]], &Device::default());
/// let top = TopKLogits::from_logits(logits, 2, 1.0);
/// assert_eq!(top.indices.into_data().iter::<i64>().collect::<Vec<_>>(), [1, 3]);
/// ```
#[derive(Debug, Clone)]
pub struct TopKLogits {
    /// Tokens of the largest logits, `[batch, positions, k]`, distinct at each position.
    pub indices: Tensor<3, Int>,
    /// Their logits, not divided by the temperature, `[batch, positions, k]`.
    pub logits: Tensor<3>,
    /// `log(sum(exp(logit / temperature)))` over all other tokens, `[batch, positions, 1]`;
    /// `None` if there are no others.
    pub log_rest: Option<Tensor<3>>,
    /// Temperature of `log_rest`. The mass of the rest is not known at other temperatures.
    pub temperature: f64,
}

impl TopKLogits {
    /// Selects the `k` largest logits.
    ///
    /// # Shapes
    ///
    /// - logits: `[batch, positions, vocab]`
    ///
    /// # Panics
    ///
    /// If `k` is zero or above `vocab`, or the temperature is not positive.
    #[track_caller]
    pub fn from_logits(logits: Tensor<3>, k: usize, temperature: f64) -> Self {
        let [_, _, vocab] = logits.dims();
        assert!(
            0 < k && k <= vocab,
            "k must be 1 to the size of the vocabulary {vocab}, got {k}"
        );
        Bounds::ABOVE_0.assert("temperature", temperature);
        let logits = logits.detach();
        let (top, indices) = logits.clone().topk_with_indices(k, 2);
        let log_rest =
            (k < vocab).then(|| log_sum_exp(without(scaled(logits, temperature), indices.clone())));
        Self {
            indices,
            logits: top,
            log_rest,
            temperature,
        }
    }

    /// Returns the logits of the `k` tokens and of "any other", divided by the temperature:
    /// `[batch, positions, k or k + 1]`.
    pub(super) fn events(&self) -> Tensor<3> {
        let top = scaled(self.logits.clone().detach(), self.temperature);
        match &self.log_rest {
            Some(rest) => Tensor::cat(vec![top, scaled(rest.clone().detach(), 1.0)], 2),
            None => top,
        }
    }

    /// Returns the same events of other logits `[batch, positions, vocab]`, already divided.
    #[track_caller]
    pub(super) fn same_events(&self, scaled: Tensor<3>) -> Tensor<3> {
        let [batch, positions, _] = scaled.dims();
        let [teacher_batch, teacher_positions, _] = self.indices.dims();
        assert_eq!(
            [batch, positions],
            [teacher_batch, teacher_positions],
            "logits of student and teacher must have the same batch and positions"
        );
        let top = scaled.clone().gather(2, self.indices.clone());
        match &self.log_rest {
            Some(_) => {
                let rest = log_sum_exp(without(scaled, self.indices.clone()));
                Tensor::cat(vec![top, rest], 2)
            }
            None => top,
        }
    }
}
