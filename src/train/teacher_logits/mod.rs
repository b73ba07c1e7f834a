//! Teacher logits on disk: the teacher runs over a data set once instead of in every epoch, and is
//! not in memory while the student trains.
//!
//! A file holds the logits of all examples of a data set, by the number of the example: all of
//! them, or the `k` largest of each token and the mass of the others. The reader rejects a file
//! with another format or fingerprint than expected. Each example has a checksum.
//!
//! # File
//!
//! All numbers are little-endian.
//! | bytes | content |
//! |---|---|
//! | 8 | `BNBTLOGS` |
//! | 4 | version, 1 |
//! | 1, 1, 2 | type of the logits (0: f32, 1: f16), what is stored (0: all, 1: top k), zero |
//! | 4, 4, 4 | vocabulary, positions of an example, logits stored for a position |
//! | 8 | temperature of the mass of the rest, f64; 0 if all are stored |
//! | 8 | number of examples |
//! | 2, n | length of the fingerprint, fingerprint in UTF-8 |
//! | 4 | CRC-32 of all bytes before |
//!
//! followed by the examples in order:
//!
//! | bytes | content |
//! |---|---|
//! | positions x stored x 2 or 4 | logits |
//! | positions x 4 | log of the mass of the rest, f32; top k only |
//! | positions x k x 2 or 4 | tokens, u16 or, for a vocabulary above 65536, u32; top k only |
//! | 4 | CRC-32 of the example's number (u64) and all bytes of the example before |

mod error;
mod format;
mod header;
mod reader;
mod writer;

pub use error::TeacherLogitsError;
use format::StoredLogits;
pub use format::{LogitsType, TeacherLogitsFormat};
pub use reader::TeacherLogitsReader;
pub use writer::TeacherLogitsWriter;
