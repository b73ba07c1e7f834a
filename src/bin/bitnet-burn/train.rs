//! `bitnet-burn train`.

use std::sync::Arc;

use bitnet_burn::interop::CausalLm;
use burn::nn::Linear;

use crate::{
    error::Failure,
    flags::TrainingFlags,
    model_settings::Activation,
    output::Output,
    settings::{Precision, Settings},
    training::{Job, SpecialTokens},
};

/// Peak learning rate of training from scratch.
const LEARNING_RATE: f64 = 2e-3;

const EXAMPLES: &str = "\
Examples:
  bitnet-burn train --out run
      trains on an excerpt of Shakespeare, by character: one or two minutes on a laptop
  bitnet-burn train --out run --text book.txt --steps 2000 --layers 4 --context 128
  bitnet-burn train --out run --text a.jsonl b.jsonl --tokenizer tokenizer.json --memory small
  bitnet-burn train --out run --resume
      resumes from the last checkpoint, after Ctrl-C or a crash
  bitnet-burn train --out other --config run/config.toml --seed 1
  bitnet-burn train --out run --json > events.jsonl

The file of --config has the tables [model], [data], [run], and [training], [qat], [optimizer],
[learning_rate], [schedule], [monitoring] and [checkpoints] of the library's TrainingConfig. Every run
writes its settings to config.toml.";

/// Train a BitNet language model from scratch.
///
/// Writes DIR/model, a folder of Hugging Face's transformers with the trained latent weights, which the
/// other commands read; beside it checkpoints, log.jsonl, errors.jsonl and report.html.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Model size; a multiple of 256 for GGUF's TQ types [default: 256]
    #[arg(long, value_name = "N", help_heading = "Model")]
    d_model: Option<usize>,
    /// Decoder layers [default: 2]
    #[arg(long, value_name = "N", help_heading = "Model")]
    layers: Option<usize>,
    /// Query heads [default: 4]
    #[arg(long, value_name = "N", help_heading = "Model")]
    heads: Option<usize>,
    /// Key and value heads [default: same as query heads]
    #[arg(long, value_name = "N", help_heading = "Model")]
    kv_heads: Option<usize>,
    /// Hidden size of the feed-forward block; a multiple of 256 for GGUF's TQ types [default: 512]
    #[arg(long, value_name = "N", help_heading = "Model")]
    d_ff: Option<usize>,
    /// Activation of the feed-forward block [default: silu]
    #[arg(long, value_name = "KIND", help_heading = "Model")]
    activation: Option<Activation>,
    /// Use the embedding table as the output head [default]
    #[arg(long, conflicts_with = "untied", help_heading = "Model")]
    tied: bool,
    /// Use separate weights for the output head
    #[arg(long, help_heading = "Model")]
    untied: bool,
    /// Omit the norms before the last projections of the blocks, as in Llama
    #[arg(long, help_heading = "Model")]
    no_sub_norm: bool,
    /// Full precision or quantized [default: qat]
    #[arg(long, value_name = "KIND", help_heading = "Training")]
    precision: Option<Precision>,
    #[command(flatten)]
    training: TrainingFlags,
}

impl Arguments {
    fn settings(&self) -> Result<Settings, Failure> {
        let mut settings = self.training.settings(LEARNING_RATE)?;
        let model = &mut settings.model;
        for (place, size) in [
            (&mut model.d_model, self.d_model),
            (&mut model.layers, self.layers),
            (&mut model.heads, self.heads),
            (&mut model.d_ff, self.d_ff),
        ] {
            *place = size.unwrap_or(*place);
        }
        model.kv_heads = self.kv_heads.or(model.kv_heads);
        model.activation = self.activation.unwrap_or(model.activation);
        model.tied = (model.tied || self.tied) && !self.untied;
        model.sub_norm = model.sub_norm && !self.no_sub_norm;
        let run = &mut settings.run;
        run.precision = self.precision.unwrap_or(run.precision);
        Ok(settings)
    }
}

pub fn run(arguments: Arguments, output: Output) -> Result<(), Failure> {
    let settings = arguments.settings()?;
    // Conflicting sizes are rejected before a long text is read.
    settings.model.config(1, settings.data.context)?;
    let device = bitnet_burn::device(&settings.run.device)?;
    let tokenizer = settings.data.tokenizer()?;
    let config = settings
        .model
        .config(tokenizer.vocab_size(), settings.data.context)?
        .with_scheme(settings.training.qat.clone());
    let (precision, memory) = (settings.run.precision, settings.run.memory);
    let job = Job {
        settings,
        flags: &arguments.training,
        output,
        command: "train".to_string(),
        tokenizer: Arc::new(tokenizer),
        template: None,
        tokenizer_folder: None,
        config,
        special: SpecialTokens::default(),
        device,
    };
    match precision {
        Precision::Qat => job.run(
            |config, device| Ok(memory.cast(config.init(device))),
            |job, lm| job.save(CausalLm::Qat(lm)),
        ),
        Precision::Fp => job.run::<Linear>(
            |config, device| Ok(config.init(device)),
            |job, lm| job.save(CausalLm::Full(lm)),
        ),
    }
}
