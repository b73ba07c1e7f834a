//! `bitnet-burn generate`.

use std::{
    io::{Read, Write},
    path::PathBuf,
    time::Instant,
};

use bitnet_burn::{
    nn::{BitNetLm, KvCacheDType, Projection},
    text::{
        ChatMessage, ChatTemplate, GeneratedText, GenerationConfig, Generator, Tokenizer,
        check_generation_settings,
    },
};
use serde_json::json;

use crate::{
    adapters::{AdapterArguments, InferenceTask},
    choice::{Choice, one_of},
    device::{DeviceArguments, on_pool},
    error::Failure,
    model_file::{self, ModelFile, ReadArguments},
    output::Output,
};

const EXAMPLES: &str = "\
Examples:
  bitnet-burn generate run/model -p 'To be' --temperature 0.8
  bitnet-burn generate model.gguf -p 'Once' --temperature 0       greedy decoding
  bitnet-burn generate chat-model -p 'What is 2 + 2?' --chat --system 'Be short.'
  cat prompt.txt | bitnet-burn generate run/model -p - --max-new-tokens 100 --json";

/// Generate text with a model.
///
/// The text is streamed to stdout; with --json it is one document at the end. Latent weights are packed
/// first, which gives the same logits.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a model, or a GGUF file
    model: PathBuf,
    /// Prompt to continue; - for stdin
    #[arg(long, short)]
    prompt: String,
    /// Render the prompt as a user message with the model's chat template
    #[arg(long)]
    chat: bool,
    /// System message before the prompt
    #[arg(long, requires = "chat")]
    system: Option<String>,
    /// Maximum number of new tokens
    #[arg(long, short = 'n', value_name = "N", default_value_t = 256)]
    max_new_tokens: usize,
    /// Sampling temperature: 0 is greedy, values below 1 favor likely tokens
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    temperature: f32,
    /// Sample from the K likeliest tokens only
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Sample from the likeliest tokens whose probabilities sum to P
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f32,
    /// Sample from tokens with at least P times the probability of the likeliest
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    min_p: f32,
    /// Penalty of repeated tokens; 1 is off
    #[arg(long, value_name = "X", default_value_t = 1.0)]
    repetition_penalty: f32,
    /// Stop sequence; may be repeated
    #[arg(long, value_name = "TEXT")]
    stop: Vec<String>,
    /// Seed of the sampler
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Data type of the key-value cache
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = one_of(&CACHES))]
    cache: KvCacheDType,
    /// A tokenizer.json or a folder with one [default: that of the model]
    #[arg(long, value_name = "PATH")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    adapters: AdapterArguments,
    #[command(flatten)]
    read: ReadArguments,
    #[command(flatten)]
    device: DeviceArguments,
}

/// Data types of the key-value cache.
const CACHES: [Choice<KvCacheDType>; 3] = [
    ("f32", "", KvCacheDType::F32),
    ("f16", "", KvCacheDType::F16),
    ("int8", "", KvCacheDType::Int8),
];

impl Arguments {
    fn config(&self) -> GenerationConfig {
        GenerationConfig::new()
            .with_max_new_tokens(self.max_new_tokens)
            .with_temperature(self.temperature)
            .with_top_k(self.top_k)
            .with_top_p(self.top_p)
            .with_min_p(self.min_p)
            .with_repetition_penalty(self.repetition_penalty)
            .with_stop(self.stop.clone())
            .with_seed(self.seed)
            .with_cache_dtype(self.cache)
            // A chat template writes them itself.
            .with_add_special_tokens(!self.chat)
    }

    fn prompt(&self, template: Option<ChatTemplate>) -> Result<String, Failure> {
        let mut prompt = self.prompt.clone();
        if prompt == "-" {
            prompt.clear();
            let read = std::io::stdin().read_to_string(&mut prompt);
            read.map_err(|error| Failure::failed(format!("stdin cannot be read: {error}")))?;
        }
        if !self.chat {
            return Ok(prompt);
        }
        let template = template.ok_or_else(|| {
            Failure::failed(format!(
                "{}: expected a chat template beside the model, found none: leave out --chat",
                self.model.display()
            ))
        })?;
        let system = self.system.as_deref().map(ChatMessage::system);
        let messages: Vec<ChatMessage> = system
            .into_iter()
            .chain([ChatMessage::user(prompt)])
            .collect();
        Ok(template.render(&messages, true)?)
    }
}

pub fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let device = arguments.device.device()?;
    let file = ModelFile::find(&arguments.model)?;
    let other = arguments.tokenizer.as_deref();
    let (tokenizer, template) = model_file::tokenizer(&file, &arguments.read, other)?;
    let settings = match &file {
        ModelFile::Folder(folder) => check_generation_settings(folder)?,
        ModelFile::Gguf(_) => Vec::new(),
    };
    model_file::note_unknown(tokenizer.unknown_keys().iter().chain(&settings), output);
    let prompt = arguments.prompt(template)?;
    let model = file.load(&arguments.read, &device, output)?;
    model_file::check_vocabulary(&model, &tokenizer)?;
    let config = arguments.config();
    let start = Instant::now();
    let generation = Generation {
        tokenizer: &tokenizer,
        config,
        prompt: &prompt,
        output,
    };
    let generated = on_pool(arguments.device.name(), || {
        arguments.adapters.run(model, generation, output)
    })?;
    let rate = generated.tokens.len() as f64 / start.elapsed().as_secs_f64();
    let finish = format!("{:?}", generated.finish).to_lowercase();
    output.note(format!(
        "{} tokens, {rate:.1} tokens/s; ended by {finish}",
        generated.tokens.len()
    ));
    match output.json {
        true => output.result(
            || {
                json!({
                    "prompt": prompt,
                    "text": generated.text,
                    "tokens": generated.tokens,
                    "finish": finish,
                    "tokens_per_second": rate,
                })
            },
            String::new,
        ),
        false => output.line(""),
    }
}

/// Continuation of a prompt, streamed to stdout.
struct Generation<'a> {
    tokenizer: &'a Tokenizer,
    config: GenerationConfig,
    prompt: &'a str,
    output: Output,
}

impl InferenceTask for Generation<'_> {
    type Output = GeneratedText;

    fn run<P: Projection>(self, lm: &BitNetLm<P>) -> Result<GeneratedText, Failure> {
        let generator = Generator::new(lm, self.tokenizer, self.config)?;
        let mut stdout = std::io::stdout();
        let mut texts = generator.stream(&[self.prompt], &mut |piece| {
            if !self.output.json {
                // A closed stdout does not stop the generation, whose length is reported at the end.
                let written = stdout.write_all(piece.text.as_bytes());
                let _ = written.and_then(|()| stdout.flush());
            }
        })?;
        let text = texts.pop();
        text.ok_or_else(|| Failure::failed("no text was generated"))
    }
}
