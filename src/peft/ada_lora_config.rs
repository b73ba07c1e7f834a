use core::fmt;

use burn::tensor::{Device, Distribution, Tensor};
use indexmap::IndexMap;
use serde::{Deserialize, Serialize};

use super::{
    AdaLora, Adapter, AdapterBase, LoraBias, PeftError, Targets, adapter::Init,
    lora_config::check_alpha,
};
use crate::base::bounds::{Bounds, OutOfBounds};

/// Standard deviation of the initial values of `A` and `B`.
const INIT_STD: f64 = 0.02;

/// Configuration of [AdaLoRA](https://arxiv.org/abs/2303.10512): `y = base(x) + s B(E * A(dropout(x)))` with
/// `s = alpha / (init_r + 1e-5)`, whose directions a [`RankAllocator`](super::RankAllocator) prunes in training, from
/// `init_r` in each module to `target_r` on average.
///
/// A step `t`, from 0, prunes directions
///
/// - for `t <= tinit`: never,
/// - until `total_step - tfinal`: in steps that are multiples of `delta_t`, down to a budget that
///   falls to the target,
/// - after it: the same as at step `total_step - tfinal`.
///
/// Fields and defaults are those of peft's `AdaLoraConfig`, in snake case.
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::{BitLinear, BitNetLm, BitNetLmConfig}, peft::AdaLoraConfig};
/// use burn::{module::Module, tensor::Device};
///
/// let device = Device::default().autodiff();
/// let lm: BitNetLm<BitLinear> = BitNetLmConfig::new(64, 32, 2, 4, 48).init(&device);
/// let config = AdaLoraConfig::new(1000).with_ranks(6, 4).with_steps(100, 200, 10);
/// let (lm, report) = lm.pack().train().with_adapter("default", &config)?;
/// assert_eq!(report.method, "AdaLoRA of rank 6 to 4, alpha 8, on [\"q_proj\", \"v_proj\"]");
/// # Ok::<(), bitnet_burn::peft::PeftError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default = "AdaLoraConfig::without_steps", deny_unknown_fields)]
pub struct AdaLoraConfig {
    /// Mean number of directions of a module that remain.
    pub target_r: usize,
    /// Number of directions of each module at first.
    pub init_r: usize,
    /// Last step before directions are pruned.
    pub tinit: usize,
    /// Number of steps at the end in which the directions stay the same.
    pub tfinal: usize,
    /// Number of steps from one pruning to the next.
    #[serde(alias = "deltaT")]
    pub delta_t: usize,
    /// Decay of the average of importance.
    pub beta1: f64,
    /// Decay of the average of its uncertainty.
    pub beta2: f64,
    /// Weight of the orthogonality of `A` and `B` in the loss.
    pub orth_reg_weight: f64,
    /// Number of steps of the training.
    pub total_step: usize,
    /// Scale of the adapter, times its initial rank.
    #[serde(alias = "lora_alpha")]
    pub alpha: f64,
    /// Probability with which an input of `A` is zero in training; the base sees all inputs.
    #[serde(alias = "lora_dropout")]
    pub dropout: f64,
    /// Biases that train beside the adapters.
    pub bias: LoraBias,
    /// Modules that get an adapter.
    #[serde(flatten)]
    pub targets: Targets,
    /// Directions that a folder of peft has, by the name of the module with `.lora_E`; empty for all. A folder that is
    /// written has those that are not zero.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub rank_pattern: IndexMap<String, Vec<bool>>,
    /// Modules that train as a whole, such as `lm_head`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
}

impl AdaLoraConfig {
    /// Creates the configuration of a training of `total_step` steps: from 12 to 8 directions, with alpha 8 and the
    /// targets `q_proj` and `v_proj`.
    pub fn new(total_step: usize) -> Self {
        Self {
            target_r: 8,
            init_r: 12,
            tinit: 0,
            tfinal: 0,
            delta_t: 1,
            beta1: 0.85,
            beta2: 0.85,
            orth_reg_weight: 0.5,
            total_step,
            alpha: 8.0,
            dropout: 0.0,
            bias: LoraBias::None,
            targets: Targets::default(),
            rank_pattern: IndexMap::new(),
            modules_to_save: Vec::new(),
        }
    }

    /// Values of fields that a file leaves out. It has to have the number of steps: this one is invalid.
    fn without_steps() -> Self {
        Self::new(0)
    }

    /// Sets the number of directions of each module at first, and on average at the end.
    #[must_use]
    pub fn with_ranks(mut self, init_r: usize, target_r: usize) -> Self {
        (self.init_r, self.target_r) = (init_r, target_r);
        self
    }

    /// Sets the steps before directions are pruned, those at the end in which they stay the same, and those from one
    /// pruning to the next.
    #[must_use]
    pub fn with_steps(mut self, tinit: usize, tfinal: usize, delta_t: usize) -> Self {
        (self.tinit, self.tfinal, self.delta_t) = (tinit, tfinal, delta_t);
        self
    }

    /// Sets alpha.
    #[must_use]
    pub fn with_alpha(mut self, alpha: f64) -> Self {
        self.alpha = alpha;
        self
    }

    /// Sets the dropout of the inputs of `A`.
    #[must_use]
    pub fn with_dropout(mut self, dropout: f64) -> Self {
        self.dropout = dropout;
        self
    }

    /// Sets the weight of the orthogonality in the loss.
    #[must_use]
    pub fn with_orth_reg_weight(mut self, weight: f64) -> Self {
        self.orth_reg_weight = weight;
        self
    }

    /// Sets the modules that get an adapter.
    #[must_use]
    pub fn with_targets(mut self, targets: impl Into<Targets>) -> Self {
        self.targets = targets.into();
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first value out of its bounds, or pattern that cannot be read.
    pub fn validate(&self) -> Result<(), PeftError> {
        self.targets.compile(&self.modules_to_save)?;
        Bounds::COUNT.check("init_r", self.init_r)?;
        let ranks = format!("from 1 to init_r = {}", self.init_r);
        let holds = (1..=self.init_r).contains(&self.target_r);
        OutOfBounds::unless(holds, "target_r", &ranks, self.target_r)?;
        Bounds::COUNT.check("delta_t", self.delta_t)?;
        let fixed = self.tinit.saturating_add(self.tfinal);
        let steps = format!("above tinit + tfinal = {fixed}");
        OutOfBounds::unless(
            self.total_step > fixed,
            "total_step",
            &steps,
            self.total_step,
        )?;
        Bounds::BETWEEN_0_AND_1.check("beta1", self.beta1)?;
        Bounds::BETWEEN_0_AND_1.check("beta2", self.beta2)?;
        Bounds::NOT_NEGATIVE.check("orth_reg_weight", self.orth_reg_weight)?;
        check_alpha("alpha", self.alpha)?;
        Bounds::BELOW_1.check("dropout", self.dropout)?;
        let of_init_r = format!("a list of init_r = {} values", self.init_r);
        for (key, kept) in &self.rank_pattern {
            let name = format!("rank_pattern.{key}");
            OutOfBounds::unless(kept.len() == self.init_r, &name, &of_init_r, kept.len())?;
        }
        Ok(())
    }

    /// Returns what creates the adapter of a projection.
    pub(super) fn init<P: AdapterBase>(&self) -> Result<Init<'_, P>, PeftError> {
        self.validate()?;
        Ok(Box::new(move |_, base: P, device| {
            let adapter = self.adapter(base.size(), device);
            Ok((base, adapter))
        }))
    }

    fn adapter(&self, [d_input, d_output]: [usize; 2], device: &Device) -> Adapter {
        let normal = Distribution::Normal(0.0, INIT_STD);
        let a = Tensor::random([d_input, self.init_r], normal, device);
        let b = Tensor::random([self.init_r, d_output], normal, device);
        let e = Tensor::zeros([self.init_r], device);
        let adapter = AdaLora::new(a, e, b, self.alpha);
        adapter.with_dropout(self.dropout).into()
    }
}

impl fmt::Display for AdaLoraConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (init_r, target_r) = (self.init_r, self.target_r);
        write!(
            f,
            "AdaLoRA of rank {init_r} to {target_r}, alpha {}",
            self.alpha
        )?;
        if self.dropout > 0.0 {
            write!(f, ", dropout {}", self.dropout)?;
        }
        write!(f, ", on {}", self.targets.target_modules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peft::{PeftConfig, TargetModules};

    #[test]
    fn values_out_of_their_bounds_are_named() {
        for (fields, expected) in [
            (
                r#""tinit": 5"#,
                "total_step must be above tinit + tfinal = 5, got 0",
            ),
            (
                r#""total_step": 9, "tinit": 5, "tfinal": 4"#,
                "total_step must be above tinit + tfinal = 9, got 9",
            ),
            (
                r#""total_step": 9, "init_r": 4"#,
                "target_r must be from 1 to init_r = 4, got 8",
            ),
            (
                r#""total_step": 9, "target_r": 0"#,
                "target_r must be from 1 to init_r = 12, got 0",
            ),
            (
                r#""total_step": 9, "deltaT": 0"#,
                "delta_t must be 1 or more, got 0",
            ),
            (
                r#""total_step": 9, "beta1": 1.0"#,
                "beta1 must be in (0, 1), got 1",
            ),
            (
                r#""total_step": 9, "orth_reg_weight": -1.0"#,
                "orth_reg_weight must be zero or above and finite, got -1",
            ),
            (
                r#""total_step": 9, "lora_alpha": 0"#,
                "alpha must be positive and finite, got 0",
            ),
            (
                r#""total_step": 9, "dropout": 1"#,
                "dropout must be in [0, 1), got 1",
            ),
            (
                r#""total_step": 9, "rank_pattern": {"q_proj.lora_E": [true]}"#,
                "rank_pattern.q_proj.lora_E must be a list of init_r = 12 values, got 1",
            ),
        ] {
            let config: AdaLoraConfig = serde_json::from_str(&format!("{{{fields}}}")).unwrap();
            assert_eq!(config.validate().unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn every_value_comes_back_from_json() {
        let targets = TargetModules::names(["o_proj"]);
        let mut config = AdaLoraConfig::new(20)
            .with_ranks(3, 2)
            .with_steps(1, 2, 4)
            .with_alpha(2.0)
            .with_dropout(0.1)
            .with_orth_reg_weight(0.25)
            .with_targets(targets);
        let kept = vec![true, false, true];
        config
            .rank_pattern
            .insert("o_proj.lora_E".to_string(), kept);
        let config = PeftConfig::from(config);
        let text = serde_json::to_string(&config).unwrap();
        assert!(text.starts_with(r#"{"method":"adalora","#), "{text}");
        assert_eq!(serde_json::from_str::<PeftConfig>(&text).unwrap(), config);
    }
}
