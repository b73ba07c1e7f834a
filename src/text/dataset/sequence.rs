use burn::{data::dataloader::batcher::Batcher, tensor::Device};

use super::{IGNORE_INDEX, TokenBatch};

/// Tokens of which a model reads all but the last and predicts all but the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// `context` + 1 tokens.
    tokens: Vec<u32>,
    /// Whether each counts when it is predicted.
    mask: Vec<bool>,
}

impl Sequence {
    /// A sequence of `context` + 1 tokens, and whether each counts when it is predicted.
    ///
    /// # Panics
    ///
    /// If there are fewer than 2 tokens, or not as many of both.
    #[track_caller]
    pub fn new(tokens: Vec<u32>, mask: Vec<bool>) -> Self {
        assert!(
            tokens.len() > 1 && mask.len() == tokens.len(),
            "a sequence has 2 tokens at least and as many in its mask, got {} and {}",
            tokens.len(),
            mask.len()
        );
        Self { tokens, mask }
    }

    /// A sequence all of whose tokens count.
    ///
    /// # Panics
    ///
    /// If there are fewer than 2 tokens.
    #[track_caller]
    pub fn unmasked(tokens: Vec<u32>) -> Self {
        let mask = vec![true; tokens.len()];
        Self::new(tokens, mask)
    }

    /// Number of tokens that the model reads.
    pub fn context(&self) -> usize {
        self.tokens.len() - 1
    }

    /// Number of its targets that count.
    pub fn counted(&self) -> usize {
        self.mask.iter().skip(1).filter(|counts| **counts).count()
    }

    /// What the model reads.
    pub fn inputs(&self) -> Vec<i32> {
        let inputs = &self.tokens[..self.context()];
        inputs.iter().map(|&token| token as i32).collect()
    }

    /// What it predicts at each position: the next token, or [`IGNORE_INDEX`].
    pub fn targets(&self) -> Vec<i32> {
        let next = self.tokens.iter().zip(&self.mask).skip(1);
        next.map(|(&token, &counts)| if counts { token as i32 } else { IGNORE_INDEX })
            .collect()
    }
}

/// Makes batches of sequences in memory, for Burn's
/// [`DataLoaderBuilder`](burn::data::dataloader::DataLoaderBuilder).
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::text::dataset::{
///     Document, DocumentSource, Packed, PackingConfig, Sequence, SequenceBatcher,
/// };
/// use burn::data::{dataloader::DataLoaderBuilder, dataset::InMemDataset};
///
/// let documents = vec![Document::new((0..25).collect()), Document::new(vec![7; 10])];
/// let config = PackingConfig::new(8).with_eos(Some(99));
/// let sequences = Packed::new(documents.documents(), config)?;
/// let sequences: Vec<Sequence> = sequences.collect::<Result<_, _>>()?;
/// assert_eq!(sequences.len(), 5);
///
/// let loader = DataLoaderBuilder::new(SequenceBatcher)
///     .batch_size(2)
///     .shuffle(1)
///     .build(InMemDataset::new(sequences));
/// assert_eq!(loader.iter().count(), 3);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct SequenceBatcher;

impl Batcher<Sequence, TokenBatch> for SequenceBatcher {
    fn batch(&self, items: Vec<Sequence>, device: &Device) -> TokenBatch {
        TokenBatch::new(&items, device)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_the_next_tokens_that_count() {
        let sequence = Sequence::new(vec![1, 2, 3, 4], vec![true, false, true, true]);
        assert_eq!(sequence.inputs(), [1, 2, 3]);
        assert_eq!(sequence.targets(), [IGNORE_INDEX, 3, 4]);
        assert_eq!(sequence.counted(), 2);
    }
}
