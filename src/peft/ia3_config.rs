use core::fmt;

use burn::tensor::{Device, Distribution, Tensor};
use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize};

use super::{
    AdapterBase, Ia3, PeftError, TargetModules, Targets, adapter::Init, pattern::full_match,
};

/// Configuration of [(IA)³](https://arxiv.org/abs/2205.05638): `y = l base(x)`, and `y = base(l x)` of feed-forward
/// modules.
///
/// Fields are those of peft's `IA3Config`, and defaults those of peft for models of the Llama family. Qwen models have
/// `q_proj` in the place of `k_proj` there.
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::{BitLinear, BitNetLm, BitNetLmConfig}, peft::Ia3Config};
/// use burn::{module::Module, tensor::Device};
///
/// let device = Device::default().autodiff();
/// let lm: BitNetLm<BitLinear> = BitNetLmConfig::new(64, 32, 2, 4, 48).init(&device);
/// let (lm, report) = lm.pack().train().with_adapter("default", Ia3Config::default())?;
/// // Keys and values of 32 outputs, and the 48 inputs of the feed-forward module, in 2 layers.
/// assert_eq!(report.num_trainable, 2 * (32 + 32 + 48));
/// # Ok::<(), bitnet_burn::peft::PeftError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Ia3Config {
    /// Modules that get an adapter.
    #[serde(flatten, deserialize_with = "targets")]
    pub targets: Targets,
    /// Targeted modules whose inputs are scaled instead of their outputs: names with which the name of a module
    /// ends, or a regular expression of whole names.
    pub feedforward_modules: TargetModules,
    /// Factors start at 1, so that the model is as it was; otherwise from a normal distribution, for tests.
    pub init_ia3_weights: bool,
    /// Modules that train as a whole, such as `lm_head`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
}

fn default_targets() -> TargetModules {
    TargetModules::names(["k_proj", "v_proj", "down_proj"])
}

fn targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Targets, D::Error> {
    Targets::deserialize_or(deserializer, default_targets())
}

impl Default for Ia3Config {
    fn default() -> Self {
        Self {
            targets: default_targets().into(),
            feedforward_modules: TargetModules::names(["down_proj"]),
            init_ia3_weights: true,
            modules_to_save: Vec::new(),
        }
    }
}

impl Ia3Config {
    /// Creates the configuration of target modules, of which `feedforward` scale their inputs.
    pub fn new(targets: impl Into<Targets>, feedforward: TargetModules) -> Self {
        Self {
            targets: targets.into(),
            feedforward_modules: feedforward,
            ..Self::default()
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first pattern that cannot be read, or name of a feed-forward module that is no target.
    pub fn validate(&self) -> Result<(), PeftError> {
        self.targets.compile(&self.modules_to_save)?;
        self.feed_forward().map(drop)
    }

    /// Returns what creates the adapter of a projection.
    pub(super) fn init<P: AdapterBase>(&self) -> Result<Init<'_, P>, PeftError> {
        let feed_forward = self.feed_forward()?;
        Ok(Box::new(move |module, base: P, device| {
            let is_feed_forward = feed_forward.matches(module);
            let [d_input, d_output] = base.size();
            let size = if is_feed_forward { d_input } else { d_output };
            let ia3 = Ia3::new(self.factors(size, device), is_feed_forward);
            Ok((base, ia3.into()))
        }))
    }

    fn factors(&self, size: usize, device: &Device) -> Tensor<1> {
        match self.init_ia3_weights {
            true => Tensor::ones([size], device),
            false => Tensor::random([size], Distribution::Normal(0.0, 1.0), device),
        }
    }

    fn feed_forward(&self) -> Result<FeedForward<'_>, PeftError> {
        let refused = |expected: String| PeftError::FeedForward {
            found: self.feedforward_modules.to_string(),
            expected,
        };
        match (&self.feedforward_modules, &self.targets.target_modules) {
            (TargetModules::AllLinear, _) => {
                Err(refused("names or a regular expression".to_string()))
            }
            (TargetModules::Names(names), TargetModules::Names(targets))
                if !names.iter().all(|name| targets.contains(name)) =>
            {
                Err(refused(format!("some of target_modules {targets:?}")))
            }
            (TargetModules::Names(names), _) => Ok(FeedForward::Names(names)),
            (TargetModules::Pattern(pattern), _) => {
                let pattern = full_match("feedforward_modules", pattern)?;
                Ok(FeedForward::Pattern(pattern))
            }
        }
    }
}

/// Compiled names of the feed-forward modules, by the rules of peft.
enum FeedForward<'a> {
    /// Ends of names, also within a word.
    Names(&'a [String]),
    Pattern(Regex),
}

impl FeedForward<'_> {
    fn matches(&self, module: &str) -> bool {
        match self {
            Self::Names(names) => names.iter().any(|name| module.ends_with(name.as_str())),
            Self::Pattern(pattern) => pattern.is_match(module),
        }
    }
}

impl fmt::Display for Ia3Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "(IA)³ on {}, on the inputs of {}",
            self.targets.target_modules, self.feedforward_modules
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Ia3Config {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn an_empty_configuration_is_that_of_peft_for_llama() {
        assert_eq!(config("{}"), Ia3Config::default());
        let targets = &config(r#"{"exclude_modules": ["v_proj"]}"#).targets;
        assert_eq!(targets.target_modules, default_targets());
        let error = serde_json::from_str::<Ia3Config>(r#"{"rank": 8}"#).unwrap_err();
        assert!(error.to_string().contains("`rank`"), "{error}");
    }

    #[test]
    fn names_of_feed_forward_modules_are_targets() {
        for (text, expected) in [
            (
                r#"{"target_modules": ["k_proj"]}"#,
                r#"feedforward_modules must be some of target_modules ["k_proj"], got ["down_proj"]"#,
            ),
            (
                r#"{"feedforward_modules": "all-linear"}"#,
                "feedforward_modules must be names or a regular expression, got all-linear",
            ),
            (
                r#"{"feedforward_modules": "("}"#,
                "feedforward_modules is not a regular expression",
            ),
            (
                r#"{"target_modules": "("}"#,
                "target_modules is not a regular expression",
            ),
        ] {
            let error = config(text).validate().unwrap_err().to_string();
            assert!(error.starts_with(expected), "{error}");
        }
        for text in [
            r#"{"target_modules": "all-linear"}"#,
            r#"{"target_modules": ["k_proj"], "feedforward_modules": []}"#,
            r#"{"feedforward_modules": ".*mlp.*"}"#,
        ] {
            config(text).validate().unwrap();
        }
    }

    #[test]
    fn feed_forward_modules_are_matched_as_in_peft() {
        let matches = |modules: &str| {
            let text = format!(r#"{{"target_modules": ".*", "feedforward_modules": {modules}}}"#);
            let config = config(&text);
            let feed_forward = config.feed_forward().unwrap();
            ["model.layers.0.mlp.down_proj", "model.layers.0.mlp.up_proj"]
                .map(|module| feed_forward.matches(module))
        };
        assert_eq!(matches(r#"["down_proj"]"#), [true, false]);
        assert_eq!(matches(r#"["n_proj"]"#), [true, false]);
        assert_eq!(matches(r#"".*up_proj""#), [false, true]);
        assert_eq!(matches(r#""up_proj""#), [false, false]);
    }
}
