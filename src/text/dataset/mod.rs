//! Data sets of text.
//!
//! # From files to batches
//!
//! 1. [`TextFiles`] and [`JsonLines`] stream [`Document`]s: tokens and a mask of those that count in
//!    the loss. A malformed line ends the training, or is skipped and [reported](SkippedLines).
//!    [`read_documents`] loads them into memory and rejects data without any token that counts.
//! 2. [`Shuffle`] shuffles them in a buffer, [`Packing`] turns them into [`Sequence`]s of fixed length.
//! 3. [`DocumentBatches`] combines these steps for Burn's `Learner`; [`SequenceBatcher`] batches
//!    sequences in memory with Burn's own data loader.
//!
//! Plain text that fits into memory loads faster as one long token sequence, in memory or in a
//! memory-mapped [`TokenFile`]: [`RandomWindows`] draws training batches from it, [`EvenWindows`]
//! covers a validation text.
//!
//! # Resuming
//!
//! Runs with the same seed produce the same batches. [`RandomWindows`] computes the batch of a step
//! from the seed and the step number; [`DocumentBatches`] reads the documents before it again.

mod batch;
mod document;
mod document_batches;
mod even_windows;
mod file_kind;
mod json_lines;
mod json_record;
mod learned;
mod lines;
mod malformed;
mod packing;
mod passes;
mod random_windows;
mod records;
mod sequence;
mod sequence_batcher;
mod shuffle;
mod text_files;
mod text_pieces;
mod text_reader;
mod token_file;
mod token_files;
mod token_store;
mod window;

pub use batch::TokenBatch;
pub use document::{Document, DocumentSource, Documents};
pub use document_batches::{DocumentBatches, DocumentBatchesConfig};
pub use even_windows::{EvenWindows, EvenWindowsConfig};
pub use file_kind::FileKind;
pub use json_lines::JsonLines;
pub use json_record::{JsonRecord, TrainedTurns};
pub use learned::read_documents;
pub use malformed::{MalformedLines, SkippedLines};
pub use packing::{Packed, Packing, PackingConfig};
pub use random_windows::{RandomWindows, RandomWindowsConfig};
pub use sequence::{IGNORE_INDEX, Sequence};
pub use sequence_batcher::SequenceBatcher;
pub use shuffle::Shuffle;
pub use text_files::{DocumentSplit, TextFiles};
pub use text_reader::read_text;
pub use token_file::{TokenDType, TokenFile, TokenFileWriter};
pub use token_files::TokenFiles;
pub use token_store::{TokenPart, TokenStore};

pub use crate::base::data_position::SeekableDataLoader;
