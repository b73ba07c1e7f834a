use burn::config::Config;

use crate::{
    base::bounds::{Bounds, OutOfBounds},
    nn::KvCacheDType,
};

/// How a text is gone on with.
///
/// The logits of a token pass the filters in the order of transformers' logits processors:
/// repetition penalty, temperature, top-k, top-p, min-p.
#[derive(Config, Debug)]
pub struct GenerationConfig {
    /// Tokens after the prompt, at most.
    #[config(default = 256)]
    pub max_new_tokens: usize,
    /// Divides the logits: below 1 the likelier tokens become likelier still. At 0 the likeliest
    /// token is taken, and the filters below do not matter.
    #[config(default = 1.0)]
    pub temperature: f32,
    /// Only the `k` tokens with the largest logits, and those as large as the last of them.
    pub top_k: Option<usize>,
    /// Only the smallest set of the likeliest tokens whose probabilities add up to `p`, 0 to 1.
    #[config(default = 1.0)]
    pub top_p: f32,
    /// Only tokens at least `p` times as likely as the likeliest, 0 to 1.
    #[config(default = 0.0)]
    pub min_p: f32,
    /// Logits of tokens that are in the prompt or the text so far are divided by it if they are
    /// positive, and else multiplied; above 1 against repetition.
    #[config(default = 1.0)]
    pub repetition_penalty: f32,
    /// Texts that end the generated text, and are not part of it; special tokens may be among them.
    #[config(default = "Vec::new()")]
    pub stop: Vec<String>,
    /// Tokens that end the generated text; none for those of the tokenizer.
    #[config(default = "Vec::new()")]
    pub eos: Vec<u32>,
    /// If a prompt gets the tokens that the tokenizer puts around a text. Chat templates write them
    /// themselves.
    #[config(default = false)]
    pub add_special_tokens: bool,
    /// Seed of the draws. The same prompts with the same seed get the same texts.
    #[config(default = 0)]
    pub seed: u64,
    /// Prompts that are decoded side by side, at most: of as many tokens each.
    #[config(default = 16)]
    pub batch_size: usize,
    /// How keys and values are kept.
    #[config(default = "KvCacheDType::F32")]
    pub cache_dtype: KvCacheDType,
}

impl GenerationConfig {
    /// Checks the values.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_that_make_no_sense_are_refused() {
        let config = GenerationConfig::new;
        assert!(config().validate().is_ok());
        let wrong = [
            config().with_temperature(-1.0),
            config().with_temperature(f32::NAN),
            config().with_top_k(Some(0)),
            config().with_top_p(1.5),
            config().with_min_p(-0.1),
            config().with_repetition_penalty(0.0),
            config().with_stop(vec![String::new()]),
            config().with_batch_size(0),
        ];
        for config in wrong {
            assert!(config.validate().is_err(), "{config}");
        }
        let error = config().with_top_p(1.5).validate().unwrap_err();
        assert_eq!(error.to_string(), "top_p must be in [0, 1], got 1.5");
    }
}
