use std::collections::BTreeMap;

use burn::tensor::{DType, Int, Tensor, TensorData};

use super::{GeneratedText, GenerationConfig, Piece, progress::Progress};
use crate::{
    nn::{BitNetLm, KvCache, KvCacheConfig, Projection},
    text::{TextError, Tokenizer},
};

/// Generates continuations of prompts.
///
/// Keys and values of earlier positions are [cached](KvCache). Prompts with the same number of tokens
/// are decoded as one batch. The packed model is the fastest. A model in training records gradients of
/// every token: pass its [`valid`](burn::module::Module) form or [`pack`](BitNetLm::pack) it.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::{
///     nn::{BitNetLm, BitNetLmConfig},
///     text::{GenerationConfig, Generator, Tokenizer},
/// };
/// use burn::tensor::Device;
///
/// let tokenizer = Tokenizer::characters("How much wood would a woodchuck chuck?")?;
/// let lm: BitNetLm = BitNetLmConfig::new(tokenizer.vocab_size(), 32, 2, 4, 64)
///     .with_max_positions(64)
///     .init(&Device::default());
/// let lm = lm.pack();
/// let config = GenerationConfig::new()
///     .with_max_new_tokens(10)
///     .with_temperature(0.8)
///     .with_stop(vec!["?".to_string()]);
/// let generator = Generator::new(&lm, &tokenizer, config)?;
/// let mut streamed = String::new();
/// let texts = generator.stream(&["a wood"], &mut |piece| streamed += piece.text)?;
/// assert_eq!(texts[0].text, streamed);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Generator<'a, P: Projection> {
    model: &'a BitNetLm<P>,
    tokenizer: &'a Tokenizer,
    config: GenerationConfig,
}

impl<'a, P: Projection> Generator<'a, P> {
    /// Creates a generator for a model and its tokenizer.
    ///
    /// # Errors
    ///
    /// If a value of the configuration is invalid.
    pub fn new(
        model: &'a BitNetLm<P>,
        tokenizer: &'a Tokenizer,
        config: GenerationConfig,
    ) -> Result<Self, TextError> {
        config.validate()?;
        Ok(Self {
            model,
            tokenizer,
            config,
        })
    }

    /// Generates a continuation of each prompt.
    ///
    /// # Errors
    ///
    /// If a prompt has no tokens, more than the model has positions, or tokens that are not in the model's
    /// vocabulary; if the logits cannot be read or sampled from.
    pub fn generate(&self, prompts: &[&str]) -> Result<Vec<GeneratedText>, TextError> {
        self.stream(prompts, &mut |_| {})
    }

    /// Generates a continuation of each prompt and calls `on_piece` with each new token.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    pub fn stream(
        &self,
        prompts: &[&str],
        on_piece: &mut dyn FnMut(Piece),
    ) -> Result<Vec<GeneratedText>, TextError> {
        let tokens = |prompt: &&str| match self.config.add_special_tokens {
            true => self.tokenizer.encode_with_special_tokens(prompt),
            false => self.tokenizer.encode(prompt),
        };
        let prompts: Vec<Vec<u32>> = prompts.iter().map(tokens).collect::<Result<_, _>>()?;
        self.stream_tokens(&prompts, on_piece)
    }

    /// Generates continuations of tokenized prompts.
    ///
    /// # Errors
    ///
    /// As [`generate`](Self::generate).
    pub fn stream_tokens(
        &self,
        prompts: &[Vec<u32>],
        on_piece: &mut dyn FnMut(Piece),
    ) -> Result<Vec<GeneratedText>, TextError> {
        let mut by_length: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (i, prompt) in prompts.iter().enumerate() {
            self.check_prompt(i, prompt)?;
            by_length.entry(prompt.len()).or_default().push(i);
        }
        let mut texts = BTreeMap::new();
        let groups = by_length
            .values()
            .flat_map(|g| g.chunks(self.config.batch_size));
        for group in groups {
            let progress = group
                .iter()
                .map(|&i| Progress::new(i, &prompts[i], self.tokenizer, &self.config));
            let mut progress: Vec<Progress> = progress.collect::<Result<_, _>>()?;
            let prompts: Vec<&[u32]> = group.iter().map(|&i| &*prompts[i]).collect();
            self.decode(&prompts, &mut progress, on_piece)?;
            for progress in progress {
                texts.extend([progress.into_text(on_piece)?]);
            }
        }
        Ok(texts.into_values().collect())
    }

    fn check_prompt(&self, prompt: usize, tokens: &[u32]) -> Result<(), TextError> {
        let context = self.model.model.max_tokens();
        if !(1..=context).contains(&tokens.len()) {
            return Err(TextError::PromptLength {
                prompt,
                tokens: tokens.len(),
                context,
            });
        }
        // Devices do not check indices of a gather.
        let [vocab_size, _] = self.model.model.embed_tokens.weight.shape().dims();
        match tokens.iter().find(|&&token| token as usize >= vocab_size) {
            Some(&token) => Err(TextError::UnknownToken { token, vocab_size }),
            None => Ok(()),
        }
    }

    /// Generates the continuations of prompts with the same number of tokens.
    fn decode(
        &self,
        prompts: &[&[u32]],
        progress: &mut [Progress],
        on_piece: &mut dyn FnMut(Piece),
    ) -> Result<(), TextError> {
        let eos = match self.config.eos.as_slice() {
            [] => self.tokenizer.eos_tokens(),
            eos => eos,
        };
        let max_new_tokens = self.config.max_new_tokens;
        progress
            .iter_mut()
            .for_each(|p| p.limit(max_new_tokens, true));
        let mut cache = self.cache(prompts);
        let mut tokens = prompts.concat();
        while !progress.iter().all(Progress::is_finished) {
            let logits = self.logits(tokens, progress.len(), &mut cache)?;
            let vocab_size = logits.len() / progress.len();
            // Padding rows of an embedding are not tokens.
            let drawable = vocab_size.min(self.tokenizer.vocab_size());
            let has_room = cache.len() < cache.max_positions();
            for (progress, logits) in progress.iter_mut().zip(logits.chunks(vocab_size)) {
                if !progress.is_finished() {
                    progress.advance(&logits[..drawable], eos, on_piece)?;
                    progress.limit(max_new_tokens, has_room);
                }
            }
            tokens = progress.iter().map(Progress::last).collect();
        }
        Ok(())
    }

    /// Creates a cache for the prompts and new tokens, except for the last, which is not read.
    fn cache(&self, prompts: &[&[u32]]) -> KvCache {
        let len = prompts[0].len();
        let wanted = len.saturating_add(self.config.max_new_tokens.saturating_sub(1));
        let positions = wanted.min(self.model.model.max_tokens());
        KvCacheConfig::new(prompts.len(), positions)
            .with_dtype(self.config.cache_dtype)
            .init(self.model)
    }

    /// Returns the logits of the next token of each sequence, concatenated.
    fn logits(
        &self,
        tokens: Vec<u32>,
        sequences: usize,
        cache: &mut KvCache,
    ) -> Result<Vec<f32>, TextError> {
        let device = self.model.model.embed_tokens.weight.val().device();
        let positions = tokens.len() / sequences;
        let tokens: Vec<i32> = tokens.into_iter().map(|token| token as i32).collect();
        let tokens = TensorData::new(tokens, [sequences, positions]);
        let tokens = Tensor::<2, Int>::from_data(tokens, &device);
        let logits = self.model.decode(tokens, cache);
        let data = logits.try_into_data_dtype(DType::F32);
        let data = data.map_err(|source| TextError::Device { source })?;
        data.try_to_vec().map_err(TextError::encoding)
    }
}
