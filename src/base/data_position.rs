//! Positions in the training data, and shards of it for several processes.

use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::DataLoader;

/// A data loader that seeks to any batch of any epoch without loading those before it, and that can be
/// sharded among processes.
///
/// A [`Trainer`](crate::train::Trainer) that resumes a training seeks. With another loader it loads the
/// batches that were trained on again, and drops them.
pub trait SeekableDataLoader<O>: DataLoader<O> {
    /// Seeks to a batch of an epoch, both counted from 0: the next [`iter`](DataLoader::iter) returns the
    /// rest of that epoch from that batch. Loaders of [`to_device`](DataLoader::to_device) share the position.
    fn seek(&self, epoch: usize, batch: usize);

    /// Returns the shard of process `rank` of `world_size`: the batches `rank`, `rank + world_size`, … of
    /// each epoch. All processes have the same number of batches; up to `world_size - 1` at the end of an
    /// epoch are left out.
    ///
    /// # Panics
    ///
    /// If `rank` is not less than `world_size`.
    fn shard(&self, rank: usize, world_size: usize) -> Arc<dyn SeekableDataLoader<O>>;
}

/// The next epoch of a loader and the batch that it starts with. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpochCursor(Arc<Mutex<(usize, usize)>>);

impl EpochCursor {
    pub fn seek(&self, epoch: usize, batch: usize) {
        self.with(|place| *place = (epoch, batch));
    }

    /// Returns the next epoch and its first batch, and moves on to the start of the epoch after it.
    pub fn advance(&self) -> (usize, usize) {
        self.with(|place| {
            let (epoch, _) = *place;
            std::mem::replace(place, (epoch + 1, 0))
        })
    }

    /// Returns an independent copy at the same position.
    pub fn detached(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(|place| *place))))
    }

    fn with<T>(&self, f: impl FnOnce(&mut (usize, usize)) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The part of the batches of an epoch that belongs to one process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard {
    rank: usize,
    world_size: usize,
}

impl Shard {
    /// All batches.
    pub const WHOLE: Self = Self {
        rank: 0,
        world_size: 1,
    };

    #[track_caller]
    pub fn new(rank: usize, world_size: usize) -> Self {
        assert!(
            rank < world_size,
            "rank is {rank}, expected less than the world size {world_size}"
        );
        Self { rank, world_size }
    }

    /// Returns the number of items of this shard in an epoch of `items`: all of a whole epoch, else those of
    /// complete batches.
    pub fn count(&self, items: usize, batch_size: usize) -> usize {
        match self.world_size {
            1 => items,
            world_size => items / (batch_size * world_size) * batch_size,
        }
    }

    /// Returns the index in the epoch of the shard's batch `number`.
    pub fn batch(&self, number: usize) -> usize {
        number * self.world_size + self.rank
    }
}
