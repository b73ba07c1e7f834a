//! `bitnet-burn eval`.

use std::{path::PathBuf, sync::Arc, time::Instant};

use bitnet_burn::{
    nn::{BitNetLm, Projection},
    text::{
        Evaluation, Tokenizer,
        dataset::{EvenWindowsConfig, TokenBatches, TokenStore, read_tokens},
        evaluate,
    },
};
use burn::{data::dataloader::DataLoader, tensor::Device};
use serde_json::json;

use crate::{
    adapters::{AdapterArguments, InferenceTask},
    device::{DeviceArguments, on_pool},
    error::Failure,
    model_file::{self, ModelFile, ReadArguments},
    output::Output,
};

const EXAMPLES: &str = "\
Examples:
  bitnet-burn eval run/model                         on the excerpt of Shakespeare
  bitnet-burn eval model.gguf --text test.txt
  bitnet-burn eval run/model --text test.jsonl --windows 100 --json";

/// Compute loss and perplexity of a model on a text.
///
/// The text is cut into windows with as little overlap as possible. Latent weights are packed first,
/// which gives the same logits.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a model, or a GGUF file
    model: PathBuf,
    #[command(flatten)]
    text: TextArguments,
    #[command(flatten)]
    adapters: AdapterArguments,
    #[command(flatten)]
    read: ReadArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Text on which a model is evaluated.
#[derive(clap::Args, Debug, Clone)]
pub struct TextArguments {
    /// Files: plain text, records (.jsonl, .ndjson, .json), or tokens (.bin) [default: Shakespeare excerpt]
    #[arg(long, num_args = 1.., value_name = "FILE")]
    pub text: Vec<PathBuf>,
    /// A tokenizer.json or a folder with one [default: that of the model]
    #[arg(long, value_name = "PATH")]
    pub tokenizer: Option<PathBuf>,
    /// Tokens in a window [default: the positions of the model, at most 2048]
    #[arg(long, value_name = "N")]
    pub context: Option<usize>,
    /// Windows in a batch [default: 1 to 16, of about 2048 tokens together]
    #[arg(long, value_name = "N")]
    pub batch: Option<usize>,
    /// Maximum number of windows, evenly spaced [default: enough to cover the text]
    #[arg(long, value_name = "N")]
    pub windows: Option<usize>,
}

impl TextArguments {
    /// Returns the windows of the text, for a model with `positions` positions for tokens.
    pub fn windows(
        &self,
        tokenizer: Tokenizer,
        positions: usize,
        device: &Device,
    ) -> Result<TokenBatches, Failure> {
        let context = self.context.unwrap_or(positions.min(2048));
        if !(1..=positions).contains(&context) {
            return Err(Failure::usage(format!(
                "--context is 1 to the {positions} positions of the model, got {context}"
            )));
        }
        Failure::unless_present(&self.text)?;
        let tokens = read_tokens(&self.text, &Arc::new(tokenizer))?;
        // A window needs one more token, the target of the last; short texts get short windows.
        let context = context.min(tokens.len().saturating_sub(1)).max(1);
        let cover = tokens.len().saturating_sub(1).div_ceil(context).max(1);
        let windows = self.windows.unwrap_or(cover);
        // Logits of large vocabularies take half a megabyte per token.
        let batch = self.batch.unwrap_or((2048 / context).clamp(1, 16));
        Ok(EvenWindowsConfig::new(context, batch, windows).init(tokens, device)?)
    }
}

/// Evaluates a model on all windows.
pub fn loss<P: Projection>(
    lm: &BitNetLm<P>,
    windows: &TokenBatches,
) -> Result<Evaluation, Failure> {
    evaluate(lm, windows.iter().map(|batch| batch.map_err(Failure::from)))
}

struct Loss<'a> {
    text: &'a TextArguments,
    tokenizer: Tokenizer,
    device: &'a Device,
}

impl InferenceTask for Loss<'_> {
    type Output = (Evaluation, usize);

    /// Returns the evaluation, and the number of windows.
    fn run<P: Projection>(self, lm: &BitNetLm<P>) -> Result<(Evaluation, usize), Failure> {
        // A prompt of the adapters takes positions.
        let positions = lm.model.max_tokens();
        let windows = self.text.windows(self.tokenizer, positions, self.device)?;
        Ok((loss(lm, &windows)?, windows.num_items()))
    }
}

pub fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let device = arguments.device.device()?;
    let file = ModelFile::find(&arguments.model)?;
    let (read, text) = (&arguments.read, &arguments.text);
    let (tokenizer, _) = model_file::tokenizer(&file, read, text.tokenizer.as_deref())?;
    model_file::note_unknown(tokenizer.unknown_keys(), output);
    let model = file.load(read, &device, output)?;
    model_file::check_vocabulary(&model, &tokenizer)?;
    let form = model.lm.form();
    let start = Instant::now();
    let task = Loss {
        text,
        tokenizer,
        device: &device,
    };
    let (evaluation, windows) = on_pool(arguments.device.name(), || {
        arguments.adapters.run(model, task, output)
    })?;
    if !evaluation.loss.is_finite() {
        return Err(Failure::failed(format!(
            "{}: the loss is {}: the model or its scales have values that overflow",
            file.path().display(),
            evaluation.loss
        )));
    }
    let rate = evaluation.tokens as f64 / start.elapsed().as_secs_f64();
    output.note(format!("{windows} windows, {rate:.0} tokens/s"));
    output.result(
        || {
            json!({
                "model": file.path(),
                "form": form,
                "adapters": arguments.adapters.adapter,
                "loss": evaluation.loss,
                "perplexity": evaluation.perplexity(),
                "bits_per_token": evaluation.bits_per_token(),
                "tokens": evaluation.tokens,
                "tokens_per_second": rate,
            })
        },
        || {
            format!(
                "loss {:.6}, perplexity {:.4}, {:.4} bits per token, over {} tokens",
                evaluation.loss,
                evaluation.perplexity(),
                evaluation.bits_per_token(),
                evaluation.tokens
            )
        },
    )
}
