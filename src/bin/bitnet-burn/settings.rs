//! All settings of a training, from a file.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::{
    nn::{BitNetLmConfig, GatedActivation},
    train::{
        checkpoint::CheckpointPolicy,
        config::{LearningRateConfig, TrainingConfig},
    },
};
use clap::ValueEnum;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::{data::DataSettings, error::Failure};

/// Default number of steps.
const STEPS: usize = 300;

/// Full precision, or quantized weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Quantization-aware training: BitNet b1.58
    Qat,
    /// Full precision, for comparison or later fine-tuning
    Fp,
}

/// Memory of weights, gradients and optimizer states.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// f32 throughout: 16 bytes per parameter
    Full,
    /// 8-bit optimizer states, latent weights and gradients in bf16: 6 bytes per weight
    Small,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// SwiGLU, supported by llama.cpp
    Silu,
    /// Squared ReLU of BitNet b1.58 2B4T, not supported by llama.cpp
    Relu2,
}

impl From<Activation> for GatedActivation {
    fn from(activation: Activation) -> Self {
        match activation {
            Activation::Silu => Self::Silu,
            Activation::Relu2 => Self::SquaredRelu,
        }
    }
}

impl TryFrom<GatedActivation> for Activation {
    type Error = Failure;

    fn try_from(activation: GatedActivation) -> Result<Self, Failure> {
        match activation {
            GatedActivation::Silu => Ok(Self::Silu),
            GatedActivation::SquaredRelu => Ok(Self::Relu2),
            other => Err(Failure::failed(format!(
                "the activation is {other:?}, expected silu or relu2"
            ))),
        }
    }
}

/// `[model]`: the model that is trained, from scratch or from a file.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
    /// Model that is fine-tuned, with the sizes below; absent for training from scratch.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<PathBuf>,
    pub d_model: usize,
    pub layers: usize,
    pub heads: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    pub d_ff: usize,
    pub activation: Activation,
    pub tied: bool,
    pub sub_norm: bool,
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            source: None,
            d_model: 256,
            layers: 2,
            heads: 4,
            kv_heads: None,
            d_ff: 512,
            activation: Activation::Silu,
            tied: true,
            sub_norm: true,
        }
    }
}

impl ModelSettings {
    /// Returns the sizes of a model of a file.
    pub fn of_source(source: &Path, config: &BitNetLmConfig) -> Result<Self, Failure> {
        Ok(Self {
            source: Some(std::path::absolute(source).map_err(Failure::io(source))?),
            d_model: config.d_model,
            layers: config.n_layers,
            heads: config.n_heads,
            kv_heads: config.n_kv_heads,
            d_ff: config.d_ff,
            activation: config.activation.try_into()?,
            tied: config.tied_embeddings,
            sub_norm: config.sub_norm,
        })
    }

    pub fn config(&self, vocab_size: usize, context: usize) -> Result<BitNetLmConfig, Failure> {
        if let Some(source) = &self.source {
            return Err(Failure::usage(format!(
                "model.source is {0}: the settings are of a fine-tuned model, start it with \
                 `bitnet-burn finetune {0}`",
                source.display()
            )));
        }
        let (d_model, heads) = (self.d_model, self.heads);
        let kv_heads = self.kv_heads.unwrap_or(heads);
        for (name, size) in [
            ("--d-model", d_model),
            ("--layers", self.layers),
            ("--heads", heads),
            ("--kv-heads", kv_heads),
            ("--d-ff", self.d_ff),
            ("--context", context),
        ] {
            if size == 0 {
                return Err(Failure::usage(format!("{name} is 1 or more, got 0")));
            }
        }
        if !d_model.is_multiple_of(2 * heads) {
            return Err(Failure::usage(format!(
                "--d-model is a multiple of twice --heads, got {d_model} and {heads}"
            )));
        }
        if !heads.is_multiple_of(kv_heads) {
            return Err(Failure::usage(format!(
                "--heads is a multiple of --kv-heads, got {heads} and {kv_heads}"
            )));
        }
        Ok(
            BitNetLmConfig::new(vocab_size, d_model, self.layers, heads, self.d_ff)
                .with_n_kv_heads(self.kv_heads)
                .with_max_positions(context)
                .with_activation(self.activation.into())
                .with_tied_embeddings(self.tied)
                .with_sub_norm(self.sub_norm),
        )
    }
}

/// `[run]`: settings beside those of the model, the data and the training.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    pub precision: Precision,
    pub memory: Memory,
    pub device: String,
    /// `true` if fine-tuning inserts missing norms before the last projections of a block.
    pub insert_sub_norm: bool,
    /// Steps between validations; absent for those of `training.epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_every: Option<usize>,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            precision: Precision::Qat,
            memory: Memory::Full,
            device: "flex".to_string(),
            insert_sub_norm: false,
            validate_every: None,
        }
    }
}

/// A file with the tables `[model]`, `[data]`, `[run]` and those of a [`TrainingConfig`].
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub model: ModelSettings,
    pub data: DataSettings,
    pub run: RunSettings,
    pub training: TrainingConfig,
}

impl Settings {
    /// Loads a file, or defaults; `learning_rate` is the peak if the file has none.
    pub fn load(path: Option<&Path>, learning_rate: f64) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Self::from_table(Table::new(), learning_rate);
        };
        let text = fs::read_to_string(path).map_err(Failure::io(path))?;
        let about = |failure: Failure| failure.about(path.display());
        let table: Table = toml::from_str(&text)
            .map_err(|error| about(Failure::failed(error.to_string().trim_end())))?;
        Self::from_table(table, learning_rate).map_err(about)
    }

    fn from_table(mut table: Table, peak: f64) -> Result<Self, Failure> {
        let (model, data, run) = (
            section(&mut table, "model")?,
            section(&mut table, "data")?,
            section(&mut table, "run")?,
        );
        let given = |table: &Table, section: &str, key: &str| {
            let section = table.get(section).and_then(Value::as_table);
            section.is_some_and(|section| section.contains_key(key))
        };
        let (steps, epochs) = (
            given(&table, "training", "steps"),
            given(&table, "training", "epochs"),
        );
        let (rate, monitoring) = (
            table.contains_key("learning_rate"),
            table.contains_key("monitoring"),
        );
        let text = toml::to_string(&table).map_err(|error| Failure::failed(error.to_string()))?;
        let mut training = TrainingConfig::from_toml(&text)?;
        if !steps {
            training.training.steps = STEPS;
        }
        if !epochs {
            training.training.epochs = training.training.steps.div_ceil(100);
        }
        if !rate {
            training.learning_rate = LearningRateConfig::Cosine {
                peak,
                warm_up_steps: default_warm_up(training.training.steps),
                end: 0.1,
            };
        }
        if !monitoring {
            training.monitoring.progress_every = Some(25);
            training.monitoring.log_every = 10;
        }
        Ok(Self {
            model,
            data,
            run,
            training,
        })
    }

    /// Serializes the settings as TOML.
    pub fn to_toml(&self) -> Result<String, Failure> {
        let wrong = |error: toml::ser::Error| Failure::failed(error.to_string());
        let mut table = Table::try_from(&self.training).map_err(wrong)?;
        for (name, value) in [
            ("model", Table::try_from(&self.model)),
            ("data", Table::try_from(&self.data)),
            ("run", Table::try_from(&self.run)),
        ] {
            table.insert(name.to_string(), value.map_err(wrong)?.into());
        }
        toml::to_string_pretty(&table).map_err(wrong)
    }

    /// Number of steps between validations.
    pub fn steps_per_epoch(&self) -> usize {
        let run = &self.training.training;
        let every = self.run.validate_every;
        every
            .unwrap_or(run.steps.div_ceil(run.epochs))
            .clamp(1, run.steps)
    }

    /// Sets the output paths inside the folder of the run and the default checkpoint policy.
    pub fn place(&mut self, out: &Path) {
        let training = &mut self.training;
        training.training.epochs =
            training
                .training
                .steps
                .div_ceil(match self.run.validate_every {
                    Some(every) => every.max(1),
                    None => training.training.steps.div_ceil(training.training.epochs),
                });
        let policy = training
            .checkpoints
            .get_or_insert_with(|| CheckpointPolicy::new(out.join("checkpoints")).every_steps(100));
        policy.folder = out.join("checkpoints");
        training.monitoring.log_file = Some(out.join("log.jsonl"));
        if let Some(errors) = &mut training.monitoring.errors {
            errors.json_file = Some(out.join("errors.jsonl"));
            errors.html_file = Some(out.join("report.html"));
        }
    }
}

pub fn default_warm_up(steps: usize) -> usize {
    (steps / 10).min(100)
}

/// Removes and deserializes a section of a table.
fn section<T: DeserializeOwned + Default>(table: &mut Table, name: &str) -> Result<T, Failure> {
    let Some(value) = table.remove(name) else {
        return Ok(T::default());
    };
    serde_path_to_error::deserialize(value).map_err(|error| {
        let field = match error.path().to_string().as_str() {
            "." => name.to_string(),
            path => format!("{name}.{path}"),
        };
        let message = error.inner().to_string();
        Failure::failed(format!("{field}: {}", message.trim_end()))
    })
}
