//! Places in the data of a training, and parts of it for several processes.

use std::sync::{Arc, Mutex, PoisonError};

use burn::data::dataloader::DataLoader;

/// A data loader that goes to any batch of any epoch, without making those before it, and that can be
/// divided among processes.
///
/// A [`Trainer`](crate::train::Trainer) that resumes a training seeks; with another loader it makes
/// the batches that were trained on again, and drops them.
pub trait SeekableDataLoader<O>: DataLoader<O> {
    /// Goes to a batch of an epoch, both counted from 0: the next [`iter`](DataLoader::iter) is that
    /// epoch from that batch on.
    fn seek(&self, epoch: usize, batch: usize);

    /// The part of process `rank` of `world_size`: the batches `rank`, `rank + world_size`, … of each
    /// epoch. The processes have the same number of batches; up to `world_size - 1` at the end of an
    /// epoch are left out.
    ///
    /// # Panics
    ///
    /// If `rank` is not less than `world_size`.
    fn shard(&self, rank: usize, world_size: usize) -> Arc<dyn SeekableDataLoader<O>>;
}

/// The epoch that a loader gives next, and the batch that it begins with. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpochCursor(Arc<Mutex<(usize, usize)>>);

impl EpochCursor {
    pub fn seek(&self, epoch: usize, batch: usize) {
        self.with(|place| *place = (epoch, batch));
    }

    /// The next epoch and its first batch; the epoch after it comes next, from its beginning.
    pub fn advance(&self) -> (usize, usize) {
        self.with(|place| {
            let (epoch, _) = *place;
            std::mem::replace(place, (epoch + 1, 0))
        })
    }

    /// One that moves by itself, from the same place on.
    pub fn detached(&self) -> Self {
        Self(Arc::new(Mutex::new(self.with(|place| *place))))
    }

    fn with<T>(&self, f: impl FnOnce(&mut (usize, usize)) -> T) -> T {
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The part of the batches of an epoch that a process has.
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

    /// Number of its items of an epoch of so many: all if it is whole, else those of whole batches.
    pub fn count(&self, items: usize, batch_size: usize) -> usize {
        match self.world_size {
            1 => items,
            world_size => items / (batch_size * world_size) * batch_size,
        }
    }

    /// Number in the epoch of its batch with this number.
    pub fn batch(&self, number: usize) -> usize {
        number * self.world_size + self.rank
    }
}
