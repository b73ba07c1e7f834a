//! A teacher's logits on disk, so that it runs over a data set once and not in every epoch, and
//! need not be in memory while the student trains.
//!
//! One file holds the logits of every example of a data set, by the number of the example: in full,
//! or the `k` largest of each token and the mass of the others. It says what it was made of, and a
//! reader that expects something else refuses it; every example has a checksum.
//!
//! # File
//!
//! All numbers are little-endian.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `BNBTLOGS` |
//! | 4 | version, 1 |
//! | 1, 1, 2 | type of the logits (0: f32, 1: f16), what is stored (0: all, 1: top k), zero |
//! | 4, 4, 4 | vocabulary, positions of an example, logits stored for a position |
//! | 8 | temperature of the mass of the rest, f64; 0 if all are stored |
//! | 8 | number of examples |
//! | 2, n | length of the fingerprint, fingerprint in UTF-8 |
//! | 4 | CRC-32 of all before |
//!
//! and for each example, in their order:
//!
//! | bytes | what |
//! |---|---|
//! | positions x stored x 2 or 4 | logits |
//! | positions x 4 | log of the mass of the rest, f32; top k only |
//! | positions x k x 2 or 4 | tokens, u16 or, above 65536 of them, u32; top k only |
//! | 4 | CRC-32 of the example's number (u64) and all before in the example |

mod error;
mod format;
mod header;
mod reader;
mod writer;

pub use error::TeacherLogitsError;
pub use format::{LogitsType, StoredLogits, TeacherLogitsFormat};
pub use reader::TeacherLogitsReader;
pub use writer::TeacherLogitsWriter;
