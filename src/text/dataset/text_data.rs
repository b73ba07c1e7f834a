use std::{path::PathBuf, sync::Arc};

use burn::{data::dataloader::DataLoader, tensor::Device};
use serde::{Deserialize, Serialize};

use super::{
    EvenWindowsConfig, FileKind, JsonRecord, RandomWindowsConfig, SHAKESPEARE, SeekableDataLoader,
    TextDataError, TokenBatch, TokenPart, TokenStore, read_text, read_tokens,
};
use crate::text::{ChatTemplate, Tokenizer};

/// Inverse share of a text that is kept for validation: the last tenth.
pub(super) const VALID_SHARE: usize = 10;

/// Schema of the records in `.jsonl`, `.ndjson` and `.json` files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RecordKind {
    /// `{"text": ...}`, all of which counts in the loss.
    #[default]
    Text,
    /// `{"prompt": ..., "completion": ...}`, of which the completion counts in the loss.
    PromptCompletion,
    /// `{"messages": [{"role": ..., "content": ...}, ...]}`, of which the assistant's turns count.
    Messages,
}

/// Files of a training and the form of its batches.
///
/// # Example
///
/// ```no_run
/// use std::sync::Arc;
///
/// use bitnet_burn::text::dataset::TextDataConfig;
///
/// let config = TextDataConfig { text: vec!["book.txt".into()], ..Default::default() };
/// let tokenizer = Arc::new(config.tokenizer()?);
/// // 300 batches of training, a validation after each 100, seed 0.
/// let data = config.load(&tokenizer, None, 300, 100, 0)?;
/// println!("{} tokens to train on", data.train_tokens);
/// // `Trainer::train` takes `data.train` and `data.valid`.
/// # Ok::<(), bitnet_burn::text::dataset::TextDataError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextDataConfig {
    /// Files: plain text; records (`.jsonl`, `.ndjson`, `.json`); or tokens (`.bin`). Empty for [`SHAKESPEARE`].
    pub text: Vec<PathBuf>,
    /// Files of the same kinds. Empty for the last tenth of the text.
    pub validation: Vec<PathBuf>,
    /// A `tokenizer.json` or a folder with one; absent for a character tokenizer of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Schema of the records.
    pub records: RecordKind,
    /// Number of input tokens of a window.
    pub context: usize,
    /// Number of windows in a batch.
    pub batch: usize,
    /// Maximum number of windows of a validation; fewer if they cover a short text.
    pub validation_windows: usize,
}

impl Default for TextDataConfig {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            validation: Vec::new(),
            tokenizer: None,
            records: RecordKind::Text,
            context: 64,
            batch: 16,
            validation_windows: 256,
        }
    }
}

/// Data loaders of a training, whose batches the training moves to its device.
#[derive(Clone)]
pub struct TextData {
    /// Batches of training.
    pub train: Arc<dyn SeekableDataLoader<TokenBatch>>,
    /// Batches of validation.
    pub valid: Arc<dyn DataLoader<TokenBatch>>,
    /// Number of tokens to train on.
    pub train_tokens: usize,
    /// Number of tokens to validate on.
    pub valid_tokens: usize,
}

impl TextDataConfig {
    /// Loads the tokenizer, or builds one of the characters of the text and the validation.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or there is no tokenizer and a file is not plain text.
    pub fn tokenizer(&self) -> Result<Tokenizer, TextDataError> {
        if let Some(path) = &self.tokenizer {
            return Ok(Tokenizer::from_file(path)?);
        }
        if self.text.is_empty() {
            return Ok(Tokenizer::characters(SHAKESPEARE)?);
        }
        let mut text = String::new();
        for path in self.text.iter().chain(&self.validation) {
            if FileKind::of(path) != FileKind::Text {
                return Err(TextDataError::Settings(format!(
                    "{}: expected TextDataConfig::tokenizer, as the character tokenizer needs plain text",
                    path.display()
                )));
            }
            text += &read_text(path)?;
        }
        Ok(Tokenizer::characters(&text)?)
    }

    /// Loads the data. Texts become random windows of one long sequence, other records packed documents in a
    /// shuffled order.
    ///
    /// `batches` is the number of the whole training. [`RecordKind::Messages`] needs a template.
    ///
    /// # Errors
    ///
    /// If a file cannot be read or does not fit the settings, or has too few tokens that count.
    pub fn load(
        &self,
        tokenizer: &Arc<Tokenizer>,
        template: Option<ChatTemplate>,
        batches: usize,
        batches_per_epoch: usize,
        seed: u64,
    ) -> Result<TextData, TextDataError> {
        let record = match self.records {
            RecordKind::Text => return self.windows(tokenizer, batches, batches_per_epoch, seed),
            RecordKind::PromptCompletion => JsonRecord::prompt_completion(),
            RecordKind::Messages => {
                let template = template.ok_or_else(|| {
                    TextDataError::Content(
                        "TextDataConfig::records messages: expected a chat template in the model's folder \
                         (chat_template.jinja or tokenizer_config.json), found none"
                            .into(),
                    )
                })?;
                JsonRecord::messages(Arc::new(template))
            }
        };
        self.documents(record, tokenizer, batches_per_epoch, seed)
    }

    fn windows(
        &self,
        tokenizer: &Arc<Tokenizer>,
        batches: usize,
        batches_per_epoch: usize,
        seed: u64,
    ) -> Result<TextData, TextDataError> {
        let [train, valid] = self.token_parts(tokenizer)?;
        let (train_tokens, valid_tokens) = (train.len(), valid.len());
        let device = Device::default();
        let train = RandomWindowsConfig::new(self.context, self.batch, batches)
            .with_steps_per_epoch(Some(batches_per_epoch))
            .with_seed(seed)
            .init(train, &device)?;
        // No more windows than cover the text: each token is evaluated once, but for an overlap of the last.
        let cover = valid_tokens.saturating_sub(1).div_ceil(self.context);
        let windows = self.validation_windows.min(cover.max(1));
        let valid =
            EvenWindowsConfig::new(self.context, self.batch, windows).init(valid, &device)?;
        Ok(TextData {
            train: Arc::new(train),
            valid: Arc::new(valid),
            train_tokens,
            valid_tokens,
        })
    }

    /// Returns the tokens of training and validation: of separate files, or the last tenth.
    fn token_parts(&self, tokenizer: &Arc<Tokenizer>) -> Result<[TokenPart; 2], TextDataError> {
        let text = read_tokens(&self.text, tokenizer)?;
        let (found, context) = (text.len(), self.context);
        if !self.validation.is_empty() {
            let valid = read_tokens(&self.validation, tokenizer)?;
            let whole = 0..valid.len();
            return Ok([TokenPart::new(text, 0..found), TokenPart::new(valid, whole)]);
        }
        let expected = VALID_SHARE * (context + 1);
        if found < expected {
            return Err(TextDataError::Content(format!(
                "TextDataConfig::text: expected at least {expected} tokens for windows of {context} in \
                 training and validation, found {found}: pass a longer text, or a smaller \
                 TextDataConfig::context"
            )));
        }
        let end = found - found / VALID_SHARE;
        Ok([0..end, end..found].map(|range| TokenPart::new(text.clone(), range)))
    }
}
