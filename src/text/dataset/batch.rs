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

/// Sequences and, for each of their tokens, the next one.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// Shape `[sequences, context]`.
    pub inputs: Tensor<2, Int>,
    /// Shape `[sequences, context]`; [`IGNORE_INDEX`](super::IGNORE_INDEX) where the next token does not count.
    pub targets: Tensor<2, Int>,
    /// Number of targets that count.
    pub tokens: usize,
}

impl TokenBatch {
    /// A batch of sequences.
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

/// Batches of numbered items, made one after the other.
pub(super) struct Batches<F> {
    /// Numbers of the items to come.
    items: Range<usize>,
    /// Number of all items.
    total: usize,
    batch_size: usize,
    batch: F,
}

impl<F: FnMut(Range<usize>) -> Result<TokenBatch, TextError>> Batches<F> {
    /// Batches of the items, the last of which may be smaller.
    pub fn new(items: Range<usize>, batch_size: usize, batch: F) -> Self {
        Self {
            total: items.len(),
            items,
            batch_size,
            batch,
        }
    }
}

impl<F: FnMut(Range<usize>) -> Result<TokenBatch, TextError>> Iterator for Batches<F> {
    type Item = Result<TokenBatch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.items.is_empty() {
            return None;
        }
        let start = self.items.start;
        let end = (start + self.batch_size).min(self.items.end);
        self.items.start = end;
        Some((self.batch)(start..end).map_err(DatasetError::new))
    }
}

impl<F: FnMut(Range<usize>) -> Result<TokenBatch, TextError>> DataLoaderIterator<TokenBatch>
    for Batches<F>
{
    fn progress(&self) -> Progress {
        let unit = Some("sequences".to_string());
        Progress::new(self.total - self.items.len(), self.total, unit)
    }
}
