use core::fmt;

use burn::tensor::Device;
use indexmap::IndexMap;
use regex::Regex;
use serde::{Deserialize, Serialize};

use super::{
    AdapterBase, Lora, LoraInit, PeftError, TargetModules, Targets,
    adapter::Init,
    adapter_base::on,
    lora::column_norms,
    pattern::{first_match, last_parts},
};
use crate::base::bounds::{Bounds, OutOfBounds};

/// Biases that train beside the adapters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoraBias {
    /// No bias.
    #[default]
    None,
    /// All biases of the model.
    All,
    /// The biases of adapted modules.
    LoraOnly,
}

/// Configuration of [LoRA](https://arxiv.org/abs/2106.09685): `y = base(x) + s B(A(dropout(x)))` with
/// `s = alpha / rank`.
///
/// Fields and defaults are those of peft's `LoraConfig`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoraConfig {
    /// Rank of the adapter.
    #[serde(alias = "r")]
    pub rank: usize,
    /// Scale of the adapter, times its rank.
    #[serde(alias = "lora_alpha")]
    pub alpha: f64,
    /// Probability with which an input of `A` is zero in training; the base sees all inputs.
    #[serde(alias = "lora_dropout")]
    pub dropout: f64,
    /// Divides by the root of the rank: `s = alpha / sqrt(rank)`
    /// ([rsLoRA](https://arxiv.org/abs/2312.03732)).
    pub use_rslora: bool,
    /// Trains the norm of each output's weights apart from their direction
    /// ([DoRA](https://arxiv.org/abs/2402.09353)).
    pub use_dora: bool,
    /// Initial values of `A` and `B`.
    #[serde(alias = "init_lora_weights")]
    pub init: LoraInit,
    /// Biases that train beside the adapters.
    pub bias: LoraBias,
    /// Modules that get an adapter.
    #[serde(flatten)]
    pub targets: Targets,
    /// Ranks of modules whose name ends with a key, a regular expression; the first that matches counts.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub rank_pattern: IndexMap<String, usize>,
    /// Values of alpha of modules whose name ends with a key, a regular expression; the first that matches
    /// counts.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub alpha_pattern: IndexMap<String, f64>,
    /// Modules that train as a whole, such as `lm_head`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
    /// Learning rate of the factors `B` and of trained vectors over that of the factors `A`, 1 or more
    /// ([LoRA+](super::lora_plus_group)); `None` for one rate. For training alone: files of peft do not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loraplus_lr_ratio: Option<f64>,
}

impl Default for LoraConfig {
    fn default() -> Self {
        Self::new(8)
    }
}

impl LoraConfig {
    /// Creates the configuration of a rank, with alpha 8 and the targets `q_proj` and `v_proj`.
    pub fn new(rank: usize) -> Self {
        Self {
            rank,
            alpha: 8.0,
            dropout: 0.0,
            use_rslora: false,
            use_dora: false,
            init: LoraInit::default(),
            bias: LoraBias::None,
            targets: Targets::default(),
            rank_pattern: IndexMap::new(),
            alpha_pattern: IndexMap::new(),
            modules_to_save: Vec::new(),
            loraplus_lr_ratio: None,
        }
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

    /// Sets the modules that get an adapter.
    #[must_use]
    pub fn with_targets(mut self, targets: impl Into<Targets>) -> Self {
        self.targets = targets.into();
        self
    }

    /// Sets the initial values.
    #[must_use]
    pub fn with_init(mut self, init: LoraInit) -> Self {
        self.init = init;
        self
    }

    /// Divides by the root of the rank instead of the rank.
    #[must_use]
    pub fn with_rslora(mut self) -> Self {
        self.use_rslora = true;
        self
    }

    /// Trains norms apart from directions.
    #[must_use]
    pub fn with_dora(mut self) -> Self {
        self.use_dora = true;
        self
    }

    /// Sets the learning rate of the factors `B` over that of the factors `A`.
    #[must_use]
    pub fn with_loraplus_lr_ratio(mut self, ratio: f64) -> Self {
        self.loraplus_lr_ratio = Some(ratio);
        self
    }

    /// Returns the configuration of the adapters as they are [beside the original
    /// weights](Lora::into_plain): of twice the ranks and the same scales, where initial factors were subtracted
    /// from the weights.
    #[must_use]
    pub fn into_plain(mut self) -> Self {
        if !self.init.changes_base() {
            return self;
        }
        self.init = LoraInit::Kaiming;
        self.rank *= 2;
        self.rank_pattern.values_mut().for_each(|rank| *rank *= 2);
        let factor = match self.use_rslora {
            true => 2f64.sqrt(),
            false => 2.0,
        };
        self.alpha *= factor;
        self.alpha_pattern
            .values_mut()
            .for_each(|alpha| *alpha *= factor);
        self
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first value out of its bounds, or pattern that cannot be read.
    pub fn validate(&self) -> Result<(), PeftError> {
        self.targets.compile(&self.modules_to_save)?;
        self.compile().map(drop)
    }

    /// Returns what creates the adapter of a projection.
    pub(super) fn init<P: AdapterBase>(&self) -> Result<Init<'_, P>, PeftError> {
        let compiled = self.compile()?;
        if let LoraInit::Loftq(_) = self.init {
            return Err(PeftError::Loftq);
        }
        Ok(Box::new(move |module, base, device| {
            let (base, lora) = self.lora(&compiled, module, base, device)?;
            Ok((base, lora.into()))
        }))
    }

    /// Returns the base of an adapter, whose weight an initialization may change, and the adapter.
    pub(super) fn lora<P: AdapterBase>(
        &self,
        compiled: &CompiledLora,
        module: &str,
        mut base: P,
        device: &Device,
    ) -> Result<(P, Lora), PeftError> {
        let (rank, scaling) = compiled.rank_and_scaling(self, module);
        self.init.check_rank(module, base.size(), rank)?;
        let (a, b) = match self.init.changes_base() {
            false => self.init.drawn(base.size(), rank, device),
            true if !base.is_float() => {
                return Err(PeftError::FixedBase {
                    module: module.to_string(),
                    init: self.init.to_string(),
                    base: P::KIND,
                });
            }
            true => {
                let weight = base.dense_weight();
                let (a, b) = self.init.of_weight(weight.clone(), rank, scaling);
                let product = a.clone().matmul(b.clone()) * scaling;
                base = base.with_weight(weight - product, None);
                (on(a, device), on(b, device))
            }
        };
        let mut lora = Lora::new(a, b, scaling).with_dropout(self.dropout);
        if self.init.changes_base() {
            lora = lora.subtracted();
        }
        if self.use_dora {
            let directed = base.dense_weight() + lora.delta().without_autodiff();
            let norms = column_norms(directed).squeeze_dim::<1>(0);
            lora = lora.with_magnitude(on(norms, device));
        }
        Ok((base, lora))
    }

    pub(super) fn compile(&self) -> Result<CompiledLora, PeftError> {
        self.init.check()?;
        OutOfBounds::unless(self.rank > 0, "rank", "1 or more", self.rank)?;
        for (key, &rank) in &self.rank_pattern {
            OutOfBounds::unless(rank > 0, &format!("rank_pattern.{key}"), "1 or more", rank)?;
        }
        let in_range = (0.0..1.0).contains(&self.dropout);
        OutOfBounds::unless(
            in_range,
            "dropout",
            "0 or more, and less than 1",
            self.dropout,
        )?;
        for (name, alpha) in self.alphas() {
            check_alpha(&name, alpha)?;
        }
        if let Some(ratio) = self.loraplus_lr_ratio {
            let in_range = ratio.is_finite() && ratio >= 1.0;
            OutOfBounds::unless(
                in_range,
                "loraplus_lr_ratio",
                "1 or more, and finite",
                ratio,
            )?;
        }
        Ok(CompiledLora {
            ranks: compiled("rank_pattern", &self.rank_pattern)?,
            alphas: compiled("alpha_pattern", &self.alpha_pattern)?,
        })
    }

    fn alphas(&self) -> impl Iterator<Item = (String, f64)> {
        let patterns = self.alpha_pattern.iter();
        let patterns = patterns.map(|(key, alpha)| (format!("alpha_pattern.{key}"), *alpha));
        std::iter::once(("alpha".to_string(), self.alpha)).chain(patterns)
    }

    /// Returns the factor of the adapter of a rank: `alpha / rank`, or `alpha / sqrt(rank)`.
    fn scaling(&self, rank: usize, alpha: f64) -> f64 {
        match self.use_rslora {
            true => alpha / (rank as f64).sqrt(),
            false => alpha / rank as f64,
        }
    }
}

impl fmt::Display for LoraConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = match (self.use_dora, self.use_rslora) {
            (false, false) => "LoRA",
            (false, true) => "rsLoRA",
            (true, false) => "DoRA",
            (true, true) => "DoRA with rsLoRA's scale",
        };
        write!(f, "{method} of rank {}, alpha {}", self.rank, self.alpha)?;
        if self.dropout > 0.0 {
            write!(f, ", dropout {}", self.dropout)?;
        }
        write!(f, ", on {}", self.targets.target_modules)
    }
}

/// Checks a value of alpha, which becomes a factor of tensors.
pub(super) fn check_alpha(name: &str, alpha: f64) -> Result<(), OutOfBounds> {
    Bounds::POSITIVE.check(name, alpha)?;
    let in_f32 = alpha <= f64::from(f32::MAX);
    OutOfBounds::unless(in_f32, name, "a number of f32", alpha)
}

fn compiled<T: Copy>(
    field: &'static str,
    patterns: &IndexMap<String, T>,
) -> Result<Vec<(Regex, T)>, PeftError> {
    let compile = |(key, &value): (&String, &T)| Ok((last_parts(field, key)?, value));
    patterns.iter().map(compile).collect()
}

/// Compiled patterns of a [`LoraConfig`].
pub(super) struct CompiledLora {
    ranks: Vec<(Regex, usize)>,
    alphas: Vec<(Regex, f64)>,
}

impl CompiledLora {
    /// Returns the rank and the scale of a module.
    pub(super) fn rank_and_scaling(&self, config: &LoraConfig, name: &str) -> (usize, f64) {
        let (rank, alpha) = self.rank_and_alpha(config, name);
        (rank, config.scaling(rank, alpha))
    }

    /// Returns rank and alpha of a module.
    fn rank_and_alpha(&self, config: &LoraConfig, name: &str) -> (usize, f64) {
        (
            first_match(&self.ranks, name).unwrap_or(config.rank),
            first_match(&self.alphas, name).unwrap_or(config.alpha),
        )
    }
}

impl From<TargetModules> for LoraConfig {
    fn from(targets: TargetModules) -> Self {
        Self::default().with_targets(targets)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_pattern_that_matches_gives_rank_and_alpha() {
        let text = r#"{"r": 4, "rank_pattern": {"self_attn.q_proj": 2, ".*q_proj": 3}, "alpha_pattern": {"v_proj": 1.5}}"#;
        let config: LoraConfig = serde_json::from_str(text).unwrap();
        let compiled = config.compile().unwrap();
        let of = |name: &str| compiled.rank_and_alpha(&config, name);
        assert_eq!(of("model.layers.0.self_attn.q_proj"), (2, 8.0));
        assert_eq!(of("model.layers.0.cross_attn.q_proj"), (3, 8.0));
        assert_eq!(of("model.layers.0.self_attn.v_proj"), (4, 1.5));
        assert_eq!(of("model.layers.0.self_attn.k_proj"), (4, 8.0));
    }

    #[test]
    fn values_out_of_their_bounds_are_named() {
        for (text, expected) in [
            (r#"{"r": 0}"#, "rank must be 1 or more, got 0"),
            (
                r#"{"dropout": 1.0}"#,
                "dropout must be 0 or more, and less than 1, got 1",
            ),
            (
                r#"{"alpha": 0}"#,
                "alpha must be positive and finite, got 0",
            ),
            (r#"{"alpha": 1e39}"#, "alpha must be a number of f32, got 1"),
            (
                r#"{"alpha_pattern": {"q_proj": -1.5}}"#,
                "alpha_pattern.q_proj must be positive and finite, got -1.5",
            ),
            (
                r#"{"loraplus_lr_ratio": 0.5}"#,
                "loraplus_lr_ratio must be 1 or more, and finite, got 0.5",
            ),
            (
                r#"{"rank_pattern": {"(": 2}}"#,
                "rank_pattern is not a regular expression",
            ),
        ] {
            let config: LoraConfig = serde_json::from_str(text).unwrap();
            let error = config.validate().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
    }

    #[test]
    fn every_value_comes_back_from_json() {
        let mut config = LoraConfig::new(4)
            .with_alpha(2.0)
            .with_dropout(0.1)
            .with_rslora()
            .with_loraplus_lr_ratio(16.0);
        config.rank_pattern.insert("q_proj".to_string(), 2);
        config.targets.layers_to_transform = Some(vec![1]);
        config.bias = LoraBias::LoraOnly;
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<LoraConfig>(&text).unwrap(), config);
    }
}
