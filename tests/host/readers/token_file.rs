use bitnet_burn::text::dataset::{TokenDType, TokenFile, TokenStore};

use super::folder::{folder, has};

const TOKENS: &str = "tokens.bin";

/// Reads a token file with its description, and without it.
pub fn token_file(data: &[u8]) {
    let folder = folder(data, &[TOKENS, "tokens.bin.json"]);
    if !has(&folder, TOKENS) {
        return;
    }
    let path = folder.path().join(TOKENS);
    if let Ok(file) = TokenFile::open(&path) {
        look_at(&file);
    }
    for (dtype, vocab_size) in [(TokenDType::U16, 300), (TokenDType::U32, 1 << 17)] {
        if let Ok(file) = TokenFile::open_raw(&path, dtype, vocab_size) {
            look_at(&file);
        }
    }
}

fn look_at(file: &TokenFile) {
    let mut tokens = Vec::new();
    let read = file.read(0..file.len(), &mut tokens);
    assert_eq!(read.is_ok(), file.check().is_ok());
    if read.is_ok() {
        assert_eq!(tokens.len(), file.len());
        assert!(
            tokens
                .iter()
                .all(|&token| (token as usize) < file.vocab_size())
        );
    }
}
