use burn::optim::{AdamWConfig, ModuleOptimizer};
use serde::{Deserialize, Serialize};

use crate::base::bounds::{Bounds, OutOfBounds};

/// AdamW, with the values of BitNet's recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Decay of the mean of gradients, 0 or more and below 1.
    pub beta_1: f64,
    /// Decay of the mean of their squares, 0 or more and below 1.
    pub beta_2: f64,
    /// Added to the root of the mean of squares, above 0.
    pub epsilon: f64,
    /// Decoupled weight decay, 0 or more.
    pub weight_decay: f64,
    /// Norm of all gradients together above which they are scaled down, above 0; `"none"` for
    /// no limit.
    #[serde(with = "crate::base::serde_none")]
    pub max_grad_norm: Option<f64>,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            beta_1: 0.9,
            beta_2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: Some(1.0),
        }
    }
}

impl OptimizerConfig {
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        Bounds::BELOW_1.check("optimizer.beta_1", self.beta_1)?;
        Bounds::BELOW_1.check("optimizer.beta_2", self.beta_2)?;
        Bounds::POSITIVE.check("optimizer.epsilon", self.epsilon)?;
        Bounds::NOT_NEGATIVE.check("optimizer.weight_decay", self.weight_decay)?;
        match self.max_grad_norm {
            Some(norm) => Bounds::POSITIVE.check("optimizer.max_grad_norm", norm),
            None => Ok(()),
        }
    }

    /// Initialize the optimizer. The limit of the norm is the business of
    /// [`GradientClipping`](crate::train::callback::GradientClipping).
    pub fn init(&self) -> ModuleOptimizer {
        AdamWConfig::new()
            .with_beta_1(self.beta_1 as f32)
            .with_beta_2(self.beta_2 as f32)
            .with_epsilon(self.epsilon as f32)
            .with_weight_decay(self.weight_decay as f32)
            .init()
    }
}
