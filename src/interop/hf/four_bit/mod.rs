//! Weights of 4 bits of bitsandbytes: tensors beside the codes, and a JSON object among them.

mod quant_state;
mod read;
mod write;

pub(super) use quant_state::{QuantState, quant_states};
pub(super) use read::{expected_tensors, read_weight};
pub(super) use write::saved_tensors;

/// Endings of the names of tensors, after `.weight`.
mod suffix {
    pub(super) const ABSMAX: &str = ".absmax";
    pub(super) const QUANT_MAP: &str = ".quant_map";
    pub(super) const NESTED_ABSMAX: &str = ".nested_absmax";
    pub(super) const NESTED_QUANT_MAP: &str = ".nested_quant_map";
    /// The name of the codes follows.
    pub(super) const QUANT_STATE: &str = ".quant_state.bitsandbytes__";
}

/// Returns whether a name is that of a tensor beside the codes of a weight.
pub(super) fn is_quant_state(name: &str) -> bool {
    name.contains(suffix::QUANT_STATE)
}
