//! Windows of a token sequence: `context` input tokens, and the next token of each as its target.

use burn::tensor::Device;

use super::{Sequence, TokenBatch, TokenStore};
use crate::text::TextError;

/// Returns a batch of the windows that start at the given positions.
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

/// Rejects a token sequence that is shorter than a window and the target of its last token.
pub(super) fn enough_tokens(tokens: &impl TokenStore, context: usize) -> Result<(), TextError> {
    let (found, needed) = (tokens.len(), context.saturating_add(1));
    match found >= needed {
        true => Ok(()),
        false => Err(TextError::TooFewTokens { found, needed }),
    }
}
