//! The architecture of a model in the metadata of a file.

use super::{Architecture, GgufError, GgufMetadata, GgufReader, LoadOptions, save::HIDDEN_ACT};
use crate::{
    interop::parameters,
    nn::{BitNetLmConfig, GatedActivation, RopeScaling},
};

/// A file that holds no model that there are layers for.
pub(super) fn wrong(reason: impl Into<String>) -> GgufError {
    GgufError::Model {
        reason: reason.into(),
    }
}

/// Architecture and sizes.
pub(super) fn config(
    reader: &GgufReader,
    options: &LoadOptions,
) -> Result<(Architecture, BitNetLmConfig), GgufError> {
    let metadata = reader.metadata();
    let name: &str = metadata.required("general.architecture")?;
    let architecture = Architecture::of(name).ok_or_else(|| {
        wrong(format!(
            "the architecture is {name}, supported are bitnet and llama"
        ))
    })?;
    let size = |key: &str| metadata.required::<usize>(&format!("{name}.{key}"));
    let optional = |key: &str| metadata.optional::<usize>(&format!("{name}.{key}"));
    let embedding = reader.tensor("token_embd.weight")?;
    let vocab_size = embedding.shape().rows() as usize;
    let (d_model, n_heads) = (size("embedding_length")?, size("attention.head_count")?);
    let n_kv_heads = optional("attention.head_count_kv")?.unwrap_or(n_heads);
    let config = BitNetLmConfig::new(
        vocab_size,
        d_model,
        size("block_count")?,
        n_heads,
        size("feed_forward_length")?,
    )
    .with_n_kv_heads(Some(n_kv_heads))
    .with_max_positions(match options.max_positions {
        Some(max_positions) => max_positions,
        None => size("context_length")?,
    })
    .with_rms_norm_epsilon(f64::from(
        metadata.required::<f32>(&format!("{name}.attention.layer_norm_rms_epsilon"))?,
    ))
    .with_rope_theta(
        metadata
            .optional::<f32>(&format!("{name}.rope.freq_base"))?
            .unwrap_or(10_000.0),
    )
    .with_rope_scaling(rope_scaling(metadata, name)?)
    .with_sub_norm(architecture == Architecture::BitNet)
    .with_activation(activation(metadata, options)?)
    .with_tied_embeddings(reader.tensor("output.weight").is_err());
    check_sizes(&config, reader)?;
    Ok((architecture, config))
}

fn rope_scaling(metadata: &GgufMetadata, name: &str) -> Result<Option<RopeScaling>, GgufError> {
    let scaling: Option<&str> = metadata.optional(&format!("{name}.rope.scaling.type"))?;
    let factor = metadata.optional::<f32>(&format!("{name}.rope.scaling.factor"))?;
    match (scaling, factor) {
        (None | Some("none"), _) | (Some("linear"), None | Some(1.0)) => Ok(None),
        (Some("linear"), Some(factor)) if factor.is_finite() && factor > 0.0 => {
            let factor = f64::from(factor);
            Ok(Some(RopeScaling::Linear { factor }))
        }
        (Some(other), factor) => Err(wrong(format!(
            "rope.scaling.type is {other} with factor {factor:?}, supported are none and linear"
        ))),
    }
}

fn activation(
    metadata: &GgufMetadata,
    options: &LoadOptions,
) -> Result<GatedActivation, GgufError> {
    let written = match metadata.optional::<&str>(HIDDEN_ACT)? {
        None => GatedActivation::Silu,
        Some("relu2") => GatedActivation::SquaredRelu,
        Some(other) => {
            return Err(wrong(format!(
                "{HIDDEN_ACT} is {other}, supported is relu2"
            )));
        }
    };
    Ok(options.activation.unwrap_or(written))
}

/// Refuses sizes that layers do not have, or that take more memory than the file has a reason for.
fn check_sizes(config: &BitNetLmConfig, reader: &GgufReader) -> Result<(), GgufError> {
    let (d_model, n_heads) = (config.d_model, config.n_heads);
    let n_kv_heads = config.n_kv_heads.unwrap_or(n_heads);
    let sizes = [
        d_model,
        n_heads,
        n_kv_heads,
        config.d_ff,
        config.max_positions,
    ];
    if sizes.contains(&0)
        || !(n_heads.checked_mul(2)).is_some_and(|pairs| d_model.is_multiple_of(pairs))
        || !n_heads.is_multiple_of(n_kv_heads)
    {
        return Err(wrong(format!(
            "embedding_length {d_model}, feed_forward_length {}, {n_heads} heads, {n_kv_heads} heads of \
             keys and a context of {} do not go together",
            config.d_ff, config.max_positions
        )));
    }
    let (epsilon, theta) = (config.rms_norm_epsilon, f64::from(config.rope_theta));
    if ![epsilon, theta]
        .iter()
        .all(|value| value.is_finite() && *value > 0.0)
    {
        return Err(wrong(format!(
            "layer_norm_rms_epsilon {epsilon} and rope.freq_base {theta} must be above 0"
        )));
    }
    let tensors = reader.tensors().len();
    if config.n_layers > tensors {
        let layers = config.n_layers;
        return Err(wrong(format!(
            "block_count is {layers}, and there are {tensors} tensors"
        )));
    }
    let bytes: u64 = reader
        .tensors()
        .map(|tensor| tensor.info().num_bytes())
        .sum();
    if let Err(table) = parameters::check_positions(config, bytes) {
        return Err(wrong(format!(
            "context_length is {}, whose table takes {table} bytes, more than the weights: set \
             LoadOptions::max_positions",
            config.max_positions
        )));
    }
    Ok(())
}
