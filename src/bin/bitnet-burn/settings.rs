//! All settings of a training, from a file.

use std::{fs, path::Path};

use bitnet_burn::{
    nn::BitNetLm,
    qat::cast_latent_weights,
    text::dataset::TextDataConfig,
    train::{
        RunFolder, RunIdentity,
        config::{LearningRateConfig, MonitoringConfig, OptimizerKind, TrainingConfig},
    },
};
use burn::tensor::FloatDType;
use clap::ValueEnum;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::{base::Base, device::FLEX, error::Failure, model_settings::ModelSettings};

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

impl Memory {
    /// Casts latent weights to the type that they are kept in.
    pub fn cast(self, lm: BitNetLm) -> BitNetLm {
        match self {
            Self::Full => lm,
            Self::Small => cast_latent_weights(lm, FloatDType::BF16),
        }
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
    /// Form of the weights beside adapters; absent for that of the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub base: Option<Base>,
    /// Steps between validations; absent for those of `training.epochs`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validate_every: Option<usize>,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            precision: Precision::Qat,
            memory: Memory::Full,
            device: FLEX.to_string(),
            insert_sub_norm: false,
            base: None,
            validate_every: None,
        }
    }
}

/// A file with the tables `[model]`, `[data]`, `[run]` and those of a [`TrainingConfig`].
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Settings {
    pub model: ModelSettings,
    pub data: TextDataConfig,
    pub run: RunSettings,
    #[serde(flatten)]
    pub training: TrainingConfig,
}

/// Tables of a file; all others are of a [`TrainingConfig`].
#[derive(Deserialize)]
struct Sections {
    #[serde(default)]
    model: ModelSettings,
    #[serde(default)]
    data: TextDataConfig,
    #[serde(default)]
    run: RunSettings,
    #[serde(flatten)]
    training: Table,
}

impl Settings {
    /// Loads a file, or defaults; `learning_rate` is the peak if the file has none.
    pub fn load(path: Option<&Path>, learning_rate: f64) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Self::from_table(Table::new(), learning_rate);
        };
        let text = fs::read_to_string(path).map_err(Failure::io(path))?;
        let table = text.parse::<Table>();
        let table = table.map_err(|error| Failure::failed(error.to_string().trim_end()));
        let settings = table.and_then(|table| Self::from_table(table, learning_rate));
        settings.map_err(|failure| failure.about(path.display()))
    }

    fn from_table(table: Table, peak: f64) -> Result<Self, Failure> {
        let sections: Sections = parsed(table)?;
        let given = sections.training;
        let length = given.get("training").and_then(Value::as_table);
        let has_length = |key| length.is_some_and(|length| length.contains_key(key));
        let mut training: TrainingConfig = parsed(given.clone())?;
        training.validate()?;
        if !has_length("steps") {
            training.training.steps = STEPS;
        }
        if !has_length("epochs") {
            training.training.epochs = default_epochs(training.training.steps);
        }
        if !given.contains_key("learning_rate") {
            training.learning_rate = LearningRateConfig::Cosine {
                peak,
                warm_up_steps: default_warm_up(training.training.steps),
                end: 0.1,
            };
        }
        if !given.contains_key("monitoring") {
            training.monitoring.progress_every = Some(25);
            training.monitoring.log_every = 10;
        }
        Ok(Self {
            model: sections.model,
            data: sections.data,
            run: sections.run,
            training,
        })
    }

    /// Serializes the settings as TOML.
    pub fn to_toml(&self) -> Result<String, Failure> {
        let table = Table::try_from(self).and_then(|table| toml::to_string_pretty(&table));
        table.map_err(|error| Failure::failed(error.to_string()))
    }

    /// Returns the settings that a resumed run must keep.
    pub fn identity(&self) -> Result<RunIdentity, Failure> {
        let mut same = self.clone();
        same.training.monitoring = MonitoringConfig::default();
        same.training.checkpoints = None;
        same.training.training.gradient_checkpointing = false;
        same.run.device = String::new();
        Ok(RunIdentity::of(&same)?)
    }

    /// Number of steps between validations.
    pub fn steps_per_epoch(&self) -> usize {
        let run = &self.training.training;
        let every = self.run.validate_every;
        every
            .unwrap_or(run.steps.div_ceil(run.epochs))
            .clamp(1, run.steps)
    }

    /// Number of tokens of an optimizer step.
    pub fn tokens_per_step(&self) -> usize {
        self.training.training.grad_accumulation * self.data.batch * self.data.context
    }

    /// Sets the output paths inside the folder of the run, and the epochs by the steps between validations.
    pub fn place(&mut self, folder: &RunFolder) {
        folder.configure(&mut self.training);
        let epochs = self
            .training
            .training
            .steps
            .div_ceil(self.steps_per_epoch());
        self.training.training.epochs = epochs;
    }

    /// Rejects settings that would fail only at the end, and removes those without a meaning.
    pub fn check(&mut self) -> Result<(), Failure> {
        let training = &mut self.training;
        if self.run.precision == Precision::Fp {
            // There are no quantizers to schedule or to measure.
            training.schedule = Default::default();
            training.monitoring.errors = None;
            training.qat.noise = None;
            training.calibration = None;
            // Adapters stay in f32 beside their base; small are their optimizer states.
            if self.run.memory == Memory::Small && training.peft.is_none() {
                return Err(Failure::usage(
                    "--memory small is for --precision qat, whose latent weights are rounded",
                ));
            }
        }
        let steps = training.training.steps;
        match &training.schedule.progressive {
            Some(schedule) if schedule.end() >= steps => Err(Failure::usage(format!(
                "--progressive is less than the {steps} steps of the training, which ends fully quantized, \
                 got {}",
                schedule.end()
            ))),
            _ => Ok(()),
        }
    }

    /// Returns the configuration of the training, with the optimizer of the memory.
    pub fn training(&self) -> Result<TrainingConfig, Failure> {
        let mut training = self.training.clone();
        // This program draws its own bar.
        training.monitoring.progress_every = None;
        if self.run.memory == Memory::Small {
            training.optimizer.kind = OptimizerKind::AdamW8bit;
            training.optimizer.stochastic_rounding = training.peft.is_none();
        }
        if let Some(policy) = &mut training.checkpoints
            && policy.fingerprint.is_empty()
        {
            policy.fingerprint = self.identity()?.fingerprint();
        }
        Ok(training)
    }
}

pub fn default_warm_up(steps: usize) -> usize {
    (steps / 10).min(100)
}

pub fn default_epochs(steps: usize) -> usize {
    steps.div_ceil(100)
}

/// Deserializes a table; the message of an error begins with the path of its field.
fn parsed<T: DeserializeOwned>(table: Table) -> Result<T, Failure> {
    serde_path_to_error::deserialize(table).map_err(|error| {
        // The second line of TOML's message is the path, too.
        let message = error.inner().to_string();
        let message = message.lines().next().unwrap_or_default();
        Failure::failed(match error.path().to_string().as_str() {
            "." => message.to_string(),
            path => format!("{path}: {message}"),
        })
    })
}
