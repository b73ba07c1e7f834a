use burn::tensor::TensorReadError;

use super::{
    TokenLoss,
    mean_metric::{BatchValue, MeanMetric},
};

/// Mean loss of all tokens of an epoch, as the metric `Loss`.
///
/// `sum_b(tokens_b * mean_b) / sum_b(tokens_b)` over the batches `b`: the value does not depend on
/// the batch size or on the distribution of masks. Burn's
/// [`LossMetric`](burn::train::metric::LossMetric) is the mean of the batches' means. Use this
/// metric in its place; users of the metric `Loss` (early stopping, the best checkpoint) find it
/// under the same name.
///
/// A batch without counted tokens is ignored.
pub type TokenLossMetric = MeanMetric<MeanOfTokens>;

/// Mean loss of a batch, weighted by its tokens.
#[derive(Clone)]
pub struct MeanOfTokens;

impl TokenLossMetric {
    /// Creates the metric.
    pub fn new() -> Self {
        Self::of_values("Loss", MeanOfTokens)
    }
}

impl Default for TokenLossMetric {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchValue for MeanOfTokens {
    type Input = TokenLoss;

    fn read(&self, loss: &TokenLoss) -> Result<(f64, usize), TensorReadError> {
        Ok((loss.mean.clone().try_into_scalar()?, loss.tokens))
    }
}
