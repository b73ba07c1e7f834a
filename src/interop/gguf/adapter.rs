//! LoRA adapters, as `convert_lora_to_gguf.py` of llama.cpp writes them: two factors for each weight that is
//! adapted, under its name, and one alpha.
//!
//! ```text
//! y = W x + alpha / rank B (A x)
//! ```
//!
//! The rows of `B` are in the order of those of the weight.

use crate::{
    base::key_table::{
        KeyRule::{Harmless, Honored, OffAt},
        KeyTable, Off,
    },
    interop::architecture::Parameter,
};

/// Kind of the file, in `general.type`.
pub(super) const ADAPTER: &str = "adapter";
/// Kind of the adapter, in `adapter.type`.
pub(super) const LORA: &str = "lora";

pub(super) const TYPE_KEY: &str = "adapter.type";
pub(super) const ALPHA_KEY: &str = "adapter.lora.alpha";

/// Keys behind `adapter.`.
#[rustfmt::skip]
pub(super) const KEYS: KeyTable = KeyTable(&[
    (Honored, &["type", "lora.alpha"]),
    // Names of what it is for, and of what a program may write before a prompt.
    (Harmless, &["lora.task_name", "lora.prompt_prefix"]),
    // Of adapters that are active behind some tokens alone.
    (OffAt(&[Off::Empty]), &["alora.invocation_tokens", "lora.invocation_tokens"]),
]);

/// A factor of an adapter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Factor {
    /// `[rank, d_input]`.
    A,
    /// `[d_output, rank]`.
    B,
}

impl Factor {
    pub const BOTH: [Self; 2] = [Self::A, Self::B];

    /// Name of the tensor of a weight.
    pub fn gguf(self, weight: &Parameter) -> String {
        let suffix = match self {
            Self::A => "lora_a",
            Self::B => "lora_b",
        };
        format!("{}.{suffix}", weight.gguf)
    }

    /// Name in adapter folders of peft, without its prefix.
    pub fn peft(self, weight: &Parameter) -> String {
        let part = match self {
            Self::A => "lora_A",
            Self::B => "lora_B",
        };
        format!("{}.{part}.weight", weight.module())
    }

    /// Shape of a rank.
    pub fn shape(self, weight: &Parameter, rank: usize) -> [usize; 2] {
        match self {
            Self::A => [rank, weight.row_len()],
            Self::B => [weight.shape[0], rank],
        }
    }
}
