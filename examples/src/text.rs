use std::{path::Path, sync::Arc};

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig, Projection},
    text::{
        TextError, Tokenizer,
        dataset::{
            EvenWindows, EvenWindowsConfig, RandomWindows, RandomWindowsConfig, TokenPart,
            TokenStore, read_text,
        },
        evaluate,
    },
};
use burn::{data::dataloader::DataLoader, module::Module, tensor::Device};

use crate::Error;

/// Characters that a position can look back on.
pub const CONTEXT: usize = 64;
/// Windows in a step.
pub const BATCH: usize = 32;
/// Steps between two validations.
pub const STEPS_PER_EPOCH: usize = 250;
/// Windows of a validation.
const VALID_WINDOWS: usize = 1024;
/// Share of the text that is kept for validation: the last tenth.
const VALID_SHARE: usize = 10;

/// An excerpt of Shakespeare's plays, in the public domain.
const SHAKESPEARE: &str = include_str!("../../src/bin/bitnet-burn/shakespeare.txt");

/// A text as tokens: nine tenths to train on, and the last tenth to validate.
pub struct Text {
    /// A token for each character.
    pub tokenizer: Tokenizer,
    tokens: Arc<dyn TokenStore>,
    vocab_size: usize,
}

impl Text {
    /// The text of a file, or an excerpt of Shakespeare. Prints its size.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or is too short to cut windows.
    pub fn load(path: Option<&Path>) -> Result<Self, Error> {
        let text = match path {
            Some(path) => read_text(path)?,
            None => SHAKESPEARE.to_string(),
        };
        let tokenizer = Tokenizer::characters(&text)?;
        let tokens = tokenizer.encode(&text)?;
        let (found, needed) = (tokens.len(), VALID_SHARE * (CONTEXT + 1));
        if found < needed {
            return Err(format!(
                "the text has {found} characters, at least {needed} are needed to cut windows for \
                 training and validation"
            )
            .into());
        }
        // The end of a text, the last token, is in no window.
        let vocab_size = tokens.iter().max().map_or(0, |&token| token as usize + 1);
        let text = Self {
            tokenizer,
            tokens: Arc::new(tokens),
            vocab_size,
        };
        let (train, valid) = (text.train_len(), found - text.train_len());
        println!(
            "{train} characters to train on, {valid} to validate, a vocabulary of {vocab_size}"
        );
        Ok(text)
    }

    /// Tokens to train on.
    pub fn train_len(&self) -> usize {
        self.tokens.len() - self.tokens.len() / VALID_SHARE
    }

    /// A model of two layers for the text.
    pub fn lm_config(&self) -> BitNetLmConfig {
        BitNetLmConfig::new(self.vocab_size, 128, 2, 4, 384)
            .with_max_positions(CONTEXT)
            .with_tied_embeddings(false)
    }

    /// Random windows of the part to train on.
    ///
    /// # Errors
    ///
    /// If there are no steps.
    pub fn train_windows(
        &self,
        seed: u64,
        steps: usize,
        steps_per_epoch: usize,
    ) -> Result<Arc<RandomWindows>, TextError> {
        let tokens = TokenPart::new(self.tokens.clone(), 0..self.train_len());
        RandomWindowsConfig::new(CONTEXT, BATCH, steps)
            .with_steps_per_epoch(Some(steps_per_epoch))
            .with_seed(seed)
            .init(tokens, &Device::default())
            .map(Arc::new)
    }

    /// Evenly spaced windows of the part to validate.
    ///
    /// # Errors
    ///
    /// None for a text that was loaded.
    pub fn valid_windows(&self) -> Result<Arc<EvenWindows>, TextError> {
        let tokens = TokenPart::new(self.tokens.clone(), self.train_len()..self.tokens.len());
        EvenWindowsConfig::new(CONTEXT, BATCH, VALID_WINDOWS)
            .init(tokens, &Device::default())
            .map(Arc::new)
    }

    /// Loss of a model on the first `batches` batches of validation, in nats per token.
    ///
    /// # Errors
    ///
    /// If the device does not give it.
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

    /// Loss of a model on all windows of validation, in nats per token.
    ///
    /// # Errors
    ///
    /// If the device does not give it.
    pub fn valid_loss<P: Projection>(&self, lm: &BitNetLm<P>) -> Result<f64, Error> {
        self.loss_of_batches(lm, usize::MAX)
    }

    /// The beginning of the part to validate, to go on from.
    pub(crate) fn prompt(&self) -> Result<Vec<u32>, TextError> {
        let (start, mut prompt) = (self.train_len(), Vec::new());
        self.tokens.read(start..start + CONTEXT, &mut prompt)?;
        Ok(prompt)
    }
}
