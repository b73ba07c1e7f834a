use std::sync::Arc;

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
use crate::{base::bounds::Bounds, text::TextError};

/// Configuration of [`EvenWindows`].
#[derive(Config, Debug)]
pub struct EvenWindowsConfig {
    /// Number of input tokens of a window.
    pub context: usize,
    /// Number of windows in a batch.
    pub batch_size: usize,
    /// Maximum number of windows. They are evenly spaced; the last one is at the end.
    pub windows: usize,
}

/// Batches of evenly spaced windows of a token sequence, identical in every epoch: for validation.
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
#[derive(Clone)]
pub struct EvenWindows {
    tokens: Arc<dyn TokenStore>,
    config: EvenWindowsConfig,
    device: Device,
    /// Start of each window.
    starts: Vec<usize>,
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
    ) -> Result<EvenWindows, TextError> {
        Bounds::COUNT.check("context", self.context)?;
        Bounds::COUNT.check("batch_size", self.batch_size)?;
        Bounds::COUNT.check("windows", self.windows)?;
        enough_tokens(&tokens, self.context)?;
        let last = tokens.len() - self.context - 1;
        let count = self.windows.min(last + 1);
        Ok(EvenWindows {
            tokens: Arc::new(tokens),
            config: self.clone(),
            device: device.clone(),
            starts: (0..count).map(|i| i * last / (count - 1).max(1)).collect(),
        })
    }
}

impl DataLoader<TokenBatch> for EvenWindows {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<TokenBatch> + 'a> {
        let (tokens, context) = (&*self.tokens, self.config.context);
        let (size, count) = (self.config.batch_size, self.starts.len());
        Box::new(Batches::new(0, size, count, move |number| {
            let end = ((number + 1) * size).min(count);
            let starts = self.starts[number * size..end].iter().copied();
            windows(tokens, starts, context, &self.device)
        }))
    }

    fn num_items(&self) -> usize {
        self.starts.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<TokenBatch>> {
        Arc::new(Self {
            device: device.clone(),
            ..self.clone()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<TokenBatch>> {
        Arc::new(Self {
            starts: self.starts[start..end].to_vec(),
            ..self.clone()
        })
    }
}
