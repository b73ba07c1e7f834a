//! Positions in the training data, and shards of it for several processes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn::data::{
    dataloader::{DataLoader, DataLoaderIterator, Progress},
    dataset::DatasetError,
};

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
    /// each epoch of this loader. All processes have the same number of batches; up to `world_size - 1` at the
    /// end of an epoch are left out.
    ///
    /// The shard has a position of its own, which begins at that of this loader; `shard(0, 1)` is all of it.
    ///
    /// # Panics
    ///
    /// If `rank` is not less than `world_size`.
    fn shard(&self, rank: usize, world_size: usize) -> Arc<dyn SeekableDataLoader<O>>;
}

/// Error of an epoch that is begun while another of the same position is read.
#[derive(Debug, thiserror::Error)]
#[error(
    "expected one reader at a time, found an epoch that begins while another is read from the same loader: \
     give each training a loader of its own, such as `shard(0, 1)`"
)]
pub(crate) struct SecondReader;

/// The next epoch of a loader and the batch that it starts with. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct EpochCursor {
    place: Arc<Mutex<Place>>,
    /// `true` if all epochs are the same, so that several can be read at a time.
    equal_epochs: bool,
}

#[derive(Debug, Default)]
struct Place {
    epoch: usize,
    batch: usize,
    /// Alive while an epoch is read.
    reader: Weak<()>,
}

impl EpochCursor {
    /// Position in data whose epochs are all the same.
    pub fn of_equal_epochs() -> Self {
        Self {
            equal_epochs: true,
            ..Self::default()
        }
    }

    pub fn seek(&self, epoch: usize, batch: usize) {
        self.with(|place| (place.epoch, place.batch) = (epoch, batch));
    }

    /// Returns the batches of the next epoch, made from its number and its first batch, and moves on to the
    /// start of the epoch after it. While another epoch is read, the only item is an error.
    pub fn next_epoch<I>(&self, batches: impl FnOnce(usize, usize) -> I) -> Epoch<I> {
        let reader = Arc::new(());
        let next = self.with(|place| {
            if place.reader.strong_count() > 0 && !self.equal_epochs {
                return Err(SecondReader);
            }
            place.reader = Arc::downgrade(&reader);
            let next = (place.epoch, place.batch);
            (place.epoch, place.batch) = (place.epoch + 1, 0);
            Ok(next)
        });
        Epoch {
            batches: next
                .map(|(epoch, batch)| batches(epoch, batch))
                .map_err(Some),
            _reader: reader,
        }
    }

    /// Returns an independent copy at the same position.
    pub fn detached(&self) -> Self {
        let place = self.with(|place| Place {
            reader: Weak::new(),
            ..*place
        });
        Self {
            place: Arc::new(Mutex::new(place)),
            ..*self
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut Place) -> T) -> T {
        f(&mut self.place.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Batches of an epoch, or the error that there are none.
pub(crate) struct Epoch<I> {
    batches: Result<I, Option<SecondReader>>,
    _reader: Arc<()>,
}

impl<O, I: Iterator<Item = Result<O, DatasetError>>> Iterator for Epoch<I> {
    type Item = Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        match &mut self.batches {
            Ok(batches) => batches.next(),
            Err(error) => error.take().map(|error| Err(DatasetError::new(error))),
        }
    }
}

impl<O, I: DataLoaderIterator<O>> DataLoaderIterator<O> for Epoch<I> {
    fn progress(&self) -> Progress {
        match &self.batches {
            Ok(batches) => batches.progress(),
            Err(_) => Progress::new(0, 0, None),
        }
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

    /// Returns the shard of process `rank` of `world_size` that divide the batches of this one.
    #[track_caller]
    pub fn shard(self, rank: usize, world_size: usize) -> Self {
        assert!(
            rank < world_size,
            "rank is {rank}, expected less than the world size {world_size}"
        );
        Self {
            rank: self.batch(rank),
            world_size: self.world_size * world_size,
        }
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
