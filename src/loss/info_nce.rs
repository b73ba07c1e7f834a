use burn::{
    config::Config,
    tensor::{Int, Tensor, activation::log_softmax, assert_shape},
};
use serde::{Deserialize, Serialize};

use super::{
    precision::{full_precision, mean},
    unit_norm::unit_norm,
};
use crate::base::bounds::{Bounds, positive};

/// InfoNCE loss: cross-entropy of identifying the key of each query among the keys of the batch.
///
/// `L = -mean_i log softmax_j(q_i . k_j / temperature)_(j = i)`
///
/// Query `i` and key `i` are a positive pair; the other keys of the batch are negatives. The
/// symmetric loss averages this with its counterpart where queries and keys are exchanged. For a
/// learned temperature, scale the queries yourself, leave `temperature` at 1 and turn `normalize`
/// off.
///
/// Sources: [Representation Learning with Contrastive Predictive
/// Coding](https://arxiv.org/abs/1807.03748); symmetric: [CLIP](https://arxiv.org/abs/2103.00020).
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::InfoNceLoss;
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let loss = InfoNceLoss::new().with_temperature(0.1);
/// let queries = Tensor::<2>::from_floats([[1.0, 0.0], [0.0, 1.0]], &device);
/// let loss = loss.forward(queries.clone(), queries).into_scalar::<f32>();
/// assert!((loss - (1.0 + (-10f32).exp()).ln()).abs() < 1e-6);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct InfoNceLoss {
    /// Temperature by which similarities are divided, above 0; 0.07 by default.
    #[serde(deserialize_with = "positive")]
    pub temperature: f64,
    /// `true` (the default) to scale queries and keys to length 1, so that similarities are
    /// cosines.
    pub normalize: bool,
    /// `true` to average both directions, query to key and key to query, as in CLIP; `false` by
    /// default.
    pub symmetric: bool,
}

impl Config for InfoNceLoss {}

impl Default for InfoNceLoss {
    fn default() -> Self {
        Self {
            temperature: 0.07,
            normalize: true,
            symmetric: false,
        }
    }
}

impl InfoNceLoss {
    /// Creates a loss on cosine similarities with temperature 0.07, from queries to keys.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`temperature`](Self::temperature).
    ///
    /// # Panics
    ///
    /// If it is not positive and finite.
    #[track_caller]
    #[must_use]
    pub fn with_temperature(mut self, temperature: f64) -> Self {
        Bounds::POSITIVE.assert("temperature", temperature);
        self.temperature = temperature;
        self
    }

    /// Sets [`normalize`](Self::normalize).
    #[must_use]
    pub fn with_normalize(mut self, normalize: bool) -> Self {
        self.normalize = normalize;
        self
    }

    /// Sets [`symmetric`](Self::symmetric).
    #[must_use]
    pub fn with_symmetric(mut self, symmetric: bool) -> Self {
        self.symmetric = symmetric;
        self
    }

    /// Computes the loss; 0 for an empty batch.
    ///
    /// # Shapes
    ///
    /// - queries: `[batch, d_model]`
    /// - keys: `[batch, d_model]`
    /// - output: `[1]`, f32, or f64 for f64 inputs
    ///
    /// # Panics
    ///
    /// If queries and keys differ in shape.
    #[track_caller]
    pub fn forward(&self, queries: Tensor<2>, keys: Tensor<2>) -> Tensor<1> {
        let [batch, d_model] = queries.dims();
        assert_shape!(keys, [batch, d_model]);
        if batch == 0 {
            // Not every backend reduces a dimension of a tensor without values.
            return full_precision(queries).sum() + full_precision(keys).sum();
        }
        let [queries, keys] = [queries, keys].map(|vectors| {
            let vectors = full_precision(vectors);
            match self.normalize {
                true => unit_norm(vectors),
                false => vectors,
            }
        });
        let similarities = queries
            .div_scalar(self.temperature)
            .matmul(keys.transpose());
        match self.symmetric {
            false => matched(similarities),
            true => {
                let backward = matched(similarities.clone().transpose());
                (matched(similarities) + backward).div_scalar(2.0)
            }
        }
    }
}

/// Returns the mean cross-entropy of the rows, whose targets lie on the diagonal.
fn matched(similarities: Tensor<2>) -> Tensor<1> {
    let [batch, _] = similarities.dims();
    let diagonal = Tensor::<1, Int>::arange(0..batch as i64, &similarities.device());
    let log_probabilities = log_softmax(similarities, 1);
    mean(log_probabilities.gather(1, diagonal.unsqueeze_dim(1))).neg()
}
