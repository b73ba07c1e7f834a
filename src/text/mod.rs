//! Text as tokens: tokenizers, data sets and generation.
