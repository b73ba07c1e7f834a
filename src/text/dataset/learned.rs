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
    let counts = documents.iter().any(Document::counts);
    check_learned(source, documents.len(), counts)?;
    Ok(documents)
}

/// Rejects a source with a number of documents, unless a token of them counts.
pub(super) fn check_learned(
    source: &dyn DocumentSource,
    documents: usize,
    counts: bool,
) -> Result<(), TextError> {
    let paths = source.paths();
    match documents {
        _ if counts => Ok(()),
        0 => Err(TextError::NoDocuments { paths }),
        _ => Err(TextError::NothingToLearn {
            paths,
            documents,
            reason: source.why_masked().to_string(),
        }),
    }
}
