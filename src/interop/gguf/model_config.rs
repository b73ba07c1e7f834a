//! The architecture of a model in the metadata of a file.

use super::{
    Architecture, GgufError, GgufReader, LoadOptions, activation, model_keys::ModelKeys, rope,
};
use crate::{
    interop::{
        UnknownKey,
        architecture::{self, Role},
        checks,
    },
    nn::{BitNetLmConfig, ProjectionBias, QkNorm},
};

/// What the metadata say of a model.
pub(super) struct FileConfig {
    pub architecture: Architecture,
    /// Sizes and choices.
    pub lm: BitNetLmConfig,
    /// Keys that nobody knows.
    pub unknown_keys: Vec<UnknownKey>,
}

/// Architecture and sizes.
pub(super) fn config(reader: &GgufReader, options: &LoadOptions) -> Result<FileConfig, GgufError> {
    let keys = ModelKeys::new(reader.metadata())?;
    let architecture = Architecture::of(keys.name).ok_or_else(|| {
        GgufError::unsupported("general.architecture", keys.name, Architecture::NAMES)
    })?;
    let unknown_keys = keys.check()?;
    let lm = sizes(&keys, reader, options)?;
    let lm = heads(&keys, architecture, lm)?
        .with_rope_theta(keys.optional::<f32>("rope.freq_base")?.unwrap_or(10_000.0))
        .with_sub_norm(architecture == Architecture::BitNet)
        .with_qk_norm(match architecture {
            Architecture::Qwen3 => QkNorm::PerHead,
            _ => QkNorm::None,
        })
        .with_activation(activation::read(&keys, options.activation)?)
        .with_tied_embeddings(reader.tensor(&architecture::HEAD.gguf()).is_err());
    check_sizes(&lm, reader)?;
    let bias = bias(architecture, &lm, reader);
    let lm = lm.with_bias(bias);
    check_attention(&keys, &lm)?;
    let scaling = rope::read(&keys, reader, &lm)?;
    Ok(FileConfig {
        architecture,
        lm: lm.with_rope_scaling(scaling),
        unknown_keys,
    })
}

fn sizes(
    keys: &ModelKeys<'_>,
    reader: &GgufReader,
    options: &LoadOptions,
) -> Result<BitNetLmConfig, GgufError> {
    let vocab_size = vocab_size(keys, reader)?;
    let d_model: usize = keys.required("embedding_length")?;
    let output = keys.size("embedding_length_out", 1)?;
    if let Some(found) = output.filter(|size| *size != d_model && *size != 0) {
        let supported = format!("embedding_length, {d_model}");
        return Err(keys.unsupported("embedding_length_out", found, supported));
    }
    let layers: usize = keys.required("block_count")?;
    let per_layer = |key: &str| {
        let size = keys.size(key, layers)?;
        size.ok_or_else(|| GgufError::missing_key(keys.key(key)))
    };
    let n_heads = per_layer("attention.head_count")?;
    let n_kv_heads = keys.size("attention.head_count_kv", layers)?;
    let epsilon = "attention.layer_norm_rms_epsilon";
    let missing_epsilon = || GgufError::missing_key(keys.key(epsilon));
    let config = BitNetLmConfig::new(
        vocab_size,
        d_model,
        layers,
        n_heads,
        per_layer("feed_forward_length")?,
    )
    .with_n_kv_heads(Some(n_kv_heads.unwrap_or(n_heads)))
    .with_max_positions(match options.max_positions {
        Some(max_positions) => max_positions,
        None => keys.required("context_length")?,
    })
    .with_rms_norm_epsilon(keys.float(epsilon)?.ok_or_else(missing_epsilon)?);
    Ok(config)
}

/// The rows of the embedding table, which the metadata must not contradict.
fn vocab_size(keys: &ModelKeys<'_>, reader: &GgufReader) -> Result<usize, GgufError> {
    let table = architecture::EMBEDDING.gguf();
    let rows = reader.tensor(&table)?.shape().rows() as usize;
    match keys.optional::<usize>("vocab_size")? {
        Some(found) if found != rows => {
            let supported = format!("the rows of {table}, {rows}");
            Err(keys.unsupported("vocab_size", found, supported))
        }
        _ => Ok(rows),
    }
}

/// The biases of an architecture: of queries, keys and values for `qwen2`, and those that the first layer
/// has for `llama`.
fn bias(
    architecture: Architecture,
    config: &BitNetLmConfig,
    reader: &GgufReader,
) -> ProjectionBias {
    let layer = BitNetLmConfig {
        n_layers: 1,
        bias: ProjectionBias::new(true, true, true),
        ..config.clone()
    };
    let biases = architecture::parameters(&layer).into_iter();
    let biases = biases.filter(|p| p.is_bias && reader.tensor(&p.gguf).is_ok());
    let roles: Vec<Role> = biases.map(|p| p.role).collect();
    let has = |any: &[Role]| any.iter().any(|role| roles.contains(role));
    match architecture {
        Architecture::Qwen2 => ProjectionBias::QKV,
        Architecture::Llama => ProjectionBias::new(
            has(&[Role::Query, Role::Key, Role::Value]),
            has(&[Role::Output]),
            has(&[Role::FeedForward]),
        ),
        Architecture::BitNet | Architecture::Qwen3 => ProjectionBias::NONE,
    }
}

/// Sizes of heads and of the part of them that is rotated.
fn heads(
    keys: &ModelKeys<'_>,
    architecture: Architecture,
    config: BitNetLmConfig,
) -> Result<BitNetLmConfig, GgufError> {
    let (d_model, n_heads, layers) = (config.d_model, config.n_heads, config.n_layers);
    let share = (n_heads > 0 && d_model.is_multiple_of(n_heads)).then(|| d_model / n_heads);
    let length = keys.size("attention.key_length", layers)?;
    if share.is_none() && length.is_none() {
        // Refused with the other sizes.
        return Ok(config);
    }
    let refused = |key: &str, found: usize, size: Option<usize>| {
        let size = size.map_or("none".to_string(), |size| size.to_string());
        keys.unsupported(key, found, format!("the size of a head, {size}"))
    };
    if let Some(found) = length
        && share != length
        && !architecture.has_head_size()
    {
        return Err(refused("attention.key_length", found, share));
    }
    let d_head = length.or(share);
    let value_length = keys.size("attention.value_length", layers)?;
    if let Some(found) = value_length.filter(|_| value_length != d_head) {
        return Err(refused("attention.value_length", found, d_head));
    }
    let d_rotary = keys.size("rope.dimension_count", layers)?;
    let rotates_all = d_rotary.is_none() || d_rotary == d_head;
    match d_rotary {
        Some(found) if !rotates_all && !architecture.has_partial_rotary() => {
            return Err(refused("rope.dimension_count", found, d_head));
        }
        Some(found)
            if found < 2 || !found.is_multiple_of(2) || d_head.is_none_or(|d| found > d) =>
        {
            let supported = "an even number up to the size of a head";
            return Err(keys.unsupported("rope.dimension_count", found, supported));
        }
        _ => {}
    }
    Ok(config
        .with_d_head(length.filter(|_| length != share))
        .with_d_rotary(d_rotary.filter(|_| !rotates_all)))
}

/// Refuses attention that is another than the layers compute.
fn check_attention(keys: &ModelKeys<'_>, config: &BitNetLmConfig) -> Result<(), GgufError> {
    let d_head = config.head_size();
    if keys.optional("attention.causal")? == Some(false) {
        return Err(keys.unsupported("attention.causal", false, true));
    }
    let default = 1.0 / (d_head as f64).sqrt();
    let scale = keys.float("attention.scale")?.unwrap_or(0.0);
    // To the precision of the file.
    if scale != 0.0 && scale as f32 != default as f32 {
        let supported = format!("1 / sqrt(head), {default}");
        return Err(keys.unsupported("attention.scale", scale, supported));
    }
    let window = keys.size("attention.sliding_window", config.n_layers)?;
    // A window that is longer than every sequence hides nothing.
    if let Some(found) = window.filter(|n| *n != 0 && *n < config.max_positions) {
        let supported = format!(
            "0, or not below the {} positions (LoadOptions::with_max_positions)",
            config.max_positions
        );
        return Err(keys.unsupported("attention.sliding_window", found, supported));
    }
    Ok(())
}

/// Refuses sizes that layers do not have, or that take more memory than the file has a reason for.
fn check_sizes(config: &BitNetLmConfig, reader: &GgufReader) -> Result<(), GgufError> {
    let (d_model, n_heads) = (config.d_model, config.n_heads);
    let n_kv_heads = config.key_value_heads();
    let sizes = [
        d_model,
        n_heads,
        n_kv_heads,
        config.d_ff,
        config.max_positions,
    ];
    let heads_fit = config.d_head.is_some() || n_heads > 0 && d_model.is_multiple_of(n_heads);
    if sizes.contains(&0)
        || !heads_fit
        || !config.rotary().rotary_size().is_multiple_of(2)
        || config.head_size() == 0
        || config.head_size().checked_mul(n_heads).is_none()
        || !n_heads.is_multiple_of(n_kv_heads)
    {
        return Err(GgufError::model(format!(
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
        return Err(GgufError::model(format!(
            "layer_norm_rms_epsilon {epsilon} and rope.freq_base {theta} must be above 0"
        )));
    }
    let tensors = reader.tensors().len();
    if config.n_layers > tensors {
        let layers = config.n_layers;
        return Err(GgufError::model(format!(
            "block_count is {layers}, and there are {tensors} tensors"
        )));
    }
    let bytes = reader.tensors().map(|tensor| tensor.bytes().len() as u64);
    if let Err(table) = checks::check_positions(config, bytes.sum()) {
        return Err(GgufError::model(format!(
            "context_length is {}, whose table takes {table} bytes, more than the weights: set \
             LoadOptions::with_max_positions",
            config.max_positions
        )));
    }
    Ok(())
}
