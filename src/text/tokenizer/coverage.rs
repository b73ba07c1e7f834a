use tokenizers::{ModelWrapper, PreTokenizerWrapper};

use super::byte_symbols::byte_symbols;

/// Bytes without a token in a byte-level BPE. Hugging Face's tokenizers drop them silently.
#[derive(Debug, Clone)]
pub(super) struct MissingBytes([bool; 256]);

impl MissingBytes {
    /// Returns `None` if no byte is missing, or the tokenizer is of another kind.
    pub fn of(tokenizer: &tokenizers::Tokenizer) -> Option<Self> {
        let ModelWrapper::BPE(bpe) = tokenizer.get_model() else {
            return None;
        };
        let byte_level = tokenizer.get_pre_tokenizer().is_some_and(is_byte_level);
        // A normalizer may replace characters of a text.
        let other = bpe.get_unk_token().is_some()
            || bpe.byte_fallback
            || tokenizer.get_normalizer().is_some();
        if !byte_level || other {
            return None;
        }
        let symbols = byte_symbols();
        let mut missing = [false; 256];
        for (missing, symbol) in missing.iter_mut().zip(symbols) {
            *missing = tokenizer
                .token_to_id(symbol.encode_utf8(&mut [0; 4]))
                .is_none();
        }
        missing.contains(&true).then_some(Self(missing))
    }

    /// Returns the characters of a text that have such a byte, sorted and without repetition.
    pub fn characters(&self, text: &str) -> Vec<char> {
        if !text.bytes().any(|byte| self.0[usize::from(byte)]) {
            return Vec::new();
        }
        let missing = |c: &char| {
            let mut buffer = [0; 4];
            let mut bytes = c.encode_utf8(&mut buffer).bytes();
            bytes.any(|byte| self.0[usize::from(byte)])
        };
        let mut characters: Vec<char> = text.chars().filter(missing).collect();
        characters.sort_unstable();
        characters.dedup();
        characters
    }
}

fn is_byte_level(pre_tokenizer: &PreTokenizerWrapper) -> bool {
    match pre_tokenizer {
        PreTokenizerWrapper::ByteLevel(_) => true,
        PreTokenizerWrapper::Sequence(sequence) => sequence.as_ref().iter().any(is_byte_level),
        _ => false,
    }
}
