use burn::{nn::loss::Reduction, tensor::Tensor};

use super::{TextError, dataset::TokenBatch};
use crate::{
    loss::CausalLmLoss,
    nn::{BitNetLm, Projection},
};

/// Loss and perplexity of a model on a text.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Evaluation {
    /// Mean loss of the tokens that count, in nats.
    pub loss: f64,
    /// Number of these tokens.
    pub tokens: usize,
}

impl Evaluation {
    /// Perplexity, `exp(loss)`: the number of equally likely tokens with the same loss.
    pub fn perplexity(&self) -> f64 {
        self.loss.exp()
    }

    /// Loss in bits per token.
    pub fn bits_per_token(&self) -> f64 {
        self.loss / std::f64::consts::LN_2
    }
}

/// Evaluates a model on batches; every token that counts has the same weight.
///
/// # Errors
///
/// If a batch is an error, no token counts, or the loss cannot be read back from the device.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::text::TextError> {
/// use bitnet_burn::{
///     nn::{BitNetLm, BitNetLmConfig},
///     text::{TextError, dataset::{Sequence, TokenBatch}, evaluate},
/// };
/// use burn::tensor::Device;
///
/// let device = Device::default();
/// let lm: BitNetLm = BitNetLmConfig::new(16, 32, 1, 2, 64).with_max_positions(8).init(&device);
/// let batch = TokenBatch::new(&[Sequence::unmasked(vec![1, 2, 3, 4])], &device);
/// let evaluation = evaluate(&lm, [Ok::<_, TextError>(batch)])?;
/// assert_eq!(evaluation.tokens, 3);
/// assert!((evaluation.perplexity() - 16.0).abs() < 2.0); // an untrained model
/// # Ok(())
/// # }
/// ```
pub fn evaluate<P: Projection, E: From<TextError>>(
    lm: &BitNetLm<P>,
    batches: impl IntoIterator<Item = Result<TokenBatch, E>>,
) -> Result<Evaluation, E> {
    let loss = CausalLmLoss::new().with_reduction(Reduction::Sum);
    let (mut sum, mut tokens) = (0.0, 0);
    for batch in batches {
        let batch = batch?;
        tokens += batch.tokens;
        sum += read(loss.forward_lm(lm, batch.inputs, batch.targets))?;
    }
    match tokens {
        0 => Err(E::from(TextError::TooFewTokens {
            found: 0,
            needed: 1,
        })),
        _ => Ok(Evaluation {
            loss: sum / tokens as f64,
            tokens,
        }),
    }
}

fn read(value: Tensor<1>) -> Result<f64, TextError> {
    let value = value.try_into_scalar::<f32>();
    let value = value.map_err(|source| TextError::Device { source })?;
    Ok(f64::from(value))
}
