//! Data sets of text.
//!
//! # From files to batches
//!
//! 1. [`TextFiles`] and [`JsonLines`] stream [`Document`]s: tokens, and which of them count in the
//!    loss. A malformed line ends the training, or is skipped and [reported](SkippedLines).
//!    [`read_documents`] reads them into memory and refuses data of which nothing is learned.
//! 2. [`Shuffle`] mixes them in a buffer, [`Packing`] makes [`Sequence`]s of a fixed length of them.
//! 3. [`DocumentBatches`] does all of this for Burn's `Learner`; [`SequenceBatcher`] makes batches of
//!    sequences in memory with Burn's own data loader.
//!
//! Plain text that fits is quicker as one long row of tokens, in memory or in a [`TokenFile`] that
//! is read page by page: [`RandomWindows`] draws training batches from it, [`EvenWindows`] covers a
//! validation text.
//!
//! # Resuming
//!
//! The batches are the same in every run with the same seed. [`RandomWindows`] computes the batch of
//! a step from the seed and the step alone; [`DocumentBatches`] reads the documents before it again.

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
