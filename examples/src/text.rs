use std::{path::Path, sync::Arc};

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig, Projection},
    text::{
        TextError, Tokenizer,
        dataset::{
            EvenWindowsConfig, RandomWindowsConfig, SHAKESPEARE, TokenBatches, TokenPart,
            TokenStore, read_text,
        },
        evaluate,
    },
};
use burn::{data::dataloader::DataLoader, module::Module, tensor::Device};

use crate::Error;

/// Context length in characters.
pub const CONTEXT: usize = 64;
/// Number of windows in a step.
pub const BATCH: usize = 32;
/// Number of steps between validations.
pub const STEPS_PER_EPOCH: usize = 250;
/// Number of windows of a validation.
const VALID_WINDOWS: usize = 1024;
/// Inverse share of the text that is kept for validation: the last tenth.
const VALID_SHARE: usize = 10;

/// A tokenized text: nine tenths for training, the last tenth for validation.
pub struct Text {
    /// Tokenizer with one token per character.
    pub tokenizer: Tokenizer,
    tokens: Arc<dyn TokenStore>,
    vocab_size: usize,
}

impl Text {
    /// Loads the text of a file, or an excerpt of Shakespeare. Prints its size.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is too short for windows.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let text = match path {
            Some(path) => read_text(path)?,
            None => SHAKESPEARE.to_string(),
        };
        let tokenizer = Tokenizer::characters(&text)?;
        // Line by line, which is the same for characters: the offsets of a whole text take much memory.
        let mut tokens = Vec::new();
        for line in text.split_inclusive('\n') {
            tokens.extend(tokenizer.encode(line)?);
        }
        let (found, needed) = (tokens.len(), VALID_SHARE * (CONTEXT + 1));
        if found < needed {
            return Err(format!(
                "the text has {found} characters, at least {needed} are needed for windows of \
                 training and validation"
            )
            .into());
        }
        // The last token, the end of text, is in no window.
        let vocab_size = tokens.iter().max().map_or(0, |&token| token as usize + 1);
        let text = Self {
            tokenizer,
            tokens: Arc::new(tokens),
            vocab_size,
        };
        let (train, valid) = (text.train_len(), found - text.train_len());
        println!(
            "{train} training characters, {valid} validation characters, a vocabulary of {vocab_size}"
        );
        Ok(text)
    }

    /// Returns the text in capitals, in the tokens of this one.
    ///
    /// # Errors
    ///
    /// If the tokens cannot be read or decoded.
    pub fn in_capitals(&self) -> Result<Self, Error> {
        let mut tokens = Vec::new();
        self.tokens.read(0..self.tokens.len(), &mut tokens)?;
        let capital = |token: u32| -> Result<u32, Error> {
            let capital = self.tokenizer.decode(&[token])?.to_uppercase();
            match self.tokenizer.encode(&capital)?.first() {
                Some(&capital) if (capital as usize) < self.vocab_size => Ok(capital),
                _ => Ok(token),
            }
        };
        let capitals = (0..self.vocab_size as u32).map(capital);
        let capitals: Vec<u32> = capitals.collect::<Result<_, _>>()?;
        let changed = |token: &u32| capitals.get(*token as usize).copied().unwrap_or(*token);
        Ok(Self {
            tokenizer: self.tokenizer.clone(),
            tokens: Arc::new(tokens.iter().map(changed).collect::<Vec<_>>()),
            vocab_size: self.vocab_size,
        })
    }

    /// Number of training tokens.
    pub fn train_len(&self) -> usize {
        self.tokens.len() - self.tokens.len() / VALID_SHARE
    }

    /// Returns the configuration of a model of two layers for the text.
    pub fn lm_config(&self) -> BitNetLmConfig {
        BitNetLmConfig::new(self.vocab_size, 128, 2, 4, 384)
            .with_max_positions(CONTEXT)
            .with_tied_embeddings(false)
    }

    /// Returns random windows of the training text.
    ///
    /// # Errors
    ///
    /// If there are no steps.
    pub fn train_windows(
        &self,
        seed: u64,
        steps: usize,
        steps_per_epoch: usize,
    ) -> Result<Arc<TokenBatches>, TextError> {
        let tokens = TokenPart::new(self.tokens.clone(), 0..self.train_len());
        RandomWindowsConfig::new(CONTEXT, BATCH, steps)
            .with_steps_per_epoch(Some(steps_per_epoch))
            .with_seed(seed)
            .init(tokens, &Device::default())
            .map(Arc::new)
    }

    /// Returns evenly spaced windows of the validation text.
    ///
    /// # Errors
    ///
    /// None for a text that was loaded.
    pub fn valid_windows(&self) -> Result<Arc<TokenBatches>, TextError> {
        let tokens = TokenPart::new(self.tokens.clone(), self.train_len()..self.tokens.len());
        EvenWindowsConfig::new(CONTEXT, BATCH, VALID_WINDOWS)
            .init(tokens, &Device::default())
            .map(Arc::new)
    }

    /// Returns the loss of a model on the first `batches` validation batches, in nats per token.
    ///
    /// # Errors
    ///
    /// If the loss cannot be read back from the device.
    pub fn loss_of_batches<P: Projection>(
        &self,
        lm: &BitNetLm<P>,
        batches: usize,
    ) -> Result<f64, Error> {
        let device = lm.devices().into_iter().next().unwrap_or_default();
        let windows = self.valid_windows()?.to_device(&device);
        let batches = windows.iter().take(batches);
        let evaluation = evaluate(lm, batches.map(|batch| batch.map_err(Error::from)))?;
        Ok(evaluation.loss)
    }

    /// Returns the loss of a model on all validation windows, in nats per token.
    ///
    /// # Errors
    ///
    /// If the loss cannot be read back from the device.
    pub fn valid_loss<P: Projection>(&self, lm: &BitNetLm<P>) -> Result<f64, Error> {
        self.loss_of_batches(lm, usize::MAX)
    }

    /// Returns the beginning of the validation text, as a prompt.
    pub(crate) fn prompt(&self) -> Result<Vec<u32>, TextError> {
        let (start, mut prompt) = (self.train_len(), Vec::new());
        self.tokens.read(start..start + CONTEXT, &mut prompt)?;
        Ok(prompt)
    }
}
