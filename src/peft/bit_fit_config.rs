use core::fmt;

use burn::tensor::Tensor;
use serde::{Deserialize, Deserializer, Serialize};

use super::{AdapterBase, BitFit, PeftError, TargetModules, Targets, adapter::Init};

/// Configuration of [BitFit](https://arxiv.org/abs/2106.10199): `y = base(x) + d` with a trained difference `d` of the
/// bias, which starts at 0.
///
/// Every targeted projection has one, also where the base has no bias: models of the Llama and BitNet families have
/// none. The difference, and not the bias itself, is trained because
///
/// - it is an adapter like others: on and off by name, deleted without a trace, several beside each other;
/// - it stands beside packed and 4-bit weights as beside others, and the frozen base stays as it was loaded;
/// - weight decay pulls it to 0, which is the pretrained bias, and not the bias to 0.
///
/// # Merging
///
/// The [merged](crate::nn::BitNetLm::merge) projections have biases; no weight is quantized again. Files of models say
/// which kinds of projections have biases, so that the configuration that is saved with the model must have
/// [them](Self::biases), too, for all projections of a kind ([`with_biases`](crate::nn::BitNetLm::with_biases)). It needs an
/// architecture with a place for them (`interop::hf::place_for_biases`): Llama for all, BitNet for those of the attention,
/// Qwen2 for queries, keys and values alone. A model with biases that its configuration does not have is not saved, but
/// refused.
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::{BitLinear, BitNetLm, BitNetLmConfig}, peft::BitFitConfig};
/// use burn::{module::Module, tensor::Device};
///
/// let device = Device::default().autodiff();
/// let lm: BitNetLm<BitLinear> = BitNetLmConfig::new(64, 32, 1, 4, 48).init(&device);
/// let (lm, report) = lm.pack().train().with_adapter("default", BitFitConfig::default())?;
/// assert_eq!(report.num_trainable, 4 * 32 + 2 * 48 + 32);
/// let (merged, _) = lm.merge(None);
/// assert!(merged.projections().all(|(_, projection)| projection.bias.is_some()));
/// # Ok::<(), bitnet_burn::peft::PeftError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BitFitConfig {
    /// Projections that get a difference of their bias.
    #[serde(flatten, deserialize_with = "targets")]
    pub targets: Targets,
    /// Modules that train as a whole, such as `lm_head`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub modules_to_save: Vec<String>,
}

fn targets<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Targets, D::Error> {
    Targets::deserialize_or(deserializer, TargetModules::AllLinear)
}

impl Default for BitFitConfig {
    fn default() -> Self {
        Self::new(TargetModules::AllLinear)
    }
}

impl BitFitConfig {
    /// Creates the configuration of target modules.
    pub fn new(targets: impl Into<Targets>) -> Self {
        Self {
            targets: targets.into(),
            modules_to_save: Vec::new(),
        }
    }

    /// Checks the values.
    ///
    /// # Errors
    ///
    /// The first pattern that cannot be read.
    pub fn validate(&self) -> Result<(), PeftError> {
        self.targets.compile(&self.modules_to_save).map(drop)
    }

    /// Returns what creates the adapter of a projection.
    pub(super) fn init<P: AdapterBase>(&self) -> Init<'_, P> {
        Box::new(|_, base: P, device| {
            let [_, d_output] = base.size();
            let bit_fit = BitFit::new(Tensor::zeros([d_output], device));
            Ok((base, bit_fit.into()))
        })
    }
}

impl fmt::Display for BitFitConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BitFit on {}", self.targets.target_modules)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_projections_are_targets_if_none_are_named() {
        let of = |text: &str| serde_json::from_str::<BitFitConfig>(text);
        assert_eq!(of("{}").unwrap(), BitFitConfig::default());
        let of_queries = BitFitConfig::new(TargetModules::names(["q_proj"]));
        assert_eq!(of(r#"{"target_modules": ["q_proj"]}"#).unwrap(), of_queries);
        let error = of(r#"{"bias": "all"}"#).unwrap_err();
        assert!(error.to_string().contains("`bias`"), "{error}");
        assert!(
            of(r#"{"target_modules": "("}"#)
                .unwrap()
                .validate()
                .is_err()
        );
    }
}
