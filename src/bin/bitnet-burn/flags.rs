//! Flags of `train` and `finetune`, which override a settings file.

use std::path::PathBuf;

use bitnet_burn::{
    quant::schedule::{ProgressiveSchedule, ProgressiveShape},
    text::dataset::RecordKind,
    train::{
        RunFolder,
        config::{ErrorMonitorConfig, LearningRateConfig, TrainingConfig},
    },
};
use burn::tensor::FloatDType;

use crate::{
    choice::{Choice, one_of},
    convert::DTYPES,
    device::DeviceArguments,
    error::Failure,
    settings::{Memory, Settings, default_epochs, default_warm_up},
};

/// Schemas of records.
const RECORDS: [Choice<RecordKind>; 3] = [
    (
        "text",
        r#"{"text": ...}, all of which counts in the loss"#,
        RecordKind::Text,
    ),
    (
        "prompt-completion",
        r#"{"prompt": ..., "completion": ...}, of which the completion counts in the loss"#,
        RecordKind::PromptCompletion,
    ),
    (
        "messages",
        "{\"messages\": [{\"role\": ..., \"content\": ...}, ...]}, of which the assistant's turns count in the \
         loss; tools, documents and chat_template_kwargs beside them are passed to the chat template",
        RecordKind::Messages,
    ),
];

/// Flags of every training.
#[derive(clap::Args, Debug, Clone)]
pub struct TrainingFlags {
    /// Training files: plain text, records (.jsonl, .ndjson, .json), or tokens (.bin)
    #[arg(long, num_args = 1.., value_name = "FILE", help_heading = "Data")]
    pub text: Vec<PathBuf>,
    /// Validation files [default: the last tenth of the text]
    #[arg(long, num_args = 1.., value_name = "FILE", help_heading = "Data")]
    pub validation: Vec<PathBuf>,
    /// A tokenizer.json, or a folder with one [default: that of the model, or the characters of the text]
    #[arg(long, value_name = "PATH", help_heading = "Data")]
    pub tokenizer: Option<PathBuf>,
    /// Schema of the records in .jsonl, .ndjson and .json files [default: text]
    #[arg(long, value_name = "KIND", value_parser = one_of(&RECORDS), help_heading = "Data")]
    pub records: Option<RecordKind>,
    /// Context length in tokens [default: 64]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub context: Option<usize>,
    /// Batch size: windows of --context tokens per step [default: 16]
    #[arg(long, value_name = "N", help_heading = "Data")]
    pub batch: Option<usize>,
    /// Optimizer steps [default: 300]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub steps: Option<usize>,
    /// Peak learning rate [default: 2e-3, to fine-tune 1e-3]
    #[arg(long, value_name = "X", help_heading = "Training")]
    pub learning_rate: Option<f64>,
    /// Warm-up steps of the learning rate [default: a tenth, at most 100]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub warm_up: Option<usize>,
    /// Steps over which lambda, the share of quantization, grows from 0 to 1 [default: 0, quantized at once]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub progressive: Option<usize>,
    /// Memory of parameters and optimizer states [default: full]
    #[arg(long, value_name = "KIND", help_heading = "Training")]
    pub memory: Option<Memory>,
    /// Compute each decoder block again in the backward pass: the same results, a third more work and a
    /// fraction of the memory of activations, for long contexts
    #[arg(long, help_heading = "Training")]
    pub gradient_checkpointing: bool,
    /// Seed of initialization and data order [default: 0]
    #[arg(long, value_name = "N", help_heading = "Training")]
    pub seed: Option<u64>,
    #[command(flatten)]
    pub device: DeviceArguments,
    /// Steps between validations [default: 100]
    #[arg(long, value_name = "N", help_heading = "Monitoring")]
    pub validate_every: Option<usize>,
    /// Steps between checkpoints [default: 100]
    #[arg(long, value_name = "N", help_heading = "Monitoring")]
    pub checkpoint_every: Option<usize>,
    /// Steps between lines of progress, also of --json [default: 25]
    #[arg(long, value_name = "N", help_heading = "Monitoring")]
    pub log_every: Option<usize>,
    /// Steps between measurements of quantization errors, for errors.jsonl and report.html
    /// [default: 50; 0 for none]
    #[arg(long, value_name = "N", help_heading = "Monitoring")]
    pub monitor_every: Option<usize>,
    /// A settings file in TOML, such as config.toml of an earlier run; flags override it
    #[arg(long, value_name = "FILE", help_heading = "Run")]
    pub config: Option<PathBuf>,
    /// Folder of the run: checkpoints, logs, and the trained `model`
    #[arg(long, value_name = "DIR", help_heading = "Run")]
    pub out: PathBuf,
    /// Resume from the last checkpoint in the folder, with its settings
    #[arg(long, help_heading = "Run")]
    pub resume: bool,
    /// Replace an earlier run in the folder
    #[arg(long, conflicts_with = "resume", help_heading = "Run")]
    pub overwrite: bool,
    /// Data type of the saved weights
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = one_of(&DTYPES), help_heading = "Run")]
    pub dtype: FloatDType,
}

impl TrainingFlags {
    /// Returns the folder of the run.
    pub fn folder(&self) -> RunFolder {
        RunFolder::new(&self.out)
    }

    /// Returns the settings of the file, or of the resumed run, overridden by the flags.
    pub fn settings(&self, learning_rate: f64) -> Result<Settings, Failure> {
        let of_run = self.folder().settings();
        let file = match (&self.config, self.resume) {
            (Some(path), _) => Some(path.as_path()),
            (None, true) if of_run.is_file() => Some(of_run.as_path()),
            _ => None,
        };
        let mut settings = Settings::load(file, learning_rate)?;
        self.apply(&mut settings)?;
        let data = &settings.data;
        let files = data.text.iter().chain(&data.validation);
        Failure::unless_present(files.chain(&data.tokenizer))?;
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
        settings.place(&self.folder());
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
            training.training.epochs = default_epochs(steps);
            if let LearningRateConfig::Cosine { warm_up_steps, .. } = &mut training.learning_rate {
                *warm_up_steps = default_warm_up(steps).min(*warm_up_steps);
            }
        }
        set(&mut training.training.seed, self.seed);
        training.training.gradient_checkpointing |= self.gradient_checkpointing;
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
                    "--learning-rate and --warm-up apply to a cosine schedule, and the file has another one: \
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

/// Returns absolute paths, which are valid wherever a run is resumed.
fn absolute(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let paths = paths
        .iter()
        .map(|path| std::path::absolute(path).map_err(Failure::io(path)));
    paths.collect()
}
