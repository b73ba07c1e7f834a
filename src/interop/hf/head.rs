//! The output head in the files of a model.

use super::{
    checkpoint::{Checkpoint, Entry},
    dtype::float_dtype,
};
use crate::interop::{
    architecture::{EMBEDDING, HEAD},
    floats,
};

/// What the head of a model is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Head {
    /// A matrix of its own.
    Own,
    /// The embedding table.
    Tied,
    /// The embedding table, which the files have under the name of the head.
    TiedUnderItsName,
}

impl Head {
    /// Looks at what the files have, as `tie_weights` of transformers 5 does: a head that differs from the
    /// table is one of its own, whatever the configuration says.
    pub fn of(checkpoint: &Checkpoint, tied_embeddings: bool) -> Self {
        let [head, table] = [HEAD, EMBEDDING].map(|row| checkpoint.get(&row.hf()));
        match (tied_embeddings, head, table) {
            (false, ..) => Self::Own,
            (true, Some(_), None) => Self::TiedUnderItsName,
            (true, Some(head), Some(table)) if !are_equal(checkpoint, head, table) => Self::Own,
            (true, ..) => Self::Tied,
        }
    }

    /// Name of a tensor in the files.
    pub fn file_name(self, name: &str) -> String {
        match self == Self::TiedUnderItsName && name == EMBEDDING.hf() {
            true => HEAD.hf(),
            false => name.to_string(),
        }
    }
}

fn are_equal(checkpoint: &Checkpoint, head: &Entry, table: &Entry) -> bool {
    if head.info.shape != table.info.shape {
        return false;
    }
    let [a, b] = [head, table].map(|entry| checkpoint.bytes(entry));
    let equal = match head.info.dtype == table.info.dtype {
        true => a == b,
        false => match [head, table].map(|entry| values(checkpoint, entry)) {
            [Some(a), Some(b)] => a == b,
            _ => false,
        },
    };
    checkpoint.release(head, 0..a.len());
    checkpoint.release(table, 0..b.len());
    equal
}

/// The values of a tensor, if they are floats.
fn values(checkpoint: &Checkpoint, entry: &Entry) -> Option<Vec<f32>> {
    let dtype = float_dtype(entry.info.dtype)?;
    Some(floats::values(checkpoint.bytes(entry), dtype))
}
