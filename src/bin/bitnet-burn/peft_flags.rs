//! Flags of finetune for adapters.

use bitnet_burn::peft::{
    AdaLoraConfig, BitFitConfig, Ia3Config, LoraConfig, PTuningConfig, PeftConfig,
    PrefixTuningConfig, PromptTuningConfig, TargetModules, Targets,
};
use clap::ValueEnum;

use crate::{base::Base, error::Failure, settings::Settings};

/// Rank of LoRA adapters.
const RANK: usize = 8;

/// Virtual tokens of a prompt.
const VIRTUAL_TOKENS: usize = 20;

/// Method of parameter-efficient fine-tuning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Method {
    /// Low-rank adapters: `y = W x + alpha / rank B A x`
    Lora,
    /// LoRA with `alpha / sqrt(rank)`
    Rslora,
    /// LoRA with trained norms of the weights
    Dora,
    /// LoRA whose ranks go to the layers where they matter
    Adalora,
    /// Trained factors of keys, values and hidden features
    Ia3,
    /// Trained biases, which the saved model has from then on
    Bitfit,
    /// Trained keys and values before those of the tokens
    Prefix,
    /// Trained embeddings before those of the tokens, from a perceptron
    PTuning,
    /// Trained embeddings before those of the tokens
    Prompt,
}

impl Method {
    /// Returns the configuration of a training of so many steps.
    fn config(self, steps: usize) -> PeftConfig {
        match self {
            Self::Lora => LoraConfig::new(RANK).into(),
            Self::Rslora => LoraConfig::new(RANK).with_rslora().into(),
            Self::Dora => LoraConfig::new(RANK).with_dora().into(),
            // Ranks are taken away between the first tenth and the last three tenths of the steps.
            Self::Adalora => AdaLoraConfig::new(steps)
                .with_steps(steps / 10, 3 * steps / 10, (steps / 100).max(1))
                .into(),
            Self::Ia3 => Ia3Config::default().into(),
            Self::Bitfit => BitFitConfig::default().into(),
            Self::Prefix => PrefixTuningConfig::new(VIRTUAL_TOKENS).into(),
            Self::PTuning => PTuningConfig::new(VIRTUAL_TOKENS).into(),
            Self::Prompt => PromptTuningConfig::new(VIRTUAL_TOKENS).into(),
        }
    }
}

/// Adapters to train instead of the weights.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct PeftArguments {
    /// Train adapters beside frozen weights, and save them as a folder of peft in DIR/adapter; bitfit, which peft does not
    /// have, as the whole model in DIR/model
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
    /// [default: all-linear; of bitfit all that may have biases, in BitNet models those of the attention]
    #[arg(long, num_args = 1.., value_name = "NAME", help_heading = "Adapters")]
    pub target: Vec<String>,
    /// Virtual tokens of a prompt, which take positions of the model [default: 20]
    #[arg(long, value_name = "N", help_heading = "Adapters")]
    pub virtual_tokens: Option<usize>,
    /// Form of the frozen weights [default: float, or packed for BitNet models; of bitfit that of MODEL]
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
            settings.training.peft = Some(method.config(settings.training.training.steps));
        }
        let given = self.given().next();
        match (&mut settings.training.peft, given) {
            (None, Some(flag)) => Err(Failure::usage(format!(
                "{flag} is for adapters: add --peft lora or another method"
            ))),
            (None, None) => Ok(()),
            (Some(config), _) => {
                self.set(config)?;
                Ok(config.validate()?)
            }
        }
    }

    /// Returns whether the flags ask for BitFit, and name no projections for it.
    pub fn leaves_biases_open(&self) -> bool {
        self.peft == Some(Method::Bitfit) && self.target.is_empty()
    }

    /// Returns the flags that are given, beside the method.
    fn given(&self) -> impl Iterator<Item = &'static str> {
        let flags = [
            ("--rank", self.rank.is_some()),
            ("--alpha", self.alpha.is_some()),
            ("--dropout", self.dropout.is_some()),
            ("--target", !self.target.is_empty()),
            ("--virtual-tokens", self.virtual_tokens.is_some()),
            ("--base", self.base.is_some()),
        ];
        flags
            .into_iter()
            .filter(|(_, given)| *given)
            .map(|(flag, _)| flag)
    }

    /// Overrides a configuration. Flags that its method does not have are refused.
    fn set(&self, config: &mut PeftConfig) -> Result<(), Failure> {
        let is_new = self.peft.is_some();
        match config {
            PeftConfig::Lora(lora) => {
                lora.rank = self.rank.unwrap_or(lora.rank);
                lora.alpha = self.alpha_of(lora.rank, is_new).unwrap_or(lora.alpha);
                lora.dropout = self.dropout.unwrap_or(lora.dropout);
                self.set_targets(&mut lora.targets, is_new);
            }
            PeftConfig::AdaLora(lora) => {
                // As in the paper, training begins with half as many ranks more.
                if let Some(rank) = self.rank {
                    (lora.target_r, lora.init_r) = (rank, rank + rank.div_ceil(2));
                }
                lora.alpha = self.alpha_of(lora.target_r, is_new).unwrap_or(lora.alpha);
                lora.dropout = self.dropout.unwrap_or(lora.dropout);
                self.set_targets(&mut lora.targets, is_new);
            }
            PeftConfig::Ia3(ia3) => self.set_targets(&mut ia3.targets, false),
            PeftConfig::BitFit(bit_fit) => self.set_targets(&mut bit_fit.targets, false),
            PeftConfig::PrefixTuning(prompt) => self.set_tokens(&mut prompt.num_virtual_tokens),
            PeftConfig::PTuning(prompt) => self.set_tokens(&mut prompt.num_virtual_tokens),
            PeftConfig::PromptTuning(prompt) => self.set_tokens(&mut prompt.num_virtual_tokens),
        }
        let of_method: &[&str] = match config {
            PeftConfig::Lora(_) | PeftConfig::AdaLora(_) => {
                &["--rank", "--alpha", "--dropout", "--target"]
            }
            PeftConfig::Ia3(_) | PeftConfig::BitFit(_) => &["--target"],
            _ => &["--virtual-tokens"],
        };
        let foreign = |flag: &&str| *flag != "--base" && !of_method.contains(flag);
        match self.given().find(foreign) {
            None => Ok(()),
            Some(flag) => Err(Failure::usage(format!(
                "{flag} is not of the method that the settings have: {config}"
            ))),
        }
    }

    /// Returns the alpha of a rank, if it is to be set.
    fn alpha_of(&self, rank: usize, is_new: bool) -> Option<f64> {
        let default = (is_new || self.rank.is_some()).then_some(2.0 * rank as f64);
        self.alpha.or(default)
    }

    fn set_tokens(&self, tokens: &mut usize) {
        *tokens = self.virtual_tokens.unwrap_or(*tokens);
    }

    /// Sets the targets that are given, or all projections.
    fn set_targets(&self, targets: &mut Targets, all: bool) {
        match self.targets() {
            Some(given) => targets.target_modules = given,
            None if all => targets.target_modules = TargetModules::AllLinear,
            None => {}
        }
    }

    fn targets(&self) -> Option<TargetModules> {
        match self.target.as_slice() {
            [] => None,
            [name] if name.eq_ignore_ascii_case("all-linear") => Some(TargetModules::AllLinear),
            [one] if one.contains(['*', '.', '(', '[', '\\']) => {
                Some(TargetModules::Pattern(one.clone()))
            }
            names => Some(TargetModules::names(names.iter().cloned())),
        }
    }
}
