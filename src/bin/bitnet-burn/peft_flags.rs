//! Flags of finetune for adapters.

use bitnet_burn::peft::{LoraConfig, PeftConfig, TargetModules};
use clap::ValueEnum;

use crate::{base::Base, error::Failure, settings::Settings};

/// Rank of LoRA adapters.
const RANK: usize = 8;

/// Method of parameter-efficient fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Low-rank adapters: `y = W x + alpha / rank B A x`
    Lora,
    /// LoRA with `alpha / sqrt(rank)`
    Rslora,
    /// LoRA with trained norms of the weights
    Dora,
}

/// Adapters to train instead of the weights.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct PeftArguments {
    /// Train adapters beside frozen weights, and save them as a folder of peft in DIR/adapter
    #[arg(long, value_name = "METHOD", help_heading = "Adapters")]
    pub peft: Option<Method>,
    /// Rank of the adapters [default: 8]
    #[arg(long, value_name = "N", help_heading = "Adapters")]
    pub rank: Option<usize>,
    /// Scale of the adapters, times the rank [default: twice the rank]
    #[arg(long, value_name = "X", help_heading = "Adapters")]
    pub alpha: Option<f64>,
    /// Dropout of the inputs of the adapters [default: 0]
    #[arg(long, value_name = "P", help_heading = "Adapters")]
    pub dropout: Option<f64>,
    /// Modules that get an adapter: names such as q_proj, or one regular expression of whole names
    /// [default: all-linear]
    #[arg(long, num_args = 1.., value_name = "NAME", help_heading = "Adapters")]
    pub target: Vec<String>,
    /// Form of the frozen weights [default: float, or packed for BitNet models]
    #[arg(long, value_name = "FORM", help_heading = "Adapters")]
    pub base: Option<Base>,
}

impl PeftArguments {
    /// Overrides the settings of a file.
    pub fn apply(&self, settings: &mut Settings) -> Result<(), Failure> {
        if self.base.is_some() {
            settings.run.base = self.base;
        }
        if let Some(method) = self.peft {
            settings.training.peft = Some(match method {
                Method::Lora => LoraConfig::new(RANK).into(),
                Method::Rslora => LoraConfig::new(RANK).with_rslora().into(),
                Method::Dora => LoraConfig::new(RANK).with_dora().into(),
            });
        }
        let given = [
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--dropout", self.dropout.is_some()),
            ("--target", !self.target.is_empty()),
            ("--base", self.base.is_some()),
        ];
        let given = given.into_iter().find(|(_, given)| *given);
        match (&mut settings.training.peft, given) {
            (None, Some((flag, _))) => Err(Failure::usage(format!(
                "{flag} is for adapters: add --peft lora or another method"
            ))),
            (None, None) => Ok(()),
            (Some(config), Some((flag, _))) if config.targets().is_none() && flag != "--base" => {
                Err(Failure::usage(format!(
                    "{flag} is for adapters of projections, and the settings have a prompt: {config}"
                )))
            }
            (Some(config), _) => {
                self.set(config)?;
                Ok(config.validate()?)
            }
        }
    }

    fn set(&self, config: &mut PeftConfig) -> Result<(), Failure> {
        match config {
            PeftConfig::Lora(lora) => {
                let new = self.peft.is_some();
                lora.rank = self.rank.unwrap_or(lora.rank);
                let alpha = (new || self.rank.is_some()).then_some(2.0 * lora.rank as f64);
                lora.alpha = self.alpha.or(alpha).unwrap_or(lora.alpha);
                lora.dropout = self.dropout.unwrap_or(lora.dropout);
                if let Some(targets) = self.targets() {
                    lora.targets.target_modules = targets;
                }
                Ok(())
            }
            PeftConfig::Ia3(ia3) => {
                if let Some(targets) = self.targets() {
                    ia3.targets.target_modules = targets;
                }
                self.check_no_lora(config)
            }
            PeftConfig::PrefixTuning(_) | PeftConfig::PTuning(_) | PeftConfig::PromptTuning(_) => {
                Ok(())
            }
            PeftConfig::BitFit(_) => Err(Failure::usage(
                "finetune saves adapters as folders of peft, which has no BitFit: train it with the library",
            )),
        }
    }

    /// Refuses flags of LoRA for another method.
    fn check_no_lora(&self, config: &PeftConfig) -> Result<(), Failure> {
        let flags = [
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--dropout", self.dropout.is_some()),
        ];
        match flags.iter().find(|(_, given)| *given) {
            None => Ok(()),
            Some((flag, _)) => Err(Failure::usage(format!(
                "{flag} is for LoRA, and the configuration has {config}"
            ))),
        }
    }

    fn targets(&self) -> Option<TargetModules> {
        match self.target.as_slice() {
            [] => self.peft.map(|_| TargetModules::AllLinear),
            [name] if name.eq_ignore_ascii_case("all-linear") => Some(TargetModules::AllLinear),
            [one] if one.contains(['*', '.', '(', '[', '\\']) => {
                Some(TargetModules::Pattern(one.clone()))
            }
            names => Some(TargetModules::names(names.iter().cloned())),
        }
    }
}
