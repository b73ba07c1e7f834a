use std::{ops::Range, sync::Arc};

use burn::{config::Config, tensor::Device};

use super::{
    Sequence, TokenBatches, TokenStore, token_batches::NumberedSequences, windows::Windows,
};
use crate::{
    base::{bounds::Bounds, random::mix},
    text::TextError,
};

/// Configuration of batches of windows at random positions of a token sequence.
///
/// Each window depends only on the seed and its number in the training. A resumed training therefore
/// gets the same data as an uninterrupted one, and seeks without reading. The last epoch ends with the steps.
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
    ) -> Result<TokenBatches, TextError> {
        let steps_per_epoch = self.steps_per_epoch.unwrap_or(self.steps);
        Bounds::COUNT.check("batch_size", self.batch_size)?;
        Bounds::COUNT.check("steps", self.steps)?;
        Bounds::COUNT.check("steps_per_epoch", steps_per_epoch)?;
        let windows = RandomWindows {
            windows: Windows::new(tokens, self.context)?,
            seed: self.seed,
        };
        let steps = [steps_per_epoch.min(self.steps), self.steps];
        let counts = steps.map(|steps| steps * self.batch_size);
        Ok(TokenBatches::new(windows, self.batch_size, counts, device))
    }
}

#[derive(Clone)]
struct RandomWindows {
    windows: Windows,
    seed: u64,
}

impl NumberedSequences for RandomWindows {
    fn read(&self, numbers: Range<usize>) -> Result<Vec<Sequence>, TextError> {
        let starts = self.windows.starts() as u128;
        let start = |number: usize| {
            let drawn = mix(mix(self.seed) ^ number as u64);
            // The upper half of the product is uniform over the positions as long as their number is small
            // compared to 2^64.
            ((u128::from(drawn) * starts) >> 64) as usize
        };
        self.windows.read(numbers.map(start))
    }

    fn detached(&self) -> Arc<dyn NumberedSequences> {
        Arc::new(self.clone())
    }
}
