use burn::tensor::{Device, Int, Tensor, TensorData};

use super::Sequence;

/// Token sequences and the next token at each of their positions.
#[derive(Debug, Clone)]
pub struct TokenBatch {
    /// Shape `[sequences, context]`.
    pub inputs: Tensor<2, Int>,
    /// Shape `[sequences, context]`; -100, which [`CausalLmLoss`](crate::loss::CausalLmLoss) ignores,
    /// where the target does not count.
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
