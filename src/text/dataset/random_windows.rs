use std::{
    ops::Range,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

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
    base::{bounds::Bounds, random::mix},
    text::TextError,
};

/// Configuration of [`RandomWindows`].
#[derive(Config, Debug)]
pub struct RandomWindowsConfig {
    /// Tokens that the model reads of a window.
    pub context: usize,
    /// Windows in a batch.
    pub batch_size: usize,
    /// Batches of the whole training.
    pub steps: usize,
    /// Batches in an epoch; `None` for all.
    pub steps_per_epoch: Option<usize>,
    /// Seed of the places.
    #[config(default = 0)]
    pub seed: u64,
}

/// Batches of windows from random places of a row of tokens, for Burn's `Learner`.
///
/// Each window depends on the seed and its number in the training alone, so that a resumed training
/// sees the same data as one without a break, and gets there without reading. Each
/// [`iter`](DataLoader::iter) is the next epoch; the last one ends with the steps.
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
    /// The windows of an epoch that are taken.
    part: Range<usize>,
    next_epoch: Arc<AtomicUsize>,
}

impl RandomWindowsConfig {
    /// Windows of a row of tokens.
    ///
    /// # Errors
    ///
    /// If there is nothing in a window, a batch or an epoch, or there are too few tokens for a window.
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
            next_epoch: Arc::new(AtomicUsize::new(0)),
        })
    }
}

impl RandomWindows {
    /// The batch of a step, from 0.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary.
    pub fn batch(&self, step: usize) -> Result<TokenBatch, TextError> {
        let first = step * self.config.batch_size;
        self.windows(first..first + self.config.batch_size)
    }

    /// The windows with these numbers, counted from the beginning of the training.
    fn windows(&self, numbers: Range<usize>) -> Result<TokenBatch, TextError> {
        let places = self.tokens.len() - self.config.context;
        let place = |number: usize| {
            let drawn = mix(mix(self.config.seed) ^ number as u64);
            // The upper half of the product is even over the places, for as long as they are few
            // beside 2^64.
            ((u128::from(drawn) * places as u128) >> 64) as usize
        };
        let starts = numbers.map(place);
        windows(&*self.tokens, starts, self.config.context, &self.device)
    }

    fn windows_per_epoch(&self) -> usize {
        let steps = self.config.steps_per_epoch.unwrap_or(self.config.steps);
        steps * self.config.batch_size
    }
}

impl DataLoader<TokenBatch> for RandomWindows {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TokenBatch> + 'a> {
        let epoch = self.next_epoch.fetch_add(1, Ordering::SeqCst);
        let first = epoch * self.windows_per_epoch();
        let all = self.config.steps * self.config.batch_size;
        let end = (first + self.part.end).min(all);
        let numbers = (first + self.part.start).min(end)..end;
        let batches = Batches::new(numbers, self.config.batch_size, |i| self.windows(i));
        Box::new(batches)
    }

    fn num_items(&self) -> usize {
        self.part.len()
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
            next_epoch: Arc::new(AtomicUsize::new(self.next_epoch.load(Ordering::SeqCst))),
            ..self.clone()
        })
    }
}
