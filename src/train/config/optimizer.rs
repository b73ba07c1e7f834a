use burn::{
    module::Module,
    optim::{ModuleOptimizer, Optimizer},
};
use serde::{Deserialize, Serialize};

use super::{ParameterGroupConfig, TrainingConfigError, parameter_group::check_groups};
use crate::{
    base::bounds::Bounds,
    optim::{AdamW8bitConfig, FusedAdamWConfig, QatOptimizerConfig},
};

/// Optimizer configuration, with the values of BitNet's recipe by default.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OptimizerConfig {
    /// Kind of optimizer.
    pub kind: OptimizerKind,
    /// Decay rate of the mean of gradients, 0 or more and below 1.
    pub beta_1: f64,
    /// Decay rate of the mean of squared gradients, 0 or more and below 1.
    pub beta_2: f64,
    /// Value added to the root of the mean of squares, above 0.
    pub epsilon: f64,
    /// Decoupled weight decay, 0 or more.
    pub weight_decay: f64,
    /// Maximum total norm of the gradients, above 0; larger gradients are scaled down. `"none"` for
    /// no limit.
    #[serde(with = "crate::base::serde_none")]
    pub max_grad_norm: Option<f64>,
    /// `true` to round bf16 parameters, such as [latent weights](crate::qat::cast_latent_weights),
    /// [stochastically](QatOptimizerConfig::stochastic_rounding) after steps in f32, with the seed
    /// of the training.
    pub stochastic_rounding: bool,
    /// Parameters with a learning rate or a weight decay of their own.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub groups: Vec<ParameterGroupConfig>,
}

/// Kind of optimizer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum OptimizerKind {
    /// [`FusedAdamW`](crate::optim::FusedAdamW): Burn's AdamW in one operation.
    #[default]
    #[serde(rename = "adamw")]
    AdamW,
    /// [`AdamW8bit`](crate::optim::AdamW8bit): 8-bit optimizer states.
    #[serde(rename = "adamw_8bit")]
    AdamW8bit,
}

impl Default for OptimizerConfig {
    fn default() -> Self {
        Self {
            kind: OptimizerKind::AdamW,
            beta_1: 0.9,
            beta_2: 0.95,
            epsilon: 1e-8,
            weight_decay: 0.01,
            max_grad_norm: Some(1.0),
            stochastic_rounding: false,
            groups: Vec::new(),
        }
    }
}

impl OptimizerConfig {
    pub(super) fn validate(&self) -> Result<(), TrainingConfigError> {
        Bounds::BELOW_1.check("optimizer.beta_1", self.beta_1)?;
        Bounds::BELOW_1.check("optimizer.beta_2", self.beta_2)?;
        Bounds::POSITIVE.check("optimizer.epsilon", self.epsilon)?;
        Bounds::NOT_NEGATIVE.check("optimizer.weight_decay", self.weight_decay)?;
        if let Some(norm) = self.max_grad_norm {
            Bounds::POSITIVE.check("optimizer.max_grad_norm", norm)?;
        }
        let mut groups = self.groups.iter().enumerate();
        groups.try_for_each(|(index, group)| group.validate(index))
    }

    /// Checks that each [group](Self::groups) matches parameters of a model and shares none with
    /// another.
    ///
    /// # Errors
    ///
    /// If a group is empty, or a parameter is in two.
    pub fn check_groups<M: Module>(&self, model: &M) -> Result<(), TrainingConfigError> {
        check_groups(&self.groups, model)
    }

    /// Initialize the optimizer with the `seed` of stochastic rounding. The maximum norm is applied
    /// by [`GradientClipping`](crate::train::callback::GradientClipping).
    ///
    /// # Errors
    ///
    /// If the pattern of a group is not a valid regular expression.
    pub fn init(&self, seed: u64) -> Result<ModuleOptimizer, TrainingConfigError> {
        match self.kind {
            OptimizerKind::AdamW => self.grouped(seed, |weight_decay| {
                FusedAdamWConfig::new()
                    .with_beta_1(self.beta_1 as f32)
                    .with_beta_2(self.beta_2 as f32)
                    .with_epsilon(self.epsilon as f32)
                    .with_weight_decay(weight_decay as f32)
                    .build()
            }),
            OptimizerKind::AdamW8bit => self.grouped(seed, |weight_decay| {
                AdamW8bitConfig::new()
                    .with_beta_1(self.beta_1)
                    .with_beta_2(self.beta_2)
                    .with_epsilon(self.epsilon)
                    .with_weight_decay(weight_decay)
                    .build()
            }),
        }
    }

    /// Creates an optimizer for each group, with its weight decay.
    fn grouped<O: Optimizer>(
        &self,
        seed: u64,
        build: impl Fn(f64) -> O,
    ) -> Result<ModuleOptimizer, TrainingConfigError> {
        let rounding = self.stochastic_rounding.then_some(seed);
        let config = QatOptimizerConfig::new().with_stochastic_rounding(rounding);
        let mut optimizer = ModuleOptimizer::from(config.build(build(self.weight_decay)));
        for (index, group) in self.groups.iter().enumerate() {
            let own = build(group.weight_decay.unwrap_or(self.weight_decay));
            optimizer = optimizer.with_group(group.parameters(index)?, config.build(own), None);
        }
        Ok(optimizer)
    }
}
