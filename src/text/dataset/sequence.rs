/// Target of positions that do not count.
const IGNORE_INDEX: i32 = -100;

/// Tokens of a training example: the inputs are all but the last, the targets all but the first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sequence {
    /// `context` + 1 tokens.
    tokens: Vec<u32>,
    /// `true` for tokens that count when predicted.
    mask: Vec<bool>,
}

impl Sequence {
    /// Creates a sequence of `context` + 1 tokens and a mask of those that count when predicted.
    ///
    /// # Panics
    ///
    /// If there are fewer than 2 tokens, or their number differs from that of the mask.
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

    /// Creates a sequence whose tokens all count.
    ///
    /// # Panics
    ///
    /// If there are fewer than 2 tokens.
    #[track_caller]
    pub fn unmasked(tokens: Vec<u32>) -> Self {
        let mask = vec![true; tokens.len()];
        Self::new(tokens, mask)
    }

    /// Number of input tokens.
    pub fn context(&self) -> usize {
        self.tokens.len() - 1
    }

    /// Number of targets that count.
    pub fn counted(&self) -> usize {
        self.mask.iter().skip(1).filter(|counts| **counts).count()
    }

    /// Input tokens.
    pub fn inputs(&self) -> Vec<i32> {
        let inputs = &self.tokens[..self.context()];
        inputs.iter().map(|&token| token as i32).collect()
    }

    /// Target of each position: the next token, or -100 where it does not count.
    pub fn targets(&self) -> Vec<i32> {
        let next = self.tokens.iter().zip(&self.mask).skip(1);
        next.map(|(&token, &counts)| if counts { token as i32 } else { IGNORE_INDEX })
            .collect()
    }
}
