use std::{ops::Range, sync::Arc};

use burn::{config::Config, tensor::Device};

use super::{
    Sequence, TokenBatches, TokenStore, token_batches::NumberedSequences, windows::Windows,
};
use crate::{base::bounds::Bounds, text::TextError};

/// Configuration of batches of evenly spaced windows of a token sequence, identical in every epoch: for
/// validation.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::dataset::EvenWindowsConfig;
/// use burn::{data::dataloader::DataLoader, tensor::Device};
///
/// let tokens: Vec<u32> = (0..11).collect();
/// let windows = EvenWindowsConfig::new(2, 2, 3).init(tokens, &Device::default())?;
/// let batches: Vec<_> = windows.iter().map(Result::unwrap).collect();
/// let inputs: Vec<i64> = batches[0].inputs.to_data().iter::<i64>().collect();
/// assert_eq!(inputs, [0, 1, 4, 5]);
/// let targets: Vec<i64> = batches[1].targets.to_data().iter::<i64>().collect();
/// assert_eq!(targets, [9, 10]);
/// # Ok(())
/// # }
/// ```
#[derive(Config, Debug)]
pub struct EvenWindowsConfig {
    /// Number of input tokens of a window.
    pub context: usize,
    /// Number of windows in a batch.
    pub batch_size: usize,
    /// Maximum number of windows. They are evenly spaced; the last one is at the end.
    pub windows: usize,
}

impl EvenWindowsConfig {
    /// Creates the windows of a token sequence.
    ///
    /// # Errors
    ///
    /// If the number of windows, the context or the batch size is zero, or the tokens are too few for a
    /// window.
    pub fn init(
        &self,
        tokens: impl TokenStore + 'static,
        device: &Device,
    ) -> Result<TokenBatches, TextError> {
        Bounds::COUNT.check("batch_size", self.batch_size)?;
        Bounds::COUNT.check("windows", self.windows)?;
        let windows = Windows::new(tokens, self.context)?;
        let count = self.windows.min(windows.starts());
        let windows = EvenWindows { windows, count };
        let counts = [count, usize::MAX];
        let batches = TokenBatches::new(windows, self.batch_size, counts, device);
        Ok(batches.of_equal_epochs())
    }
}

#[derive(Clone)]
struct EvenWindows {
    windows: Windows,
    count: usize,
}

impl NumberedSequences for EvenWindows {
    fn read(&self, numbers: Range<usize>) -> Result<Vec<Sequence>, TextError> {
        let last = self.windows.starts() - 1;
        let between = (self.count - 1).max(1);
        let start = |number: usize| number % self.count * last / between;
        self.windows.read(numbers.map(start))
    }

    fn detached(&self) -> Arc<dyn NumberedSequences> {
        Arc::new(self.clone())
    }
}
