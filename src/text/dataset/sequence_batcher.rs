use burn::{data::dataloader::batcher::Batcher, tensor::Device};

use super::{Sequence, TokenBatch};

/// Batcher of sequences in memory, for Burn's
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
