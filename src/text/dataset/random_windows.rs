use std::{ops::Range, sync::Arc};

use burn::{
    config::Config,
    data::dataloader::{DataLoader, DataLoaderIterator},
    tensor::Device,
};

use super::{
    TokenBatch, TokenStore,
    batch::Batches,
    window::{enough_tokens, windows},
};
use crate::{
    base::{
        bounds::Bounds,
        data_position::{EpochCursor, SeekableDataLoader, Shard},
        random::mix,
    },
    text::TextError,
};

/// Configuration of [`RandomWindows`].
#[derive(Config, Debug)]
pub struct RandomWindowsConfig {
    /// Number of input tokens of a window.
    pub context: usize,
    /// Number of windows in a batch.
    pub batch_size: usize,
    /// Number of batches of the whole training.
    pub steps: usize,
    /// Number of batches in an epoch; `None` for all.
    pub steps_per_epoch: Option<usize>,
    /// Seed of the window positions.
    #[config(default = 0)]
    pub seed: u64,
}

/// Batches of windows at random positions of a token sequence, for Burn's `Learner`.
///
/// Each window depends only on the seed and its number in the training. A resumed training therefore
/// gets the same data as an uninterrupted one, and seeks without reading. Each
/// [`iter`](DataLoader::iter) returns the next epoch; the last one ends with the steps.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::dataset::RandomWindowsConfig;
/// use burn::{data::dataloader::DataLoader, tensor::Device};
///
/// let tokens: Vec<u32> = (0..1000).collect();
/// let windows = RandomWindowsConfig::new(16, 4, 25)
///     .with_steps_per_epoch(Some(10))
///     .init(tokens, &Device::default())?;
/// let epochs = [windows.iter().count(), windows.iter().count(), windows.iter().count()];
/// assert_eq!(epochs, [10, 10, 5]);
/// assert_eq!(windows.batch(24)?.targets.dims(), [4, 16]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct RandomWindows {
    tokens: Arc<dyn TokenStore>,
    config: RandomWindowsConfig,
    device: Device,
    /// Range of windows of an epoch that this loader returns.
    part: Range<usize>,
    cursor: EpochCursor,
    shard: Shard,
}

impl RandomWindowsConfig {
    /// Creates the windows of a token sequence.
    ///
    /// # Errors
    ///
    /// If the context, the batch size or the epoch size is zero, or the tokens are too few for a window.
    pub fn init(
        &self,
        tokens: impl TokenStore + 'static,
        device: &Device,
    ) -> Result<RandomWindows, TextError> {
        let steps_per_epoch = self.steps_per_epoch.unwrap_or(self.steps);
        Bounds::COUNT.check("context", self.context)?;
        Bounds::COUNT.check("batch_size", self.batch_size)?;
        Bounds::COUNT.check("steps", self.steps)?;
        Bounds::COUNT.check("steps_per_epoch", steps_per_epoch)?;
        enough_tokens(&tokens, self.context)?;
        Ok(RandomWindows {
            tokens: Arc::new(tokens),
            config: self.clone(),
            device: device.clone(),
            part: 0..steps_per_epoch.min(self.steps) * self.batch_size,
            cursor: EpochCursor::default(),
            shard: Shard::WHOLE,
        })
    }
}

impl RandomWindows {
    /// Returns the batch of a step, from 0.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary.
    pub fn batch(&self, step: usize) -> Result<TokenBatch, TextError> {
        let first = step * self.config.batch_size;
        self.windows(first..first + self.config.batch_size)
    }

    /// Returns the windows with these numbers, counted from the beginning of the training.
    fn windows(&self, numbers: Range<usize>) -> Result<TokenBatch, TextError> {
        let places = self.tokens.len() - self.config.context;
        let place = |number: usize| {
            let drawn = mix(mix(self.config.seed) ^ number as u64);
            // The upper half of the product is uniform over the positions as long as their number is small
            // compared to 2^64.
            ((u128::from(drawn) * places as u128) >> 64) as usize
        };
        let starts = numbers.map(place);
        windows(&*self.tokens, starts, self.config.context, &self.device)
    }

    fn windows_per_epoch(&self) -> usize {
        let steps = self.config.steps_per_epoch.unwrap_or(self.config.steps);
        steps * self.config.batch_size
    }

    /// Returns the numbers of the windows of an epoch.
    fn epoch(&self, epoch: usize) -> Range<usize> {
        let first = epoch * self.windows_per_epoch();
        let all = self.config.steps * self.config.batch_size;
        let end = (first + self.part.end).min(all);
        (first + self.part.start).min(end)..end
    }
}

impl DataLoader<TokenBatch> for RandomWindows {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TokenBatch> + 'a> {
        let (epoch, first) = self.cursor.advance();
        let windows = self.epoch(epoch);
        let (size, shard) = (self.config.batch_size, self.shard);
        let count = shard.count(windows.len(), size);
        Box::new(Batches::new(first, size, count, move |number| {
            let start = windows.start + shard.batch(number) * size;
            self.windows(start..(start + size).min(windows.end))
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
        Arc::new(Self {
            part: (self.part.start + start).min(end)..end,
            cursor: self.cursor.detached(),
            ..self.clone()
        })
    }
}

impl SeekableDataLoader<TokenBatch> for RandomWindows {
    fn seek(&self, epoch: usize, batch: usize) {
        self.cursor.seek(epoch, batch);
    }

    fn shard(&self, rank: usize, world_size: usize) -> Arc<dyn SeekableDataLoader<TokenBatch>> {
        Arc::new(Self {
            shard: Shard::new(rank, world_size),
            cursor: self.cursor.detached(),
            ..self.clone()
        })
    }
}
