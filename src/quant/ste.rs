use serde::{Deserialize, Serialize};

/// Straight-through estimator: the gradient that stands in for that of a quantiser.
///
/// A quantiser is piecewise constant, so that its own gradient is zero almost everywhere. The
/// forward value is `Q(x)` to the last bit for every estimator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ste {
    /// `dL/dx = dL/dQ(x)`, without a clipping mask; the estimator of BitNet.
    ///
    /// Source: [Estimating or Propagating Gradients Through Stochastic
    /// Neurons](https://arxiv.org/abs/1308.3432).
    #[default]
    Identity,
}
