use std::path::Path;

use burn::tensor::Device;

use super::{
    GgufError, GgufReader, LoadOptions,
    model_config::{FileConfig, config},
    model_tensors::ModelTensors,
    tokenizer::{self, SpecialIds},
};
use crate::interop::{CausalLm, PretrainedLm, architecture, load_parameters::with_packed};

/// Loads a language model from a file of the architectures `bitnet`, `llama`, `qwen2` and `qwen3`.
///
/// If every projection has codes -1, 0 and 1 and one scale, in a ternary type or as floats that are
/// nothing else, the model is [`CausalLm::Packed`], and quantizes activations per token as it was
/// trained; otherwise [`CausalLm::Full`], of f32, to which every [type](super::GgmlType::is_decoded) that is
/// read is decoded. Files that [`save`](super::save) wrote as `bitnet` have
/// the same logits, bit for bit, where embeddings are F32.
///
/// # Errors
///
/// If the file cannot be read, is a part of a [split](GgufError::Split) one, has another architecture or a
/// key that changes what is computed and is [not built](GgufError::Unsupported), nothing tells the
/// [activation](GgufError::Activation), or tensors are missing, of the wrong shape, of a type that is not
/// decoded, or unknown. Keys that nobody knows are in
/// [`unknown_keys`](PretrainedLm::unknown_keys).
pub fn load(
    path: impl AsRef<Path>,
    options: &LoadOptions,
    device: &Device,
) -> Result<PretrainedLm, GgufError> {
    let path = path.as_ref();
    let reader = GgufReader::open_with(path, options)?;
    load_from(&reader, options, device).map_err(|error| error.in_file(path))
}

/// Loads a language model from a file that is open; see [`load`].
///
/// # Errors
///
/// As [`load`].
pub fn load_from(
    reader: &GgufReader,
    options: &LoadOptions,
    device: &Device,
) -> Result<PretrainedLm, GgufError> {
    let FileConfig {
        architecture,
        lm: config,
        unknown_keys,
    } = config(reader, options)?;
    let tensors = ModelTensors {
        reader,
        architecture,
        table: &architecture::parameters(&config),
    };
    tensors.check()?;
    let inner = device.clone().inner();
    let lm = match tensors.packed_weights(&inner)? {
        Some(weights) => {
            let lm = tensors.with_floats(config.init(&inner), |p| !p.is_projection())?;
            CausalLm::Packed(with_packed(lm, weights))
        }
        None => CausalLm::Full(tensors.with_floats(config.init(device), |_| true)?),
    };
    let ids = SpecialIds::from_metadata(reader.metadata())?;
    Ok(PretrainedLm {
        config,
        lm,
        bos_token_id: ids.bos,
        eos_token_ids: tokenizer::end_ids(reader.metadata())?,
        pad_token_id: ids.pad,
        unknown_keys,
    })
}
