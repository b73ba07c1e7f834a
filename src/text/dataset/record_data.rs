//! Training on records, only part of which counts in the loss.

use std::{path::PathBuf, sync::Arc};

use burn::{
    data::{dataloader::DataLoaderBuilder, dataset::InMemDataset},
    tensor::Device,
};

use super::{
    Document, DocumentBatchesConfig, FileKind, JsonLines, JsonRecord, Packed, PackingConfig,
    RecordKind, Sequence, SequenceBatcher, TextData, TextDataConfig, TextDataError, read_documents,
    text_data::VALID_SHARE,
};
use crate::text::{TextError, Tokenizer};

impl TextDataConfig {
    /// Loads records, packed in a shuffled order for training.
    pub(super) fn documents(
        &self,
        record: JsonRecord,
        tokenizer: &Arc<Tokenizer>,
        batches_per_epoch: usize,
        seed: u64,
    ) -> Result<TextData, TextDataError> {
        let packing = self.packing(tokenizer)?;
        let [train, valid] = self.document_parts(&record, tokenizer)?;
        let count = |documents: &[Document]| documents.iter().map(|d| d.tokens.len()).sum();
        let (train_tokens, valid_tokens) = (count(&train), count(&valid));
        let valid = self.validation_sequences(valid, packing.clone())?;
        let loader = DataLoaderBuilder::new(SequenceBatcher).batch_size(self.batch);
        let train = DocumentBatchesConfig::new(packing, self.batch, batches_per_epoch * self.batch)
            .with_shuffle_buffer(1024)
            .with_seed(seed)
            .init(train, &Device::default())?;
        Ok(TextData {
            train: Arc::new(train),
            valid: loader.build(InMemDataset::new(valid)),
            train_tokens,
            valid_tokens,
        })
    }

    /// Returns the documents of training and validation: of separate files, or the last tenth.
    fn document_parts(
        &self,
        record: &JsonRecord,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<[Vec<Document>; 2], TextDataError> {
        self.check_records()?;
        let read = |files: &[PathBuf]| {
            read_documents(&JsonLines::new(files, record.clone(), tokenizer.clone()))
        };
        let mut train = read(&self.text)?;
        let valid = match self.validation.as_slice() {
            [] => train.split_off(train.len() - (train.len() / VALID_SHARE).max(1)),
            files => read(files)?,
        };
        match train.iter().any(Document::counts) {
            true => Ok([train, valid]),
            false => Err(TextDataError::Content(format!(
                "TextDataConfig::text {:?}: expected at least 2 records with tokens that count in the loss, \
                 one of them for validation: add more, or pass TextDataConfig::validation",
                self.text
            ))),
        }
    }

    fn check_records(&self) -> Result<(), TextDataError> {
        for (setting, files) in [("text", &self.text), ("validation", &self.validation)] {
            let mut others = files
                .iter()
                .filter(|f| FileKind::of(f) != FileKind::Records);
            if let Some(path) = others.next() {
                return Err(TextDataError::Settings(format!(
                    "TextDataConfig::{setting} {}: TextDataConfig::records other than text need .jsonl, \
                     .ndjson or .json files",
                    path.display()
                )));
            }
        }
        match self.text.is_empty() {
            true => Err(TextDataError::Settings(
                "TextDataConfig::records other than text need TextDataConfig::text FILES".into(),
            )),
            false => Ok(()),
        }
    }

    /// Returns the windows of a validation, at least one token of which counts.
    fn validation_sequences(
        &self,
        documents: Vec<Document>,
        packing: PackingConfig,
    ) -> Result<Vec<Sequence>, TextDataError> {
        let windows = self.validation_windows;
        let sequences = Packed::new(documents.into_iter().map(Ok), packing)?.take(windows);
        let sequences: Vec<Sequence> = sequences.collect::<Result<_, TextError>>()?;
        if sequences.iter().any(|sequence| sequence.counted() > 0) {
            return Ok(sequences);
        }
        let (files, place) = match self.validation.as_slice() {
            [] => (&self.text, "the last tenth of TextDataConfig::text"),
            _ => (&self.validation, "TextDataConfig::validation"),
        };
        Err(TextDataError::Content(format!(
            "{place} {files:?}: expected tokens that count in the loss in the first {windows} windows of \
             validation, found none: every token there belongs to a prompt"
        )))
    }

    /// Returns the packing with the tokens around a document: those of the tokenizer, and an end of text.
    fn packing(&self, tokenizer: &Tokenizer) -> Result<PackingConfig, TextDataError> {
        let packing = PackingConfig::new(self.context);
        if self.records == RecordKind::Messages {
            // A template writes both itself.
            return Ok(packing);
        }
        let (bos, eos) = match (tokenizer.prefix_tokens(), tokenizer.suffix_tokens()) {
            (&[], &[]) => (None, tokenizer.eos()),
            (&[bos], &[]) => (Some(bos), tokenizer.eos()),
            (&[], &[eos]) => (None, Some(eos)),
            (&[bos], &[eos]) => (Some(bos), Some(eos)),
            (before, after) => {
                return Err(TextDataError::Content(format!(
                    "expected a tokenizer that adds at most one token before and one after a text, found \
                     {before:?} and {after:?}"
                )));
            }
        };
        Ok(packing.with_bos(bos).with_eos(eos))
    }
}
