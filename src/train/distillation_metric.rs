use burn::tensor::{Tensor, TensorReadError};

use super::mean_metric::{BatchValue, MeanMetric};
use crate::loss::DistillationLosses;

/// Unweighted part of a [`DistillationLoss`](crate::loss::DistillationLoss), as a metric of
/// training. NaN if the part is disabled.
///
/// # Aggregation
///
/// Mean over the positions of all batches that are not padding: each part is a mean over those of
/// its batch, and is weighted by their number. (A different mask of the task is not known here.)
pub type DistillationMetric = MeanMetric<LossPart>;

/// Part of a distillation loss.
#[derive(Clone)]
pub struct LossPart(fn(&DistillationLosses) -> Option<&Tensor<1>>);

impl DistillationMetric {
    /// Creates the metric of the student's own loss.
    pub fn task() -> Self {
        Self::of_values("Task loss", LossPart(|losses| Some(&losses.task)))
    }

    /// Creates the metric of the divergence of the logits.
    pub fn logits() -> Self {
        let part = LossPart(|losses| losses.logits.as_ref());
        Self::of_values("Logits divergence", part)
    }

    /// Creates the metric of the distance of the hidden states.
    pub fn hidden() -> Self {
        let part = LossPart(|losses| losses.hidden.as_ref());
        Self::of_values("Hidden distance", part)
    }

    /// Creates the metric of the divergence of the attention relations.
    pub fn attention() -> Self {
        let part = LossPart(|losses| losses.attention.as_ref());
        Self::of_values("Attention divergence", part)
    }
}

impl BatchValue for LossPart {
    type Input = DistillationLosses;

    fn read(&self, losses: &DistillationLosses) -> Result<(f64, usize), TensorReadError> {
        let value = match (self.0)(losses) {
            Some(part) => part.clone().try_into_scalar()?,
            None => f64::NAN,
        };
        let tokens = losses.tokens.clone().try_into_scalar::<i64>()?;
        Ok((value, tokens.max(0) as usize))
    }
}
