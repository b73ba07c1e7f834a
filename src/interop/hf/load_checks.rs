//! Folders that are refused before their tensors are read.

use std::path::Path;

use super::{
    Family, HfConfig, HfError, LoadOptions, checkpoint::Checkpoint, error::TensorProblem,
    head::Head, quantization::QuantizationConfig, source::Source, tensors::problems,
};
use crate::{interop::checks, nn::BitNetLmConfig};

/// Refuses sizes that would take more memory than the files have a reason for.
pub(super) fn check_size(
    path: &Path,
    config: &mut BitNetLmConfig,
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<(), HfError> {
    let (layers, tensors) = (config.n_layers, checkpoint.entries().len());
    if layers > tensors {
        let reason = format!("num_hidden_layers is {layers}, and the files have {tensors} tensors");
        return Err(HfError::file(path, reason));
    }
    if let Some(max_positions) = options.max_positions {
        config.max_positions = max_positions;
    }
    if let Err(table) = checks::check_positions(config, checkpoint.num_bytes() as u64) {
        let reason = format!(
            "max_position_embeddings is {}, whose table takes {table} bytes, more than the weights: \
             set LoadOptions::with_max_positions",
            config.max_positions
        );
        return Err(HfError::file(path, reason));
    }
    Ok(())
}

/// Refuses positions at which the layers here compute something else.
pub(super) fn check_positions(path: &Path, config: &HfConfig) -> Result<(), HfError> {
    let lm = &config.lm;
    let positions = lm.max_positions;
    if let Some(window) = config.sliding_window.filter(|window| *window < positions) {
        let supported = format!(
            "none, or one of all {positions} positions: up to {window} positions are computed the same \
             (LoadOptions::with_max_positions)"
        );
        return Err(HfError::unsupported(
            path,
            "sliding_window",
            window,
            supported,
        ));
    }
    let rotary = lm.rotary();
    let scaling = rotary.scaling.as_ref();
    if let Some(problem) = scaling.and_then(|s| s.problem(positions, rotary.rotary_size())) {
        return Err(HfError::file(
            path,
            format!("{problem} (LoadOptions::with_max_positions sets the positions)"),
        ));
    }
    // After the size of their table was checked.
    match rotary.frequencies().iter().all(|f| f.is_finite()) {
        true => Ok(()),
        false => Err(HfError::file(path, "the rotary frequencies are not finite")),
    }
}

/// Refuses floats that transformers takes for what is left of a quantization, without quantizing them.
pub(super) fn check_mode(path: &Path, config: &HfConfig, packed: bool) -> Result<(), HfError> {
    let quantization = match &config.quantization {
        None => return Ok(()),
        Some(QuantizationConfig::BitNet(quantization)) => quantization,
        Some(QuantizationConfig::BitsAndBytes(_)) => return check_four_bit(path, config.family),
    };
    let mode = quantization.quantization_mode.as_deref();
    match packed || mode == Some("online") || config.family == Family::OneBitLlm {
        true => Ok(()),
        false => Err(HfError::unsupported(
            path,
            "quantization_config.quantization_mode",
            mode.unwrap_or("missing, which means offline"),
            "online where the weights are floats, which are not packed",
        )),
    }
}

/// Refuses 4 bits of weights that are trained quantized.
fn check_four_bit(path: &Path, family: Family) -> Result<(), HfError> {
    match family {
        Family::OneBitLlm => Err(HfError::unsupported(
            path,
            "quantization_config.quant_method",
            "bitsandbytes",
            format!("bitnet of a {}", family.architecture()),
        )),
        _ => Ok(()),
    }
}

/// Refuses tensors that are not those of the model, all of which are listed.
pub(super) fn check_tensors(source: &Source<'_>) -> Result<(), HfError> {
    let folder = source.folder;
    let (mut expected, mut large) = (Vec::new(), Vec::new());
    for parameter in source.table {
        match source.expected_tensors(parameter) {
            Some(tensors) => expected.extend(tensors),
            None => large.push(TensorProblem::Value {
                name: parameter.hf.clone(),
                reason: format!("a weight of {:?} is too large", parameter.shape),
            }),
        }
    }
    HfError::check(folder, large)?;
    let problems = problems(source.checkpoint, &expected, source.head);
    HfError::check(folder, problems)
}

/// Refuses files whose names are those of another program, instead of listing all of them.
pub(super) fn check_names(
    folder: &Path,
    checkpoint: &Checkpoint,
    mut names: impl Iterator<Item = String> + Clone,
    head: Head,
) -> Result<(), HfError> {
    let first = names.clone().next();
    let is_there =
        |name: &str| name.starts_with("model.") && checkpoint.get(&head.file_name(name)).is_some();
    match (
        names.any(|name| is_there(&name)),
        first,
        checkpoint.entries().next(),
    ) {
        (false, Some(expected), Some((found, _))) => Err(HfError::TensorNames {
            folder: folder.to_path_buf(),
            found: found.to_string(),
            expected,
        }),
        _ => Ok(()),
    }
}
