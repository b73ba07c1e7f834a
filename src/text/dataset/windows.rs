use std::sync::Arc;

use super::{Sequence, TokenStore};
use crate::{base::bounds::Bounds, text::TextError};

/// Windows of a token sequence: `context` input tokens, and the next token of each as its target.
#[derive(Clone)]
pub(super) struct Windows {
    tokens: Arc<dyn TokenStore>,
    context: usize,
}

impl Windows {
    /// Rejects a token sequence that is shorter than a window and the target of its last token.
    pub fn new(tokens: impl TokenStore + 'static, context: usize) -> Result<Self, TextError> {
        Bounds::COUNT.check("context", context)?;
        let (found, needed) = (tokens.len(), context.saturating_add(1));
        if found < needed {
            return Err(TextError::TooFewTokens { found, needed });
        }
        let tokens = Arc::new(tokens);
        Ok(Self { tokens, context })
    }

    /// Number of positions at which a window can start.
    pub fn starts(&self) -> usize {
        self.tokens.len() - self.context
    }

    /// Reads the windows that start at the given positions.
    pub fn read(&self, starts: impl Iterator<Item = usize>) -> Result<Vec<Sequence>, TextError> {
        let window = |start: usize| {
            let mut window = Vec::with_capacity(self.context + 1);
            self.tokens
                .read(start..start + self.context + 1, &mut window)?;
            Ok(Sequence::unmasked(window))
        };
        starts.map(window).collect()
    }
}
