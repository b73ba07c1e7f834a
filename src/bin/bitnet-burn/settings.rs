//! All that a training is, from a file and flags; flags win.

use std::{fs, path::Path};

use bitnet_burn::{
    nn::{BitNetLmConfig, GatedActivation},
    quant::schedule::{ProgressiveSchedule, ProgressiveShape},
    train::{
        checkpoint::CheckpointPolicy,
        config::{ErrorMonitorConfig, LearningRateConfig, TrainingConfig},
    },
};
use clap::ValueEnum;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use crate::{data::DataSettings, error::Failure};

/// Steps of a training that nobody gave a number for.
const STEPS: usize = 300;

/// Full precision, or quantised weights and activations.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// Quantisation-aware: BitNet b1.58
    Qat,
    /// Full precision, to compare with or to fine-tune later
    Fp,
}

/// What weights, gradients and the optimizer's moments take.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Memory {
    /// f32 throughout: 16 bytes a parameter
    Full,
    /// Moments of 8 bits, latent weights and their gradients of bf16: 6 bytes a weight
    Small,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Activation {
    /// SwiGLU, which llama.cpp computes
    Silu,
    /// Squared ReLU of BitNet b1.58 2B4T, which llama.cpp does not compute
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

/// `[model]`: the sizes of a model that is trained from scratch.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ModelSettings {
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
    pub fn config(&self, vocab_size: usize, context: usize) -> Result<BitNetLmConfig, Failure> {
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

/// `[run]`: what is neither the model's, the data's nor the training's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunSettings {
    pub precision: Precision,
    pub memory: Memory,
    pub device: String,
    /// Whether a model without norms before its last projections gets them when it is fine-tuned.
    pub insert_sub_norm: bool,
    /// Steps from one validation to the next; absent for those of `training.epochs`.
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
    /// Those of a file, or defaults; the peak of the learning rate is for a file without one.
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

    /// As a file.
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

    /// Steps from one validation to the next.
    pub fn steps_per_epoch(&self) -> usize {
        let run = &self.training.training;
        let every = self.run.validate_every;
        every
            .unwrap_or(run.steps.div_ceil(run.epochs))
            .clamp(1, run.steps)
    }

    /// Puts what a training writes into its folder, where nothing else is asked for.
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

fn default_warm_up(steps: usize) -> usize {
    (steps / 10).min(100)
}

/// Takes a section out of a table.
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

/// Flags of every training.
#[derive(clap::Args, Debug, Clone)]
pub struct TrainingFlags {
    /// Files to train on: plain text, .jsonl, or tokens (.bin)
    #[arg(long, num_args = 1.., value_name = "FILE", help_heading = "Data")]
    pub text: Vec<std::path::PathBuf>,
    /// Files to validate on [default: the last tenth of the text]
    #[arg(long, num_args = 1.., value_name = "FILE", help_heading = "Data")]
    pub validation: Vec<std::path::PathBuf>,
    /// A tokenizer.json, or a folder with one [default: that of the model, or the characters of the text]
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub tokenizer: Option<std::path::PathBuf>,
    /// What the lines of .jsonl files hold [default: text]
    #[arg(long, value_name = "KIND", help_heading = "Data")]
    pub records: Option<crate::data::Records>,
    /// Tokens that the model sees at once [default: 64]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub context: Option<usize>,
    /// Windows of that many tokens in a step [default: 16]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub batch: Option<usize>,
    /// Optimizer steps [default: 300]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub steps: Option<usize>,
    /// Peak learning rate [default: 2e-3, to fine-tune 1e-3]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Steps over which the learning rate grows [default: a tenth, at most 100]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub warm_up: Option<usize>,
    /// Steps over which the share of quantisation grows from 0 to 1 [default: 0, quantised at once]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub progressive: Option<usize>,
    /// What parameters and optimizer take [default: full]
    #[arg(long, value_name = "KIND", help_heading = "Training")]
    pub memory: Option<Memory>,
    /// Seed of initialization and data order [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub device: crate::device::DeviceArguments,
    /// Steps from one validation to the next [default: 100]
    #[arg(long, value_name = "N", help_heading = "Monitoring")]
    pub validate_every: Option<usize>,
    /// Steps from one checkpoint to the next [default: 100]
    #[arg(long, value_name = "N", help_heading = "Monitoring")]
    pub checkpoint_every: Option<usize>,
    /// Steps from one line of progress, and one with --json, to the next [default: 25]
    #[arg(long, value_name = "N", help_heading = "Monitoring")]
    pub log_every: Option<usize>,
    /// Steps from one measurement of quantisation errors to the next, for errors.jsonl and report.html
    /// [default: 50; 0 for none]
    #[arg(long, value_name = "N", help_heading = "Monitoring")]
    pub monitor_every: Option<usize>,
    /// A file of settings in TOML, such as config.toml of an earlier run; flags win over it
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub config: Option<std::path::PathBuf>,
    /// Folder of the run: checkpoints, logs, and at the end `model`
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: std::path::PathBuf,
    /// Go on from the last checkpoint in the folder, with its settings
    #[arg(long, help_heading = "Run")]
    pub resume: bool,
    /// Replace an earlier run in the folder
    #[arg(long, conflicts_with = "resume", help_heading = "Run")]
    pub overwrite: bool,
    /// Type of the weights that are written
    #[arg(long, value_name = "TYPE", default_value = "f32", help_heading = "Run")]
    pub dtype: crate::convert::FloatType,
}

impl TrainingFlags {
    /// The settings of the file, or of the run that goes on, with those of the flags in place.
    pub fn settings(&self, learning_rate: f64) -> Result<Settings, Failure> {
        let of_run = crate::run_folder::config(&self.out);
        let file = match (&self.config, self.resume) {
            (Some(path), _) => Some(path.as_path()),
            (None, true) if of_run.is_file() => Some(of_run.as_path()),
            _ => None,
        };
        let mut settings = Settings::load(file, learning_rate)?;
        self.apply(&mut settings)?;
        Ok(settings)
    }

    fn apply(&self, settings: &mut Settings) -> Result<(), Failure> {
        let data = &mut settings.data;
        if !self.text.is_empty() {
            data.text = absolute(&self.text)?;
        }
        if !self.validation.is_empty() {
            data.validation = absolute(&self.validation)?;
        }
        if let Some(path) = &self.tokenizer {
            data.tokenizer = Some(std::path::absolute(path).map_err(Failure::io(path))?);
        }
        set(&mut data.records, self.records);
        set(&mut data.context, self.context);
        set(&mut data.batch, self.batch);
        set(&mut settings.run.memory, self.memory);
        set(&mut settings.run.device, self.device.device.clone());
        settings.run.validate_every = self.validate_every.or(settings.run.validate_every);
        self.apply_training(&mut settings.training)?;
        for (name, value) in [
            ("--batch", settings.data.batch),
            ("--steps", settings.training.training.steps),
            ("--validate-every", settings.run.validate_every.unwrap_or(1)),
            ("--checkpoint-every", self.checkpoint_every.unwrap_or(1)),
            ("--log-every", self.log_every.unwrap_or(1)),
        ] {
            if value == 0 {
                return Err(Failure::usage(format!("{name} is 1 or more, got 0")));
            }
        }
        settings.place(&self.out);
        if let Some(every) = self.checkpoint_every
            && let Some(policy) = &mut settings.training.checkpoints
        {
            policy.every_steps = Some(every);
        }
        Ok(settings.training.validate()?)
    }

    fn apply_training(&self, training: &mut TrainingConfig) -> Result<(), Failure> {
        if let Some(steps) = self.steps.filter(|steps| *steps != training.training.steps) {
            training.training.steps = steps;
            training.training.epochs = steps.div_ceil(100).max(1);
            if let LearningRateConfig::Cosine { warm_up_steps, .. } = &mut training.learning_rate {
                *warm_up_steps = default_warm_up(steps).min(*warm_up_steps);
            }
        }
        set(&mut training.training.seed, self.seed);
        match &mut training.learning_rate {
            LearningRateConfig::Cosine {
                peak,
                warm_up_steps,
                ..
            } => {
                set(peak, self.learning_rate);
                set(warm_up_steps, self.warm_up);
            }
            _ if self.learning_rate.is_some() || self.warm_up.is_some() => {
                return Err(Failure::usage(
                    "--learning-rate and --warm-up are for a cosine, and the file has another schedule: \
                     change it there",
                ));
            }
            _ => {}
        }
        if let Some(end) = self.progressive {
            let schedule = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, end);
            let schedule = schedule.map_err(|error| Failure::usage(error.to_string()))?;
            training.schedule.progressive = (end > 0).then_some(schedule);
        }
        if let Some(every) = self.log_every {
            training.monitoring.progress_every = Some(every);
            training.monitoring.log_every = every;
        }
        let monitor = &mut training.monitoring.errors;
        match self.monitor_every {
            Some(0) => *monitor = None,
            Some(every) => monitor.get_or_insert_default().every = every,
            None if self.config.is_none() && !self.resume => {
                *monitor = Some(ErrorMonitorConfig {
                    every: 50,
                    ..Default::default()
                });
            }
            None => {}
        }
        Ok(())
    }
}

fn set<T>(place: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *place = value;
    }
}

/// Paths that mean the same wherever a run is resumed.
fn absolute(paths: &[std::path::PathBuf]) -> Result<Vec<std::path::PathBuf>, Failure> {
    let paths = paths
        .iter()
        .map(|path| std::path::absolute(path).map_err(Failure::io(path)));
    paths.collect()
}
