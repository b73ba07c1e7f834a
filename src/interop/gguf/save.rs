use std::{borrow::Cow, path::Path};

use bitnet_burn_kernels::packing::unpack_rows;

use super::{
    Architecture, BoxedError, GgmlType, GgufError, GgufMetadata, GgufShape, GgufWriter,
    TernaryScales, activation,
    architecture::{pair_rows, row_len, scale_name, tensor_name, turned_heads},
    block::unstorable,
    encode, encode_ternary,
    rope::{self, WrittenScaling},
    tokenizer,
};
use crate::{
    interop::{CausalLm, PretrainedLm, parameters},
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, PackedBitLinear, QkNorm},
    qat::PackedWeight,
};

/// How a model is written.
#[derive(Debug, Clone)]
pub struct SaveOptions {
    weights: GgmlType,
    embeddings: GgmlType,
    tokenizer: GgufMetadata,
    name: Option<String>,
    squared_relu: bool,
}

impl SaveOptions {
    /// Projections of a type: F32, F16, BF16 or Q8_0, and for quantised models TQ1_0, TQ2_0 and
    /// I2_S, which is bitnet.cpp's alone: its number means another type, or none, to llama.cpp.
    ///
    /// Files of I2_S are as bitnet.cpp reads them:
    ///
    /// | model | architecture | bitnet.cpp computes |
    /// |---|---|---|
    /// | norms before the last projections, SiLU | `bitnet` | SiLU |
    /// | norms before the last projections, squared ReLU | `bitnet-b1.58` | squared ReLU until July 2026, SiLU since |
    /// | no such norms, SiLU | `llama` | SiLU |
    /// | no such norms, squared ReLU | refused | |
    ///
    /// The graphs are `build_bitnet` and `build_bitnet_158` in `src/llama.cpp` of the fork
    /// Eddie-Wang1120/llama.cpp, which bitnet.cpp was built with until July 2026, and
    /// `src/models/bitnet.cpp` of isHuangXin/llama.cpp since. None of them reads a key for the
    /// activation; `bitnet-b1.58.hidden_activation` is written for this crate, and for programs to come.
    pub fn new(weights: GgmlType) -> Self {
        let embeddings = match weights {
            GgmlType::F32 | GgmlType::BF16 | GgmlType::Q8_0 => weights,
            _ => GgmlType::F16,
        };
        Self {
            weights,
            embeddings,
            tokenizer: GgufMetadata::new(),
            name: None,
            squared_relu: false,
        }
    }

    /// Type of the embedding table and the head. Default: that of the projections, if it is of floats,
    /// or F16.
    pub fn with_embeddings(mut self, embeddings: GgmlType) -> Self {
        self.embeddings = embeddings;
        self
    }

    /// The tokenizer, as [`tokenizer::to_metadata`](super::tokenizer::to_metadata) makes it. llama.cpp
    /// opens no file without one.
    pub fn with_tokenizer(mut self, tokenizer: GgufMetadata) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// Name of the model.
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Whether a model with squared ReLU may be written, with `ARCHITECTURE.hidden_activation`
    /// `relu2`: llama.cpp does not read that key for `bitnet` and `llama` and computes SiLU
    /// (`src/models/bitnet.cpp`), so that what it says is wrong. [`load`](super::load) reads such files,
    /// and bitnet.cpp those of I2_S, as [`new`](Self::new) says.
    pub fn with_squared_relu(mut self, squared_relu: bool) -> Self {
        self.squared_relu = squared_relu;
        self
    }
}

/// Writes a model for llama.cpp: as `bitnet` if it has norms before the last projections, as `qwen3` if
/// it has norms of queries and keys, as `qwen2` if queries, keys and values have biases and nothing else
/// has, and else as `llama`.
///
/// The scales of quantised weights are those that were trained. `bitnet` has a place for them, so that
/// the weights are codes -1, 0 and 1 and nothing is rounded; for `llama` they are multiplied into the
/// weights, rounded to half precision unless the type is F32.
///
/// llama.cpp does not quantise activations per token: with F32, F16 and BF16 weights not at all, with
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
    add_floats(&mut writer, model, architecture, options)?;
    match &model.lm {
        CausalLm::Full(_) => {}
        CausalLm::Qat(lm) => add_ternary(&mut writer, &lm.pack(), model, architecture, options)?,
        CausalLm::Packed(lm) => add_ternary(&mut writer, lm, model, architecture, options)?,
    }
    writer.write(path)
}

fn refused(reason: impl Into<String>) -> GgufError {
    GgufError::Model {
        reason: reason.into(),
    }
}

fn check(
    model: &PretrainedLm,
    architecture: Architecture,
    options: &SaveOptions,
) -> Result<(), GgufError> {
    let config = &model.config;
    if config.activation == GatedActivation::SquaredRelu && !options.squared_relu {
        return Err(refused(
            "the model has squared ReLU, and llama.cpp computes SiLU whatever the file says, as \
             bitnet.cpp does since July 2026: their outputs would be wrong. Train with SiLU, or allow \
             it for programs that know better (SaveOptions::with_squared_relu)",
        ));
    }
    let squared_relu = config.activation == GatedActivation::SquaredRelu;
    if squared_relu && architecture == Architecture::Llama && options.weights == GgmlType::I2_S {
        return Err(refused(
            "no program that reads I2_S computes squared ReLU without norms before the last \
             projections: choose TQ2_0, which is read here",
        ));
    }
    if architecture == Architecture::BitNet && !config.tied_embeddings {
        return Err(refused(
            "llama.cpp's bitnet takes the embedding table for the head, and this model has a head of \
             its own: train with tied_embeddings",
        ));
    }
    check_heads(config, architecture)?;
    rope::check(config, architecture)?;
    match &model.lm {
        CausalLm::Full(_) if options.weights.is_ternary() => Err(refused(format!(
            "{} holds codes -1, 0 and 1, and the weights are in full precision: make a BitNet model \
             of them and train it, or choose F16",
            options.weights
        ))),
        CausalLm::Qat(lm) => {
            check_packable(lm.projections().map(|(n, p)| (n, p.is_b1_58_weight())))
        }
        CausalLm::Packed(lm) => {
            check_packable(lm.projections().map(|(n, p)| (n, p.is_b1_58_weight())))
        }
        CausalLm::Full(_) => Ok(()),
    }
}

/// Refuses what llama.cpp's graph of the architecture does not compute.
fn check_heads(config: &BitNetLmConfig, architecture: Architecture) -> Result<(), GgufError> {
    let bias = match architecture {
        Architecture::Llama | Architecture::Qwen2 => true,
        Architecture::BitNet | Architecture::Qwen3 => config.bias.is_none(),
    };
    let qk_norm = config.qk_norm == QkNorm::None || architecture == Architecture::Qwen3;
    let share = config.d_model == config.head_size() * config.n_heads;
    let whole = config.rotary().rotary_size() == config.head_size();
    for (what, fits) in [
        ("these biases", bias),
        ("norms of queries and keys", qk_norm),
        (
            "heads of another size than d_model / n_heads",
            share || architecture.has_head_size(),
        ),
        (
            "heads that are turned in part",
            whole || architecture.has_partial_rotary(),
        ),
    ] {
        if !fits {
            let name = architecture.name();
            return Err(refused(format!(
                "the model has {what}, and llama.cpp's {name} has none"
            )));
        }
    }
    Ok(())
}

fn check_packable(mut projections: impl Iterator<Item = (String, bool)>) -> Result<(), GgufError> {
    match projections.find(|(_, packable)| !packable) {
        Some((name, _)) => Err(refused(format!(
            "{name} is not quantised in full to -1, 0 and 1 with one scale, or its input is rotated"
        ))),
        None => Ok(()),
    }
}

fn metadata(
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
        let value = value.map_err(|_| refused(format!("{key} does not fit 32 bits")))?;
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
    metadata.extend(options.tokenizer.clone())?;
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

/// Adds all parameters that are floats in the file: norms as F32, as llama.cpp has them.
fn add_floats<'a>(
    writer: &mut GgufWriter<'a>,
    model: &'a PretrainedLm,
    architecture: Architecture,
    options: &SaveOptions,
) -> Result<(), GgufError> {
    let full = matches!(model.lm, CausalLm::Full(_));
    for (path, parameter) in parameters::floats(&model.lm) {
        let Some(name) = tensor_name(&path) else {
            continue;
        };
        let projection = path.ends_with("_proj.weight");
        if projection && !full {
            continue;
        }
        let ggml_type = match (parameter.shape.len(), projection) {
            (2, true) => options.weights,
            (2, false) => options.embeddings,
            _ => GgmlType::F32,
        };
        let shape = shape(&name, &parameter.shape)?;
        let heads = turned_heads(&path, &model.config);
        let heads = heads.filter(|_| architecture.has_paired_rows());
        writer.add(name.clone(), ggml_type, shape, move || {
            let values = (parameter.read)()?;
            let values = match heads {
                Some(heads) => pair_rows(&values, heads, row_len(&shape.row_major())),
                None => values,
            };
            check_finite(&name, ggml_type, &values)?;
            Ok(Cow::from(encode(&name, ggml_type, shape, &values)?))
        })?;
    }
    if let Some(factors) = WrittenScaling::of(&model.config).factors {
        let shape = shape(rope::FACTORS, &[factors.len()])?;
        let bytes = encode(rope::FACTORS, GgmlType::F32, shape, &factors)?;
        writer.add_bytes(rope::FACTORS, GgmlType::F32, shape, bytes)?;
    }
    Ok(())
}

/// Refuses what a training that went wrong has left, of which a program makes nothing but NaN.
fn check_finite(name: &str, ggml_type: GgmlType, values: &[f32]) -> Result<(), GgufError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(unstorable(name, ggml_type, index, values[index])),
    }
}

fn shape(name: &str, sizes: &[usize]) -> Result<GgufShape, GgufError> {
    let found = || sizes.iter().rev().map(|size| *size as u64).collect();
    GgufShape::from_row_major(sizes).ok_or_else(|| GgufError::Shape {
        tensor: name.to_string(),
        found: found(),
    })
}

fn add_ternary<'a>(
    writer: &mut GgufWriter<'a>,
    lm: &BitNetLm<PackedBitLinear>,
    model: &PretrainedLm,
    architecture: Architecture,
    options: &SaveOptions,
) -> Result<(), GgufError> {
    let ggml_type = options.weights;
    for (path, projection) in lm.projections() {
        let path = format!("{path}.weight");
        let name = tensor_name(&path).expect("every projection has a name");
        let weight = projection.weight.clone();
        let shape = shape(&name, &weight.dims())?;
        let gamma = weight.scale().map_err(device)?;
        check_finite(&name, GgmlType::F32, &[gamma])?;
        // I2_S has the scale in its blocks; beside it the programs that read it do not look.
        let beside = architecture == Architecture::BitNet && ggml_type != GgmlType::I2_S;
        if beside {
            let scale = scale_name(&name);
            let bytes = gamma.to_le_bytes().to_vec();
            writer.add_bytes(
                scale.clone(),
                GgmlType::F32,
                self::shape(&scale, &[1])?,
                bytes,
            )?;
        }
        let scale = if beside { 1.0 } else { gamma };
        let heads = turned_heads(&path, &model.config);
        let heads = heads.filter(|_| architecture.has_paired_rows());
        writer.add(name.clone(), ggml_type, shape, move || {
            let codes = codes(&weight, heads)?;
            let bytes = match ggml_type.is_ternary() {
                true => {
                    let scale = TernaryScales::Tensor(scale);
                    encode_ternary(&name, ggml_type, shape, &codes, scale)?
                }
                false => {
                    let values: Vec<f32> = codes.iter().map(|t| f32::from(*t) * scale).collect();
                    encode(&name, ggml_type, shape, &values)?
                }
            };
            Ok(bytes.into())
        })?;
    }
    Ok(())
}

/// The codes of a weight, row after row.
fn codes(weight: &PackedWeight, heads: Option<usize>) -> Result<Vec<i8>, BoxedError> {
    let [_, d_input] = weight.dims();
    let codes = unpack_rows(&weight.to_words()?, d_input);
    Ok(match heads {
        Some(heads) => pair_rows(&codes, heads, d_input),
        None => codes,
    })
}

fn device(source: burn::tensor::TensorReadError) -> GgufError {
    GgufError::Producer {
        tensor: "a packed weight".to_string(),
        source: Box::new(source),
    }
}
