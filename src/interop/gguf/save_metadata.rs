//! The metadata of a model.

use super::{
    Architecture, GgmlType, GgufError, GgufMetadata, SaveOptions, activation, rope::WrittenScaling,
    tokenizer,
};
use crate::{
    interop::PretrainedLm,
    nn::{BitNetLmConfig, GatedActivation},
};

/// Keys and values of a model in a file.
pub(super) fn metadata(
    model: &PretrainedLm,
    architecture: Architecture,
    options: &SaveOptions,
) -> Result<GgufMetadata, GgufError> {
    let config = &model.config;
    let name = name(config, architecture, options);
    let mut metadata = GgufMetadata::new();
    metadata.insert("general.architecture", name)?;
    if let Some(name) = &options.name {
        metadata.insert("general.name", name.as_str())?;
    }
    metadata.insert("general.quantization_version", 2u32)?;
    metadata.insert("general.file_type", file_type(options.weights))?;
    let mut sizes = vec![
        ("vocab_size", config.vocab_size),
        ("context_length", config.max_positions),
        ("embedding_length", config.d_model),
        ("block_count", config.n_layers),
        ("feed_forward_length", config.d_ff),
        ("attention.head_count", config.n_heads),
        ("attention.head_count_kv", config.key_value_heads()),
        ("rope.dimension_count", config.rotary().rotary_size()),
    ];
    if architecture.has_head_size() {
        sizes.push(("attention.key_length", config.head_size()));
        sizes.push(("attention.value_length", config.head_size()));
    }
    for (key, value) in sizes {
        let value = u32::try_from(value);
        let value = value.map_err(|_| GgufError::model(format!("{key} does not fit 32 bits")))?;
        metadata.insert(format!("{name}.{key}"), value)?;
    }
    let epsilon = config.rms_norm_epsilon as f32;
    metadata.insert(format!("{name}.attention.layer_norm_rms_epsilon"), epsilon)?;
    metadata.insert(format!("{name}.rope.freq_base"), config.rope_theta)?;
    let scaling = WrittenScaling::of(config);
    scaling.insert(name, config.rope_scaling.as_ref(), &mut metadata)?;
    if config.activation == GatedActivation::SquaredRelu {
        let activation = activation::name(config.activation);
        metadata.insert(format!("{name}.{}", activation::KEY), activation)?;
    }
    if let Some(tokenizer) = &options.tokenizer {
        metadata.extend(tokenizer.clone())?;
    }
    tokenizer::add_special_ids(model, &mut metadata)?;
    Ok(metadata)
}

/// The name of the architecture: the one of bitnet.cpp with squared ReLU, where a program of its time
/// computes it.
fn name(
    config: &BitNetLmConfig,
    architecture: Architecture,
    options: &SaveOptions,
) -> &'static str {
    let squared_relu = config.activation == GatedActivation::SquaredRelu;
    match (architecture, options.weights) {
        (Architecture::BitNet, GgmlType::I2_S) if squared_relu => "bitnet-b1.58",
        _ => architecture.name(),
    }
}

/// `general.file_type`, llama.cpp's `LLAMA_FTYPE`.
fn file_type(weights: GgmlType) -> u32 {
    match weights {
        GgmlType::F32 => 0,
        GgmlType::Q8_0 => 7,
        GgmlType::BF16 => 32,
        GgmlType::TQ1_0 => 36,
        GgmlType::TQ2_0 => 37,
        GgmlType::I2_S => 40,
        _ => 1,
    }
}
