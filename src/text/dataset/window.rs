//! Windows of a row of tokens: `context` tokens to read, and the one after each to predict.

use burn::tensor::Device;

use super::{Sequence, TokenBatch, TokenStore};
use crate::text::TextError;

/// A batch of the windows that begin at these places.
pub(super) fn windows(
    tokens: &dyn TokenStore,
    starts: impl Iterator<Item = usize>,
    context: usize,
    device: &Device,
) -> Result<TokenBatch, TextError> {
    let window = |start: usize| {
        let mut window = Vec::with_capacity(context + 1);
        tokens.read(start..start + context + 1, &mut window)?;
        Ok(Sequence::unmasked(window))
    };
    let sequences: Vec<Sequence> = starts.map(window).collect::<Result<_, TextError>>()?;
    Ok(TokenBatch::new(&sequences, device))
}

/// Refuses a row of tokens that is shorter than a window and the target of its last token.
pub(super) fn enough_tokens(tokens: &impl TokenStore, context: usize) -> Result<(), TextError> {
    let (found, needed) = (tokens.len(), context.saturating_add(1));
    match found >= needed {
        true => Ok(()),
        false => Err(TextError::TooFewTokens { found, needed }),
    }
}
