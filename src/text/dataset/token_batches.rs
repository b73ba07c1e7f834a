use std::{ops::Range, sync::Arc};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::Device,
};

use super::{Sequence, TokenBatch};
use crate::{
    base::data_position::{EpochCursor, SeekableDataLoader, Shard},
    text::TextError,
};

/// Sequences of a training, by their number in it.
pub(super) trait NumberedSequences: Send + Sync {
    /// Reads the sequences with these numbers.
    fn read(&self, numbers: Range<usize>) -> Result<Vec<Sequence>, TextError>;

    /// Returns the same sequences for another thread.
    fn detached(&self) -> Arc<dyn NumberedSequences>;
}

/// Data loader of [`TokenBatch`]es for Burn's `Learner`, of windows
/// ([random](super::RandomWindowsConfig), [even](super::EvenWindowsConfig)) or of
/// [documents](super::DocumentBatchesConfig).
///
/// Each [`iter`](DataLoader::iter) returns the next epoch. An epoch that begins while another is read from the
/// same loader is an error of the data: each reader has a position of its own with
/// [`shard(0, 1)`](SeekableDataLoader::shard), as each training of a [`Trainer`](crate::train::Trainer) has.
pub struct TokenBatches {
    sequences: Arc<dyn NumberedSequences>,
    batch_size: usize,
    /// Number of sequences of an epoch.
    epoch: usize,
    /// Number of sequences of the whole training.
    all: usize,
    /// Range of sequences of an epoch that this loader returns.
    part: Range<usize>,
    shard: Shard,
    cursor: EpochCursor,
    device: Device,
}

impl TokenBatches {
    /// Creates the batches of `epoch` sequences per epoch, `all` in the training.
    pub(super) fn new(
        sequences: impl NumberedSequences + 'static,
        batch_size: usize,
        [epoch, all]: [usize; 2],
        device: &Device,
    ) -> Self {
        Self {
            sequences: Arc::new(sequences),
            batch_size,
            epoch,
            all,
            part: 0..epoch,
            shard: Shard::WHOLE,
            cursor: EpochCursor::default(),
            device: device.clone(),
        }
    }

    /// Declares that all epochs are the same.
    pub(super) fn of_equal_epochs(mut self) -> Self {
        self.cursor = EpochCursor::of_equal_epochs();
        self
    }

    /// Returns the batch of a step, from 0, of the whole data.
    ///
    /// # Errors
    ///
    /// If a sequence cannot be read, or a token is not in the vocabulary.
    pub fn batch(&self, step: usize) -> Result<TokenBatch, TextError> {
        let steps = self.epoch.div_ceil(self.batch_size);
        let epoch = step / steps * self.epoch;
        let first = epoch + step % steps * self.batch_size;
        self.read(first..(first + self.batch_size).min(epoch + self.epoch))
    }

    fn read(&self, numbers: Range<usize>) -> Result<TokenBatch, TextError> {
        Ok(TokenBatch::new(
            &self.sequences.read(numbers)?,
            &self.device,
        ))
    }

    /// Returns the same loader with a position of its own.
    fn detached(&self) -> Self {
        Self {
            sequences: self.sequences.detached(),
            part: self.part.clone(),
            cursor: self.cursor.detached(),
            device: self.device.clone(),
            ..*self
        }
    }
}

impl DataLoader<TokenBatch> for TokenBatches {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TokenBatch> + 'a> {
        Box::new(self.cursor.next_epoch(|epoch, first| {
            let start = epoch * self.epoch;
            let end = (start + self.part.end).min(self.all);
            let sequences = (start + self.part.start).min(end)..end;
            let count = self.shard.count(sequences.len(), self.batch_size);
            let batches = count.div_ceil(self.batch_size);
            EpochBatches {
                loader: self,
                sequences,
                count,
                batches: first.min(batches)..batches,
            }
        }))
    }

    fn num_items(&self) -> usize {
        self.shard.count(self.part.len(), self.batch_size)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<TokenBatch>> {
        Arc::new(Self {
            device: device.clone(),
            cursor: self.cursor.clone(),
            ..self.detached()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<TokenBatch>> {
        let end = (self.part.start + end).min(self.part.end);
        Arc::new(Self {
            part: (self.part.start + start).min(end)..end,
            ..self.detached()
        })
    }
}

impl SeekableDataLoader<TokenBatch> for TokenBatches {
    fn seek(&self, epoch: usize, batch: usize) {
        self.cursor.seek(epoch, batch);
    }

    fn shard(&self, rank: usize, world_size: usize) -> Arc<dyn SeekableDataLoader<TokenBatch>> {
        Arc::new(Self {
            shard: self.shard.shard(rank, world_size),
            ..self.detached()
        })
    }
}

/// Iterator over the batches of an epoch.
struct EpochBatches<'a> {
    loader: &'a TokenBatches,
    /// Numbers of the sequences that the epoch is divided into batches of.
    sequences: Range<usize>,
    /// Number of sequences in the batches of the shard; the last batch may be smaller.
    count: usize,
    /// Numbers of the remaining batches.
    batches: Range<usize>,
}

impl Iterator for EpochBatches<'_> {
    type Item = Result<TokenBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let loader = self.loader;
        let number = loader.shard.batch(self.batches.next()?);
        let first = self.sequences.start + number * loader.batch_size;
        let end = (first + loader.batch_size).min(self.sequences.end);
        Some(loader.read(first..end).map_err(DatasetError::new))
    }
}

impl DataLoaderIterator<TokenBatch> for EpochBatches<'_> {
    fn progress(&self) -> Progress {
        let processed = (self.batches.start * self.loader.batch_size).min(self.count);
        Progress::new(processed, self.count, Some("sequences".to_string()))
    }
}
