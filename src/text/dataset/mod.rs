//! Data sets of text.
//!
//! # From files to batches
//!
//! 1. [`TextFiles`] and [`JsonLines`] stream [`Document`]s: tokens and a mask of those that count in
//!    the loss. A malformed line ends the training, or is skipped and [reported](SkippedLines).
//!    [`read_documents`] loads them into memory and rejects data without any token that counts.
//! 2. They are shuffled in a buffer, and [`Packed`] into [`Sequence`]s of fixed length.
//! 3. [`DocumentBatchesConfig`] combines these steps for Burn's `Learner`; [`SequenceBatcher`] batches
//!    sequences in memory with Burn's own data loader.
//!
//! Plain text that fits into memory loads faster as one long token sequence, in memory or in a
//! memory-mapped [`TokenFile`]: [`RandomWindowsConfig`] draws training batches from it,
//! [`EvenWindowsConfig`] covers a validation text.
//!
//! [`TextDataConfig`] does all of this for the files of a training and its validation.
//!
//! # Resuming
//!
//! Runs with the same seed produce the same batches. The batch of a step is computed from the seed and the
//! step number for random windows; of documents, those before it are read again.

mod batch;
mod document;
mod document_batches;
mod even_windows;
mod file_kind;
mod files;
mod json_lines;
mod json_record;
mod learned;
mod lines;
mod packing;
mod passes;
mod random_windows;
mod read_tokens;
mod record_data;
mod records;
mod sequence;
mod sequence_batcher;
mod shakespeare;
mod shuffle;
mod skipped_lines;
mod text_data;
mod text_data_error;
mod text_files;
mod text_pieces;
mod text_reader;
mod token_batches;
mod token_file;
mod token_files;
mod token_store;
mod windows;

pub use batch::TokenBatch;
pub use document::{Document, DocumentSource, Documents};
pub use document_batches::DocumentBatchesConfig;
pub use even_windows::EvenWindowsConfig;
use file_kind::FileKind;
pub use json_lines::JsonLines;
pub use json_record::{JsonRecord, TrainedTurns};
pub use learned::read_documents;
pub use packing::{Packed, Packing, PackingConfig};
pub use random_windows::RandomWindowsConfig;
pub use read_tokens::read_tokens;
pub use sequence::Sequence;
pub use sequence_batcher::SequenceBatcher;
pub use shakespeare::SHAKESPEARE;
pub use skipped_lines::SkippedLines;
pub use text_data::{RecordKind, TextData, TextDataConfig};
pub use text_data_error::TextDataError;
pub use text_files::{DocumentSplit, TextFiles};
pub use text_reader::read_text;
pub use token_batches::TokenBatches;
pub use token_file::{TokenDType, TokenFile, TokenFileWriter};
use token_files::TokenFiles;
pub use token_store::{TokenPart, TokenStore};

pub use crate::base::data_position::SeekableDataLoader;
