use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{config::Config, tensor::Device};

use super::{
    DocumentSource, Packed, PackingConfig, Sequence, TokenBatches, passes::Passes,
    token_batches::NumberedSequences,
};
use crate::{base::bounds::Bounds, text::TextError};

/// Configuration of batches of a stream of documents.
///
/// The documents are read repeatedly, shuffled differently in each pass, and packed into an endless
/// stream of sequences. An epoch is the next `sequences_per_epoch` sequences, independent of the
/// number of documents. The batch of a step depends on the seed and the step number only.
///
/// A resumed training [seeks](super::SeekableDataLoader::seek) to its step: all documents before it are read and
/// packed again, which takes as long as tokenizing them, in each process of several. [Random
/// windows](super::RandomWindowsConfig) of a [`TokenFile`](super::TokenFile) seek without reading.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::dataset::{Document, DocumentBatchesConfig, PackingConfig};
/// use burn::{data::dataloader::DataLoader, tensor::Device};
///
/// let documents = vec![Document::new((0..25).collect()), Document::new(vec![7; 10])];
/// let packing = PackingConfig::new(8).with_eos(Some(99));
/// let batches = DocumentBatchesConfig::new(packing, 2, 6)
///     .with_shuffle_buffer(2)
///     .init(documents, &Device::default())?;
/// let epoch: Vec<_> = batches.iter().map(Result::unwrap).collect();
/// assert_eq!(epoch.len(), 3);
/// assert_eq!(epoch[0].inputs.dims(), [2, 8]);
/// # Ok(())
/// # }
/// ```
#[derive(Config, Debug)]
pub struct DocumentBatchesConfig {
    /// Packing of documents into sequences.
    pub packing: PackingConfig,
    /// Number of sequences in a batch.
    pub batch_size: usize,
    /// Number of sequences in an epoch.
    pub sequences_per_epoch: usize,
    /// Size of the shuffle buffer in documents; 1 keeps their order.
    #[config(default = 1)]
    pub shuffle_buffer: usize,
    /// Seed of the shuffle.
    #[config(default = 0)]
    pub seed: u64,
}

impl DocumentBatchesConfig {
    /// Creates the batches of the documents of a source.
    ///
    /// # Errors
    ///
    /// If the context, the batch size or the epoch size is zero.
    pub fn init(
        &self,
        source: impl DocumentSource + 'static,
        device: &Device,
    ) -> Result<TokenBatches, TextError> {
        Bounds::COUNT.check("context", self.packing.context)?;
        Bounds::COUNT.check("batch_size", self.batch_size)?;
        Bounds::COUNT.check("sequences_per_epoch", self.sequences_per_epoch)?;
        let sequences = PackedDocuments {
            source: Arc::new(source),
            config: self.clone(),
            reading: Mutex::default(),
        };
        let counts = [self.sequences_per_epoch, usize::MAX];
        Ok(TokenBatches::new(
            sequences,
            self.batch_size,
            counts,
            device,
        ))
    }
}

struct PackedDocuments {
    source: Arc<dyn DocumentSource>,
    config: DocumentBatchesConfig,
    /// Each epoch continues where the last one ended.
    reading: Mutex<Reading>,
}

/// Stream of sequences and the current position in it.
#[derive(Default)]
struct Reading {
    sequences: Option<Packed<Passes>>,
    /// Number of the next sequence.
    next: usize,
}

impl PackedDocuments {
    fn sequence(&self, reading: &mut Reading, number: usize) -> Result<Sequence, TextError> {
        if number < reading.next || reading.sequences.is_none() {
            let (source, config) = (self.source.clone(), &self.config);
            let passes = Passes::new(source, config.shuffle_buffer, config.seed);
            reading.sequences = Some(Packed::new(passes, config.packing.clone())?);
            reading.next = 0;
        }
        let sequences = reading.sequences.iter_mut().flatten();
        for sequence in sequences {
            let sequence = sequence?;
            reading.next += 1;
            if reading.next > number {
                return Ok(sequence);
            }
        }
        let paths = self.source.paths();
        Err(TextError::NoDocuments { paths })
    }
}

impl NumberedSequences for PackedDocuments {
    fn read(&self, numbers: Range<usize>) -> Result<Vec<Sequence>, TextError> {
        // The state left by a thread that panicked is a valid position.
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        numbers
            .map(|number| self.sequence(&mut reading, number))
            .collect()
    }

    fn detached(&self) -> Arc<dyn NumberedSequences> {
        Arc::new(Self {
            source: self.source.clone(),
            config: self.config.clone(),
            reading: Mutex::default(),
        })
    }
}
