use std::{
    ops::Range,
    sync::{Arc, Mutex, PoisonError},
};

use burn::{
    config::Config,
    data::dataloader::{DataLoader, DataLoaderIterator},
    tensor::Device,
};

use super::{
    DocumentSource, Packed, PackingConfig, Sequence, TokenBatch, batch::Batches, passes::Passes,
};
use crate::{
    base::{
        bounds::Bounds,
        data_position::{EpochCursor, SeekableDataLoader, Shard},
    },
    text::TextError,
};

/// Configuration of [`DocumentBatches`].
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

/// Data loader over a stream of documents, for Burn's `Learner`.
///
/// The documents are read repeatedly, shuffled differently in each pass, and packed into an endless
/// stream of sequences. An epoch is the next `sequences_per_epoch` sequences, independent of the
/// number of documents. The batch of a step depends on the seed and the step number only.
///
/// Each [`iter`](DataLoader::iter) returns the next epoch. A resumed training
/// [seeks](SeekableDataLoader::seek) to its step: all documents before it are read and packed again,
/// which takes as long as tokenizing them. [`RandomWindows`](super::RandomWindows) over a
/// [`TokenFile`](super::TokenFile) seeks without reading.
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
#[derive(Clone)]
pub struct DocumentBatches {
    config: DocumentBatchesConfig,
    source: Arc<dyn DocumentSource>,
    device: Device,
    /// Range of sequences of an epoch that this loader returns.
    part: Range<usize>,
    cursor: EpochCursor,
    shard: Shard,
    /// Reader shared by all epochs; each epoch continues where the last one ended.
    reading: Arc<Mutex<Reading>>,
}

/// Stream of sequences and the current position in it.
#[derive(Default)]
struct Reading {
    sequences: Option<Packed<Passes>>,
    /// Number of the next sequence.
    next: usize,
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
    ) -> Result<DocumentBatches, TextError> {
        Bounds::COUNT.check("context", self.packing.context)?;
        Bounds::COUNT.check("batch_size", self.batch_size)?;
        Bounds::COUNT.check("sequences_per_epoch", self.sequences_per_epoch)?;
        Ok(DocumentBatches {
            source: Arc::new(source),
            device: device.clone(),
            part: 0..self.sequences_per_epoch,
            cursor: EpochCursor::default(),
            shard: Shard::WHOLE,
            reading: Arc::default(),
            config: self.clone(),
        })
    }
}

impl DocumentBatches {
    /// Returns the sequences with these numbers, counted from the beginning of the training.
    fn batch(&self, numbers: Range<usize>) -> Result<TokenBatch, TextError> {
        // The state left by a thread that panicked is a valid position.
        let mut reading = self.reading.lock().unwrap_or_else(PoisonError::into_inner);
        let sequences = numbers.map(|number| self.sequence(&mut reading, number));
        let sequences: Vec<Sequence> = sequences.collect::<Result<_, _>>()?;
        Ok(TokenBatch::new(&sequences, &self.device))
    }

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

impl DataLoader<TokenBatch> for DocumentBatches {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TokenBatch> + 'a> {
        let (epoch, first) = self.cursor.advance();
        let start = epoch * self.config.sequences_per_epoch + self.part.start;
        let (size, shard) = (self.config.batch_size, self.shard);
        let (part, count) = (self.part.len(), self.num_items());
        Box::new(Batches::new(first, size, count, move |number| {
            let first = shard.batch(number) * size;
            self.batch(start + first..start + (first + size).min(part))
        }))
    }

    fn num_items(&self) -> usize {
        self.shard.count(self.part.len(), self.config.batch_size)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<TokenBatch>> {
        Arc::new(Self {
            device: device.clone(),
            ..self.clone()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<TokenBatch>> {
        let end = (self.part.start + end).min(self.part.end);
        // Each shard has its own reader: shards run on different threads.
        Arc::new(Self {
            part: (self.part.start + start).min(end)..end,
            cursor: self.cursor.detached(),
            reading: Arc::default(),
            ..self.clone()
        })
    }
}

impl SeekableDataLoader<TokenBatch> for DocumentBatches {
    fn seek(&self, epoch: usize, batch: usize) {
        self.cursor.seek(epoch, batch);
    }

    /// Each process reads and packs all documents.
    fn shard(&self, rank: usize, world_size: usize) -> Arc<dyn SeekableDataLoader<TokenBatch>> {
        Arc::new(Self {
            shard: Shard::new(rank, world_size),
            cursor: self.cursor.detached(),
            reading: Arc::default(),
            ..self.clone()
        })
    }
}
