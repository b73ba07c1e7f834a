use super::{Document, DocumentSource};
use crate::text::TextError;

/// Reads all documents of a source into memory.
///
/// # Errors
///
/// The first error of the source; [`TextError::NoDocuments`] if there is no document;
/// [`TextError::NothingToLearn`] if no token counts in the loss.
///
/// # Example
///
/// ```
/// use bitnet_burn::text::{TextError, dataset::{Document, read_documents}};
///
/// let prompts = vec![Document::with_prompt(&[1, 2], &[])];
/// let error = read_documents(&prompts).unwrap_err();
/// assert!(matches!(error, TextError::NothingToLearn { documents: 1, .. }));
/// ```
pub fn read_documents(source: &dyn DocumentSource) -> Result<Vec<Document>, TextError> {
    let documents: Vec<Document> = source.documents().collect::<Result<_, _>>()?;
    if documents.is_empty() {
        let paths = source.paths();
        return Err(TextError::NoDocuments { paths });
    }
    match documents.iter().any(Document::counts) {
        true => Ok(documents),
        false => Err(nothing_to_learn(source, documents.len())),
    }
}

/// Error of a source whose documents are all masked.
pub(super) fn nothing_to_learn(source: &dyn DocumentSource, documents: usize) -> TextError {
    TextError::NothingToLearn {
        paths: source.paths(),
        documents,
        reason: source.why_masked().to_string(),
    }
}
