//! How far back the attention looks.

use serde_json::Value;

use super::fields::Fields;
use crate::interop::hf::{Family, HfError};

const FULL: &str = "full_attention";

/// Positions that a query looks back on, itself among them; `None` for all.
///
/// In Qwen2 and Qwen3 the window is off unless `use_sliding_window`, and for the first
/// `max_window_layers` layers. Mistral has a window of 4096 where its file has none.
///
/// # Errors
///
/// If layers differ.
pub(super) fn read(fields: &Fields<'_>, family: Family) -> Result<Option<usize>, HfError> {
    let layer_types = fields.optional::<Vec<String>>("layer_types")?;
    if let Some(other) = layer_types.iter().flatten().find(|name| *name != FULL) {
        return Err(fields.unsupported("layer_types", other, FULL));
    }
    let is_qwen = matches!(family, Family::Qwen2 | Family::Qwen3);
    let used = fields.optional::<bool>("use_sliding_window")?;
    if !used.unwrap_or(!is_qwen) || (is_qwen && layer_types.is_some()) {
        return Ok(None);
    }
    let default = family.defaults().sliding_window;
    let window = match fields.raw("sliding_window") {
        Some(Value::Bool(false)) => None,
        _ => fields.or("sliding_window", default, None)?,
    };
    let layers: usize = fields.required("num_hidden_layers")?;
    if is_qwen && fields.or("max_window_layers", 28, 28)? >= layers {
        return Ok(None);
    }
    Ok(window)
}
