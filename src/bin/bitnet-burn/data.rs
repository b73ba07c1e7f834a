//! Tokens and batches from text files.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bitnet_burn::{
    text::{
        ChatTemplate, Tokenizer,
        dataset::{
            Document, DocumentBatchesConfig, DocumentSource, EvenWindowsConfig, FileKind,
            JsonLines, JsonRecord, Packed, PackingConfig, RandomWindowsConfig, Sequence,
            SequenceBatcher, TextFiles, TokenBatch, TokenDType, TokenFile, TokenFiles, TokenPart,
            TokenStore, read_documents, read_text,
        },
    },
    train::SeekableDataLoader,
};
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder},
        dataset::InMemDataset,
    },
    tensor::Device,
};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::error::Failure;

/// An excerpt of Shakespeare's plays, in the public domain.
pub const SHAKESPEARE: &str = include_str!("shakespeare.txt");

/// Inverse share of a text that is kept for validation: the last tenth.
const VALID_SHARE: usize = 10;

/// Schema of the records in .jsonl, .ndjson and .json files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Records {
    /// {"text": ...}, all of which counts in the loss
    #[default]
    Text,
    /// {"prompt": ..., "completion": ...}, of which the completion counts in the loss
    PromptCompletion,
    /// {"messages": [{"role": ..., "content": ...}, ...]}, of which the assistant's turns count in the loss;
    /// tools, documents and chat_template_kwargs beside them are passed to the chat template
    Messages,
}

/// Data of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataSettings {
    /// Files: plain text; records (.jsonl, .ndjson, .json); or tokens (.bin). Empty for the excerpt of
    /// Shakespeare.
    pub text: Vec<PathBuf>,
    /// Files of the same kinds. Empty for the last tenth of the text.
    pub validation: Vec<PathBuf>,
    /// A tokenizer.json or a folder with one; absent for a character tokenizer of the text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokenizer: Option<PathBuf>,
    /// Schema of the records.
    pub records: Records,
    /// Number of input tokens of a window.
    pub context: usize,
    /// Number of windows in a batch.
    pub batch: usize,
    /// Maximum number of windows of a validation.
    pub validation_windows: usize,
}

impl Default for DataSettings {
    fn default() -> Self {
        Self {
            text: Vec::new(),
            validation: Vec::new(),
            tokenizer: None,
            records: Records::Text,
            context: 64,
            batch: 16,
            validation_windows: 256,
        }
    }
}

/// Data loaders of a training.
#[derive(Clone)]
pub struct Loaders {
    pub train: Arc<dyn SeekableDataLoader<TokenBatch>>,
    pub valid: Arc<dyn DataLoader<TokenBatch>>,
    /// Number of training and validation tokens.
    pub tokens: [usize; 2],
}

/// Length and seed of a training.
pub struct Course {
    pub steps: usize,
    pub steps_per_epoch: usize,
    pub seed: u64,
}

impl DataSettings {
    /// Loads the requested tokenizer, or builds one of the characters of the text.
    pub fn tokenizer(&self) -> Result<Tokenizer, Failure> {
        Failure::unless_present(
            self.text
                .iter()
                .chain(&self.validation)
                .chain(&self.tokenizer),
        )?;
        if let Some(path) = &self.tokenizer {
            return Ok(Tokenizer::from_file(path)?);
        }
        if self.text.is_empty() {
            return Ok(Tokenizer::characters(SHAKESPEARE)?);
        }
        let mut text = String::new();
        for path in self.text.iter().chain(&self.validation) {
            if FileKind::of(path) != FileKind::Text {
                return Err(Failure::usage(format!(
                    "{}: expected --tokenizer FILE, as the character tokenizer needs plain text",
                    path.display()
                )));
            }
            text += &read_text(path)?;
        }
        Ok(Tokenizer::characters(&text)?)
    }

    pub fn loaders(
        &self,
        tokenizer: &Arc<Tokenizer>,
        template: Option<ChatTemplate>,
        course: &Course,
    ) -> Result<Loaders, Failure> {
        match self.records {
            Records::Text => self.windows(tokenizer, course),
            Records::PromptCompletion => {
                self.documents(JsonRecord::prompt_completion(), tokenizer, course)
            }
            Records::Messages => {
                let template = template.ok_or_else(|| {
                    Failure::failed(
                        "--records messages: expected a chat template in the model's folder \
                         (chat_template.jinja or tokenizer_config.json), found none",
                    )
                })?;
                let record = JsonRecord::messages(Arc::new(template));
                self.documents(record, tokenizer, course)
            }
        }
    }

    /// Returns windows at random positions of one long text.
    fn windows(&self, tokenizer: &Arc<Tokenizer>, course: &Course) -> Result<Loaders, Failure> {
        let text = tokens(&self.text, tokenizer)?;
        let (train, valid) = match self.validation.as_slice() {
            [] => split(text, self.context)?,
            files => (whole(text), whole(tokens(files, tokenizer)?)),
        };
        let counts = [train.len(), valid.len()];
        // The training loop moves the batches to the device of the model.
        let device = Device::default();
        let train = RandomWindowsConfig::new(self.context, self.batch, course.steps)
            .with_steps_per_epoch(Some(course.steps_per_epoch))
            .with_seed(course.seed)
            .init(train, &device)?;
        let valid = EvenWindowsConfig::new(self.context, self.batch, self.validation_windows)
            .init(valid, &device)?;
        Ok(Loaders {
            train: Arc::new(train),
            valid: Arc::new(valid),
            tokens: counts,
        })
    }

    /// Returns batches of records, only part of which counts in the loss.
    fn documents(
        &self,
        record: JsonRecord,
        tokenizer: &Arc<Tokenizer>,
        course: &Course,
    ) -> Result<Loaders, Failure> {
        let packing = self.packing(tokenizer)?;
        let [train, valid] = self.parts(&record, tokenizer)?;
        let count = |documents: &[Document]| documents.iter().map(|d| d.tokens.len()).sum();
        let counts = [count(&train), count(&valid)];
        let valid = self.validation_sequences(valid, packing.clone())?;
        let loader = DataLoaderBuilder::new(SequenceBatcher).batch_size(self.batch);
        let per_epoch = course.steps_per_epoch * self.batch;
        let train = DocumentBatchesConfig::new(packing, self.batch, per_epoch)
            .with_shuffle_buffer(1024)
            .with_seed(course.seed)
            .init(train, &Device::default())?;
        Ok(Loaders {
            train: Arc::new(train),
            valid: loader.build(InMemDataset::new(valid)),
            tokens: counts,
        })
    }

    /// Rejects files that are not records.
    fn check_kinds(&self) -> Result<(), Failure> {
        for (flag, files) in [("--text", &self.text), ("--validation", &self.validation)] {
            if let Some(path) = files
                .iter()
                .find(|path| FileKind::of(path) != FileKind::Records)
            {
                return Err(Failure::usage(format!(
                    "{flag} {}: --records other than text need .jsonl, .ndjson or .json files",
                    path.display()
                )));
            }
        }
        if self.text.is_empty() {
            return Err(Failure::usage(
                "--records other than text need --text FILES",
            ));
        }
        Ok(())
    }

    /// Returns training and validation documents: from separate files, or the last tenth.
    fn parts(
        &self,
        record: &JsonRecord,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<[Vec<Document>; 2], Failure> {
        self.check_kinds()?;
        let read = |files: &[PathBuf]| {
            read_documents(&JsonLines::new(files, record.clone(), tokenizer.clone()))
        };
        let mut train = read(&self.text)?;
        let valid = match self.validation.as_slice() {
            [] => train.split_off(train.len() - (train.len() / VALID_SHARE).max(1)),
            files => read(files)?,
        };
        if !train.iter().any(Document::counts) {
            return Err(Failure::failed(format!(
                "--text {:?}: expected at least 2 records with tokens that count in the loss, one of them \
                 for validation: add more, or pass --validation",
                self.text
            )));
        }
        Ok([train, valid])
    }

    /// Returns the windows of a validation, at least one token of which counts.
    fn validation_sequences(
        &self,
        documents: Vec<Document>,
        packing: PackingConfig,
    ) -> Result<Vec<Sequence>, Failure> {
        let sequences = Packed::new(documents.into_iter().map(Ok), packing)?;
        let sequences = sequences.take(self.validation_windows);
        let sequences: Vec<Sequence> = sequences.collect::<Result<_, _>>()?;
        match sequences.iter().any(|sequence| sequence.counted() > 0) {
            true => Ok(sequences),
            false => {
                let (files, of) = match self.validation.as_slice() {
                    [] => (&self.text, "the last tenth of --text"),
                    _ => (&self.validation, "--validation"),
                };
                Err(Failure::failed(format!(
                    "{of} {files:?}: expected tokens that count in the loss in the first {} windows of \
                     validation, found none: every token there belongs to a prompt",
                    self.validation_windows
                )))
            }
        }
    }

    /// Returns the packing with the tokens around a document: those of the tokenizer, and an end of text.
    fn packing(&self, tokenizer: &Tokenizer) -> Result<PackingConfig, Failure> {
        let packing = PackingConfig::new(self.context);
        if self.records == Records::Messages {
            // A template writes both itself.
            return Ok(packing);
        }
        let (bos, eos) = match (tokenizer.prefix_tokens(), tokenizer.suffix_tokens()) {
            (&[], &[]) => (None, tokenizer.eos()),
            (&[bos], &[]) => (Some(bos), tokenizer.eos()),
            (&[], &[eos]) => (None, Some(eos)),
            (&[bos], &[eos]) => (Some(bos), Some(eos)),
            (before, behind) => {
                return Err(Failure::failed(format!(
                    "expected a tokenizer that adds at most one token before and one after a text, found \
                     {before:?} and {behind:?}"
                )));
            }
        };
        Ok(packing.with_bos(bos).with_eos(eos))
    }
}

/// Returns the concatenated tokens of files, or of the excerpt of Shakespeare.
pub fn tokens(
    files: &[PathBuf],
    tokenizer: &Arc<Tokenizer>,
) -> Result<Arc<dyn TokenStore>, Failure> {
    if files.is_empty() {
        return Ok(Arc::new(tokenizer.encode(SHAKESPEARE)?));
    }
    Failure::unless_present(files)?;
    let binary = files
        .iter()
        .filter(|path| FileKind::of(path) == FileKind::Tokens);
    match binary.count() {
        0 => {}
        all if all == files.len() => return token_files(files, tokenizer),
        _ => {
            return Err(Failure::usage(
                "--text: expected text files or token files (.bin), found both",
            ));
        }
    }
    let (mut tokens, mut ended) = (Vec::new(), false);
    for path in files {
        let documents = match FileKind::of(path) {
            FileKind::Records => {
                JsonLines::new([path], JsonRecord::text(), tokenizer.clone()).documents()
            }
            _ => TextFiles::new([path], tokenizer.clone()).documents(),
        };
        for document in documents {
            let document = document?;
            // Only between documents: a single text gets no end-of-text token.
            if ended {
                tokens.extend(tokenizer.eos());
            }
            tokens.extend(document.tokens);
            ended = document.ends;
        }
    }
    Ok(Arc::new(tokens))
}

fn token_files(files: &[PathBuf], tokenizer: &Tokenizer) -> Result<Arc<dyn TokenStore>, Failure> {
    let open = |path: &PathBuf| {
        let mut description = path.clone().into_os_string();
        description.push(".json");
        match Path::new(&description).exists() {
            true => TokenFile::open(path),
            false => {
                let vocab_size = tokenizer.vocab_size();
                TokenFile::open_raw(path, TokenDType::for_vocab(vocab_size), vocab_size)
            }
        }
    };
    let files: Vec<TokenFile> = files.iter().map(open).collect::<Result<_, _>>()?;
    for file in &files {
        if file.vocab_size() > tokenizer.vocab_size() {
            return Err(Failure::failed(format!(
                "--text: the tokens have a vocabulary of {}, but the tokenizer has {}: pass the tokenizer \
                 that encoded them",
                file.vocab_size(),
                tokenizer.vocab_size()
            )));
        }
    }
    Ok(Arc::new(TokenFiles(files)))
}

fn whole(tokens: Arc<dyn TokenStore>) -> TokenPart {
    let len = tokens.len();
    TokenPart::new(tokens, 0..len)
}

/// Splits off the last tenth for validation.
fn split(tokens: Arc<dyn TokenStore>, context: usize) -> Result<(TokenPart, TokenPart), Failure> {
    let len = tokens.len();
    let needed = VALID_SHARE * (context + 1);
    if len < needed {
        return Err(Failure::failed(format!(
            "--text: expected at least {needed} tokens for windows of {context} in training and validation, \
             found {len}: pass a longer text, or a smaller --context"
        )));
    }
    let end = len - len / VALID_SHARE;
    let part = |range| TokenPart::new(tokens.clone(), range);
    Ok((part(0..end), part(end..len)))
}
