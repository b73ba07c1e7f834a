use std::{ops::Range, sync::Arc};

use crate::text::TextError;

/// Long token sequence with random access.
#[expect(clippy::len_without_is_empty, reason = "nobody asks for it")]
pub trait TokenStore: Send + Sync {
    /// Number of tokens.
    fn len(&self) -> usize;

    /// Appends the tokens of a range to `tokens`; the range must be inside the sequence.
    ///
    /// # Errors
    ///
    /// If a token is not in the vocabulary.
    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError>;
}

impl TokenStore for Vec<u32> {
    fn len(&self) -> usize {
        self.len()
    }

    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError> {
        tokens.extend_from_slice(&self[range]);
        Ok(())
    }
}

impl<S: TokenStore + ?Sized> TokenStore for Arc<S> {
    fn len(&self) -> usize {
        (**self).len()
    }

    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError> {
        (**self).read(range, tokens)
    }
}

/// Part of a token sequence, for example the end of a text that is kept for validation.
///
/// # Example
///
/// ```
/// use std::sync::Arc;
///
/// use bitnet_burn::text::dataset::{TokenPart, TokenStore};
///
/// let tokens: Arc<dyn TokenStore> = Arc::new(Vec::from_iter(0..100));
/// let train = TokenPart::new(tokens.clone(), 0..90);
/// let valid = TokenPart::new(tokens, 90..100);
/// assert_eq!((train.len(), valid.len()), (90, 10));
/// ```
#[derive(Clone)]
pub struct TokenPart {
    tokens: Arc<dyn TokenStore>,
    range: Range<usize>,
}

impl TokenPart {
    /// Selects the tokens of a range.
    ///
    /// # Panics
    ///
    /// If the range is not inside the sequence.
    #[track_caller]
    pub fn new(tokens: Arc<dyn TokenStore>, range: Range<usize>) -> Self {
        assert!(
            range.start <= range.end && range.end <= tokens.len(),
            "a part of {} tokens is not {range:?}",
            tokens.len()
        );
        Self { tokens, range }
    }
}

impl TokenStore for TokenPart {
    fn len(&self) -> usize {
        self.range.len()
    }

    fn read(&self, range: Range<usize>, tokens: &mut Vec<u32>) -> Result<(), TextError> {
        let start = self.range.start;
        self.tokens
            .read(start + range.start..start + range.end, tokens)
    }
}
