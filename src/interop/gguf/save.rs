use std::path::Path;

use super::{
    Architecture, GgufError, GgufWriter, SaveOptions, save_checks::check, save_metadata::metadata,
    save_tensors::add_tensors,
};
use crate::interop::PretrainedLm;

/// Writes a model for llama.cpp: as `bitnet` if it has norms before the last projections, as `qwen3` if
/// it has norms of queries and keys, as `qwen2` if queries, keys and values have biases and nothing else
/// has, and else as `llama`.
///
/// The scales of quantized weights are those that were trained. `bitnet` has a place for them, so that
/// the weights are codes -1, 0 and 1 and nothing is rounded; for `llama` they are multiplied into the
/// weights, rounded to half precision unless the type is F32.
///
/// llama.cpp does not quantize activations per token: with F32, F16 and BF16 weights not at all, with
/// others by blocks, so that its outputs are near those of the trained model, not equal.
///
/// # Errors
///
/// If llama.cpp would compute something else than the model: squared ReLU, a head of its own with
/// `bitnet`; if a weight is not finite or rows do not fit the blocks of the type, or the file cannot be
/// written. An older file stays until the new one is whole.
pub fn save(
    path: impl AsRef<Path>,
    model: &PretrainedLm,
    options: &SaveOptions,
) -> Result<(), GgufError> {
    let architecture = Architecture::for_config(&model.config);
    check(model, architecture, options)?;
    let mut writer = GgufWriter::new(metadata(model, architecture, options)?)?;
    add_tensors(&mut writer, model, architecture, options)?;
    writer.write(path)
}
