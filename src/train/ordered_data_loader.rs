use std::{
    sync::{
        Arc, Mutex, OnceLock, PoisonError,
        mpsc::{Receiver, Sender, SyncSender, channel, sync_channel},
    },
    thread,
};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress, batcher::Batcher},
        dataset::{
            Dataset, DatasetError,
            transform::{PartialDataset, ShuffledDataset},
        },
    },
    tensor::Device,
};

use crate::base::{
    bounds::Bounds,
    data_position::{EpochCursor, SeekableDataLoader, Shard},
    random::mix,
};

/// Number of batches that a worker prepares ahead.
const PREFETCH: usize = 2;

/// Data loader with several worker threads whose batch order depends on its seed alone.
///
/// Worker `w` of `n` creates the batches `w, w + n, w + 2n, ..`, which are returned in turn, as in
/// PyTorch's `DataLoader`. Burn's loader with two or more workers returns a batch as soon as it is
/// ready: the order differs between runs, and a [resumed](super::CallbackStrategy) training skips
/// other batches than it was trained on.
///
/// Each [`iter`](DataLoader::iter) is the next epoch, in a new order with shuffling.
///
/// # Example
///
/// ```
/// use bitnet_burn::train::OrderedDataLoader;
/// use burn::{
///     data::{
///         dataloader::{DataLoader, batcher::Batcher},
///         dataset::InMemDataset,
///     },
///     tensor::Device,
/// };
///
/// struct Sums;
///
/// impl Batcher<u32, u32> for Sums {
///     fn batch(&self, items: Vec<u32>, _device: &Device) -> u32 {
///         items.iter().sum()
///     }
/// }
///
/// let loader = OrderedDataLoader::new(InMemDataset::new((0..10).collect()), Sums, 4)
///     .with_num_workers(3);
/// let sums: Result<Vec<u32>, _> = loader.iter().collect();
/// assert_eq!(sums.unwrap(), [0 + 1 + 2 + 3, 4 + 5 + 6 + 7, 8 + 9]);
/// ```
pub struct OrderedDataLoader<I, O> {
    dataset: Arc<dyn Dataset<I>>,
    batcher: Arc<dyn Batcher<I, O>>,
    batch_size: usize,
    num_workers: usize,
    seed: Option<u64>,
    device: Device,
    cursor: EpochCursor,
    shard: Shard,
    workers: OnceLock<Mutex<Workers<I, O>>>,
}

/// Senders of jobs to the worker threads.
type Workers<I, O> = Vec<Sender<Job<I, O>>>;

/// Batches of an epoch that one worker creates.
struct Job<I, O> {
    epoch: Arc<Epoch<I, O>>,
    first: usize,
    every: usize,
    batches: SyncSender<Result<O, DatasetError>>,
}

/// Data of an epoch, in its order.
struct Epoch<I, O> {
    dataset: Arc<dyn Dataset<I>>,
    batcher: Arc<dyn Batcher<I, O>>,
    batch_size: usize,
    device: Device,
    shard: Shard,
}

impl<I, O> OrderedDataLoader<I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    /// Creates a loader of batches of `batch_size` items in the order of the dataset, with one
    /// worker, on Burn's default device.
    ///
    /// # Panics
    ///
    /// If `batch_size` is 0.
    #[track_caller]
    pub fn new(
        dataset: impl Dataset<I> + 'static,
        batcher: impl Batcher<I, O> + 'static,
        batch_size: usize,
    ) -> Self {
        Bounds::COUNT.assert("batch_size", batch_size);
        Self {
            dataset: Arc::new(dataset),
            batcher: Arc::new(batcher),
            batch_size,
            num_workers: 1,
            seed: None,
            device: Device::default(),
            cursor: EpochCursor::of_equal_epochs(),
            shard: Shard::WHOLE,
            workers: OnceLock::new(),
        }
    }

    /// Sets the number of worker threads.
    ///
    /// # Panics
    ///
    /// If it is 0.
    #[track_caller]
    #[must_use]
    pub fn with_num_workers(mut self, num_workers: usize) -> Self {
        Bounds::COUNT.assert("num_workers", num_workers);
        self.num_workers = num_workers;
        self
    }

    /// Sets the seed from which a new order is drawn in each epoch.
    #[must_use]
    pub fn with_shuffle(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self.cursor = EpochCursor::default();
        self
    }

    /// Returns the loader as a trait object for Burn.
    pub fn build(self) -> Arc<Self> {
        Arc::new(self)
    }

    /// Returns the same loader with its own threads.
    fn copy(&self) -> Self {
        Self {
            dataset: self.dataset.clone(),
            batcher: self.batcher.clone(),
            device: self.device.clone(),
            cursor: self.cursor.clone(),
            workers: OnceLock::new(),
            ..*self
        }
    }

    fn epoch(&self, number: usize) -> Epoch<I, O> {
        let dataset: Arc<dyn Dataset<I>> = match self.seed {
            Some(seed) => {
                let seed = mix(mix(seed) ^ number as u64);
                Arc::new(ShuffledDataset::new(self.dataset.clone(), seed))
            }
            None => self.dataset.clone(),
        };
        Epoch {
            dataset,
            batcher: self.batcher.clone(),
            batch_size: self.batch_size,
            device: self.device.clone(),
            shard: self.shard,
        }
    }

    /// Starts the workers on an epoch, beginning at a batch. The threads are reused in each epoch,
    /// as each has a stream of the device.
    fn start(&self, epoch: Epoch<I, O>, batch: usize) -> Vec<Receiver<Result<O, DatasetError>>> {
        let workers = self.workers.get_or_init(|| {
            let workers = (0..self.num_workers).map(spawn);
            Mutex::new(workers.collect())
        });
        let (epoch, every) = (Arc::new(epoch), self.num_workers);
        let workers = workers.lock().unwrap_or_else(PoisonError::into_inner);
        let jobs = workers.iter().enumerate().map(|(first, worker)| {
            let (batches, receiver) = sync_channel(PREFETCH);
            let epoch = epoch.clone();
            let job = Job {
                epoch,
                first: batch + first,
                every,
                batches,
            };
            // A panicked worker is detected by its missing batch.
            let _ = worker.send(job);
            receiver
        });
        jobs.collect()
    }
}

fn spawn<I: 'static, O: Send + 'static>(number: usize) -> Sender<Job<I, O>> {
    let (sender, jobs) = channel::<Job<I, O>>();
    let thread = thread::Builder::new().name(format!("data-loader-{number}"));
    let work = move || {
        for job in jobs {
            job.run();
        }
    };
    // Batches of a thread that cannot be spawned are missing, which is a data error.
    let _ = thread.spawn(work);
    sender
}

impl<I, O> Job<I, O> {
    fn run(self) {
        for number in (self.first..self.epoch.num_batches()).step_by(self.every) {
            // The receiver is dropped when an epoch is interrupted.
            if self.batches.send(self.epoch.batch(number)).is_err() {
                return;
            }
        }
    }
}

impl<I, O> Epoch<I, O> {
    fn num_batches(&self) -> usize {
        let items = self.shard.count(self.dataset.len(), self.batch_size);
        items.div_ceil(self.batch_size)
    }

    fn batch(&self, number: usize) -> Result<O, DatasetError> {
        let first = self.shard.batch(number) * self.batch_size;
        let end = (first + self.batch_size).min(self.dataset.len());
        let items = self.dataset.get_many((first..end).collect())?;
        Ok(self.batcher.batch(items, &self.device))
    }
}

impl<I, O> DataLoader<O> for OrderedDataLoader<I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<O> + 'a> {
        let batches = |epoch, first| Batches {
            loader: self,
            epoch: Some(self.epoch(epoch)),
            workers: Vec::new(),
            first,
            number: first,
        };
        Box::new(self.cursor.next_epoch(batches))
    }

    fn num_items(&self) -> usize {
        self.shard.count(self.dataset.len(), self.batch_size)
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<O>> {
        Arc::new(Self {
            device: device.clone(),
            ..self.copy()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<O>> {
        let part = PartialDataset::new(self.dataset.clone(), start, end);
        Arc::new(Self {
            dataset: Arc::new(part),
            cursor: self.cursor.detached(),
            ..self.copy()
        })
    }
}

impl<I, O> SeekableDataLoader<O> for OrderedDataLoader<I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    fn seek(&self, epoch: usize, batch: usize) {
        self.cursor.seek(epoch, batch);
    }

    fn shard(&self, rank: usize, world_size: usize) -> Arc<dyn SeekableDataLoader<O>> {
        Arc::new(Self {
            shard: self.shard.shard(rank, world_size),
            cursor: self.cursor.detached(),
            ..self.copy()
        })
    }
}

struct Batches<'a, I, O> {
    loader: &'a OrderedDataLoader<I, O>,
    /// `None` once the first batch is requested: a skipped epoch creates no batches.
    epoch: Option<Epoch<I, O>>,
    workers: Vec<Receiver<Result<O, DatasetError>>>,
    /// First batch, and the next one.
    first: usize,
    number: usize,
}

impl<I, O> Iterator for Batches<'_, I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    type Item = Result<O, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(epoch) = self.epoch.take() {
            self.workers = self.loader.start(epoch, self.first);
        }
        if self.number * self.loader.batch_size >= self.loader.num_items() {
            return None;
        }
        let worker = &self.workers[(self.number - self.first) % self.workers.len()];
        self.number += 1;
        let lost = |_| {
            let message = format!("the worker that makes batch {} panicked", self.number);
            Err(DatasetError::new(std::io::Error::other(message)))
        };
        Some(worker.recv().unwrap_or_else(lost))
    }
}

impl<I, O> DataLoaderIterator<O> for Batches<'_, I, O>
where
    I: Clone + Send + Sync + 'static,
    O: Send + 'static,
{
    fn progress(&self) -> Progress {
        let total = self.loader.num_items();
        let processed = (self.number * self.loader.batch_size).min(total);
        Progress::new(processed, total, Some("items".to_string()))
    }
}
