use burn::config::Config;

use crate::{
    base::bounds::{Bounds, OutOfBounds},
    nn::KvCacheDType,
};

/// Settings of text generation.
///
/// The logits are processed in the order of transformers' logits processors: repetition penalty,
/// temperature, top-k, top-p, min-p.
#[derive(Config, Debug)]
pub struct GenerationConfig {
    /// Maximum number of new tokens.
    #[config(default = 256)]
    pub max_new_tokens: usize,
    /// Divisor of the logits; values below 1 favor likely tokens. 0 selects greedy decoding and disables the
    /// filters below.
    #[config(default = 1.0)]
    pub temperature: f32,
    /// Keeps only the tokens with the `k` largest logits, including ties with the last of them.
    pub top_k: Option<usize>,
    /// Keeps only the smallest set of the likeliest tokens whose probabilities sum to `p`, 0 to 1.
    #[config(default = 1.0)]
    pub top_p: f32,
    /// Keeps only tokens with at least `p` times the probability of the likeliest, 0 to 1.
    #[config(default = 0.0)]
    pub min_p: f32,
    /// Penalty of tokens that are in the prompt or the generated text: positive logits are divided by it,
    /// others multiplied. Values above 1 reduce repetition.
    #[config(default = 1.0)]
    pub repetition_penalty: f32,
    /// Texts that end the generated text and are excluded from it; they may contain special tokens.
    #[config(default = "Vec::new()")]
    pub stop: Vec<String>,
    /// Tokens that end the generated text; empty for those of the tokenizer.
    #[config(default = "Vec::new()")]
    pub eos: Vec<u32>,
    /// If the special tokens of the tokenizer should be added around a prompt. Chat templates write them
    /// themselves.
    #[config(default = false)]
    pub add_special_tokens: bool,
    /// Seed of the sampler. The same prompts with the same seed give the same texts.
    #[config(default = 0)]
    pub seed: u64,
    /// Maximum number of prompts decoded in one batch; only prompts of equal length are batched.
    #[config(default = 16)]
    pub batch_size: usize,
    /// Data type of the key-value cache.
    #[config(default = "KvCacheDType::F32")]
    pub cache_dtype: KvCacheDType,
}

impl GenerationConfig {
    /// Validates the values.
    pub(super) fn validate(&self) -> Result<(), OutOfBounds> {
        Bounds::NOT_NEGATIVE.check("temperature", self.temperature)?;
        Bounds::COUNT.check("top_k", self.top_k.unwrap_or(1))?;
        Bounds::FRACTION.check("top_p", self.top_p)?;
        Bounds::FRACTION.check("min_p", self.min_p)?;
        Bounds::POSITIVE.check("repetition_penalty", self.repetition_penalty)?;
        let holds = !self.stop.iter().any(String::is_empty);
        let found = format!("{:?}", self.stop);
        OutOfBounds::unless(holds, "stop", "a list of texts that are not empty", found)?;
        Bounds::COUNT.check("batch_size", self.batch_size)
    }
}
