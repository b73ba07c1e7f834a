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
    /// How documents become sequences.
    pub packing: PackingConfig,
    /// Sequences in a batch.
    pub batch_size: usize,
    /// Sequences in an epoch.
    pub sequences_per_epoch: usize,
    /// Documents that are mixed with each other; 1 keeps their order.
    #[config(default = 1)]
    pub shuffle_buffer: usize,
    /// Seed of the mixing.
    #[config(default = 0)]
    pub seed: u64,
}

/// Batches of a stream of documents, for Burn's `Learner`.
///
/// The documents are read again and again, mixed in another way each time, and packed into an endless
/// row of sequences; an epoch is the next `sequences_per_epoch` of them, whether the documents end
/// before or after. So the batch of a step depends on the seed and the number of the step alone.
///
/// Each [`iter`](DataLoader::iter) is the next epoch. A training that resumes
/// [seeks](SeekableDataLoader::seek) its place, up to which the documents are read and packed again:
/// that takes as long as tokenizing them does. [`RandomWindows`](super::RandomWindows) over a
/// [`TokenFile`](super::TokenFile) need not.
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
    /// The sequences of an epoch that are taken.
    part: Range<usize>,
    cursor: EpochCursor,
    shard: Shard,
    /// Where the reading is; one for all epochs, each of which goes on where the last one ended.
    reading: Arc<Mutex<Reading>>,
}

/// A row of sequences that is read up to a place.
#[derive(Default)]
struct Reading {
    sequences: Option<Packed<Passes>>,
    /// Number of the next sequence.
    next: usize,
}

impl DocumentBatchesConfig {
    /// Batches of the documents of a source.
    ///
    /// # Errors
    ///
    /// If there is nothing in a sequence, a batch or an epoch.
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
    /// The sequences with these numbers, counted from the beginning of the training.
    fn batch(&self, numbers: Range<usize>) -> Result<TokenBatch, TextError> {
        // What a thread that panicked left is a place in the row like any other.
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
        // Each part reads by itself: they are on several threads.
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
