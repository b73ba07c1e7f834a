use std::{path::PathBuf, sync::Arc};

use super::{
    DocumentSource, FileKind, JsonLines, JsonRecord, SHAKESPEARE, TextDataError, TextFiles,
    TokenFiles, TokenStore,
};
use crate::text::{TextError, Tokenizer};

/// Returns the concatenated tokens of text files and files of records with a field `text`, or of token files,
/// which stay on disk; of [`SHAKESPEARE`] if there are no files. The extension tells the kind: `.jsonl`,
/// `.ndjson` and `.json` are records, `.bin` tokens, and all others text.
///
/// # Errors
///
/// If a file cannot be read, the tokenizer does not fit, or there are both token files and others.
pub fn read_tokens(
    files: &[PathBuf],
    tokenizer: &Arc<Tokenizer>,
) -> Result<Arc<dyn TokenStore>, TextDataError> {
    if files.is_empty() {
        return Ok(Arc::new(tokenizer.encode(SHAKESPEARE)?));
    }
    let are_tokens = |path: &&PathBuf| FileKind::of(path) == FileKind::Tokens;
    match files.iter().filter(are_tokens).count() {
        0 => Ok(Arc::new(encoded(files, tokenizer)?)),
        all if all == files.len() => Ok(Arc::new(token_files(files, tokenizer)?)),
        _ => Err(TextDataError::Settings(
            "TextDataConfig::text: expected text files or token files (.bin), found both".into(),
        )),
    }
}

fn encoded(files: &[PathBuf], tokenizer: &Arc<Tokenizer>) -> Result<Vec<u32>, TextError> {
    let (mut tokens, mut ended) = (Vec::new(), false);
    for path in files {
        let documents = match FileKind::of(path) {
            FileKind::Records => {
                JsonLines::new([path], JsonRecord::text(), tokenizer.clone()).documents()
            }
            _ => TextFiles::new([path], tokenizer.clone()).documents(),
        };
        for document in documents {
            let document = document?;
            // Only between documents: a single text gets no end-of-text token.
            if ended {
                tokens.extend(tokenizer.eos());
            }
            tokens.extend(document.tokens);
            ended = document.ends;
        }
    }
    Ok(tokens)
}

fn token_files(files: &[PathBuf], tokenizer: &Tokenizer) -> Result<TokenFiles, TextDataError> {
    let expected = tokenizer.vocab_size();
    let files = TokenFiles::open(files, expected)?;
    match files.0.iter().map(|file| file.vocab_size()).max() {
        Some(found) if found > expected => Err(TextDataError::Content(format!(
            "TextDataConfig::text: the tokens have a vocabulary of {found}, but the tokenizer has {expected}: \
             pass the tokenizer that encoded them"
        ))),
        _ => Ok(files),
    }
}
