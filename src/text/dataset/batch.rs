use std::ops::Range;

use burn::{
    data::{
        dataloader::{DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::{Device, Int, Tensor, TensorData},
};

use super::Sequence;
use crate::text::TextError;

/// Token sequences and the next token at each of their positions.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// Shape `[sequences, context]`.
    pub inputs: Tensor<2, Int>,
    /// Shape `[sequences, context]`; [`IGNORE_INDEX`](super::IGNORE_INDEX) where the target does not count.
    pub targets: Tensor<2, Int>,
    /// Number of targets that count in the loss.
    pub tokens: usize,
}

impl TokenBatch {
    /// Creates a batch of sequences.
    ///
    /// # Panics
    ///
    /// If the sequences are of different lengths, or there is none.
    #[track_caller]
    pub fn new(sequences: &[Sequence], device: &Device) -> Self {
        let context = sequences.first().map(Sequence::context);
        let context = context.expect("a batch has at least one sequence");
        let shape = [sequences.len(), context];
        for sequence in sequences {
            let found = sequence.context();
            assert_eq!(
                found, context,
                "the sequences of a batch have {context} positions each"
            );
        }
        let tensor = |rows: &dyn Fn(&Sequence) -> Vec<i32>| {
            let values: Vec<i32> = sequences.iter().flat_map(rows).collect();
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Self {
            inputs: tensor(&Sequence::inputs),
            targets: tensor(&Sequence::targets),
            tokens: sequences.iter().map(Sequence::counted).sum(),
        }
    }
}

/// Iterator over the batches of an epoch.
pub(super) struct Batches<F> {
    /// Numbers of the remaining batches.
    batches: Range<usize>,
    batch_size: usize,
    /// Number of sequences in the epoch; the last batch may be smaller.
    sequences: usize,
    batch: F,
}

impl<F: FnMut(usize) -> Result<TokenBatch, TextError>> Batches<F> {
    /// Creates the batches of an epoch of `sequences` sequences, starting at batch number `first`.
    pub fn new(first: usize, batch_size: usize, sequences: usize, batch: F) -> Self {
        let end = sequences.div_ceil(batch_size);
        Self {
            batches: first.min(end)..end,
            batch_size,
            sequences,
            batch,
        }
    }
}

impl<F: FnMut(usize) -> Result<TokenBatch, TextError>> Iterator for Batches<F> {
    type Item = Result<TokenBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.batches.next()?;
        Some((self.batch)(number).map_err(DatasetError::new))
    }
}

impl<F: FnMut(usize) -> Result<TokenBatch, TextError>> DataLoaderIterator<TokenBatch>
    for Batches<F>
{
    fn progress(&self) -> Progress {
        let processed = (self.batches.start * self.batch_size).min(self.sequences);
        Progress::new(processed, self.sequences, Some("sequences".to_string()))
    }
}
