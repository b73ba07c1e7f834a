use std::{collections::BTreeSet, path::Path};

use bitnet_burn_kernels::packing::pack_rows;
use burn::{
    nn::Linear,
    tensor::{Device, TensorData},
};

use super::{
    Architecture, GgufError, GgufMetadata, GgufOptions, GgufReader, GgufTensor,
    architecture::{scale_name, tensor_name, turned_heads, unpair_rows},
    save::HIDDEN_ACT,
    tokenizer::SpecialIds,
};
use crate::{
    interop::{CausalLm, PretrainedLm, parameters},
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, PackedBitLinear, RopeScaling},
    quant::PackedWeight,
};

/// Bytes that the table of positions may take even where the weights take less.
const POSITION_BYTES: u64 = 1 << 26;

/// How a file is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    /// How its tensors are read.
    pub gguf: GgufOptions,
    /// Longest sequence; `None` for what the file says.
    pub max_positions: Option<usize>,
    /// Activation of the feed-forward blocks, which the format does not know; `None` for SiLU, as
    /// llama.cpp computes, unless this crate has written another into the file.
    pub activation: Option<GatedActivation>,
}

impl LoadOptions {
    /// Everything as the file says.
    pub fn new() -> Self {
        Self::default()
    }

    /// How tensors are read.
    pub fn with_gguf(mut self, gguf: GgufOptions) -> Self {
        self.gguf = gguf;
        self
    }

    /// Longest sequence.
    pub fn with_max_positions(mut self, max_positions: Option<usize>) -> Self {
        self.max_positions = max_positions;
        self
    }

    /// Activation of the feed-forward blocks.
    pub fn with_activation(mut self, activation: Option<GatedActivation>) -> Self {
        self.activation = activation;
        self
    }
}

/// Loads a language model from a file of the architectures `bitnet` and `llama`.
///
/// If every projection has codes -1, 0 and 1 and one scale, in a ternary type or as floats that are
/// nothing else, the model is [`CausalLm::Packed`], and quantises activations per token as it was
/// trained; otherwise [`CausalLm::Full`], of f32. Files that [`save`](super::save) wrote as `bitnet` have
/// the same logits, bit for bit, where embeddings are F32.
///
/// # Errors
///
/// If the file cannot be read, has another architecture, or tensors are missing, of the wrong shape, of a
/// type without a codec, or unknown.
pub fn load(
    path: impl AsRef<Path>,
    options: &LoadOptions,
    device: &Device,
) -> Result<PretrainedLm, GgufError> {
    let path = path.as_ref();
    let reader = GgufReader::open_with(path, &options.gguf)?;
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
    let (architecture, config) = config(reader, options)?;
    let lm: BitNetLm<Linear> = config.init(device);
    let file = File {
        reader,
        architecture,
        config: &config,
    };
    let expected = file.expected(&lm);
    file.check(&expected)?;
    let (lm, error) = file.with_floats(lm);
    if let Some(error) = error {
        return Err(error);
    }
    let lm = match file.ternary_projections(&lm)? {
        Some(mut weights) => {
            let device = device.clone().inner();
            let lm = lm.map_projections(|_, _| {
                let Ternary {
                    codes,
                    shape,
                    scale,
                } = weights.next().expect("one for each");
                let words = pack_rows(&codes, shape[1]);
                PackedBitLinear::b1_58(PackedWeight::from_words(words, shape, scale, &device))
            });
            CausalLm::Packed(lm)
        }
        None => {
            let (lm, error) = file.with_projections(lm);
            if let Some(error) = error {
                return Err(error);
            }
            CausalLm::Full(lm)
        }
    };
    let ids = SpecialIds::from_metadata(reader.metadata())?;
    Ok(PretrainedLm {
        config,
        lm,
        bos_token_id: ids.bos,
        eos_token_ids: ids.eos.into_iter().collect(),
    })
}

fn wrong(reason: impl Into<String>) -> GgufError {
    GgufError::Model {
        reason: reason.into(),
    }
}

/// Architecture and sizes.
fn config(
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
        || !d_model.is_multiple_of(2 * n_heads)
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
    let table = config.max_positions as u128 * (d_model / n_heads) as u128 * 4;
    if table > u128::from(bytes.max(POSITION_BYTES)) {
        return Err(wrong(format!(
            "context_length is {}, whose table takes {table} bytes, more than the weights: set \
             LoadOptions::max_positions",
            config.max_positions
        )));
    }
    Ok(())
}

/// A weight of codes.
struct Ternary {
    codes: Vec<i8>,
    shape: [usize; 2],
    scale: f32,
}

/// A tensor that the architecture has.
struct Expected {
    path: String,
    name: String,
    /// `[d_output, d_input]` of matrices.
    shape: Vec<usize>,
}

struct File<'a> {
    reader: &'a GgufReader,
    architecture: Architecture,
    config: &'a BitNetLmConfig,
}

impl File<'_> {
    fn expected(&self, lm: &BitNetLm<Linear>) -> Vec<Expected> {
        let mut expected = Vec::new();
        // Asks for every parameter, and puts none in.
        parameters::with_floats(lm.clone(), |path, shape| {
            let mut shape = shape.to_vec();
            if parameters::is_linear(path) {
                shape.reverse();
            }
            if let Some(name) = tensor_name(path) {
                let path = path.to_string();
                expected.push(Expected { path, name, shape });
            }
            None
        });
        expected
    }

    /// Lists everything about the tensors that is not as the metadata say.
    fn check(&self, expected: &[Expected]) -> Result<(), GgufError> {
        let mut problems = Vec::new();
        let mut known = BTreeSet::from(["rope_freqs.weight".to_string()]);
        for Expected { path, name, shape } in expected {
            known.insert(name.clone());
            if path.ends_with("_proj.weight") {
                known.insert(scale_name(name));
            }
            match self.reader.tensor(name) {
                Err(_) => problems.push(format!("{name}: missing, expected {shape:?}")),
                Ok(tensor) if tensor.shape().row_major() != *shape => problems.push(format!(
                    "{name}: expected shape {shape:?}, found {:?}",
                    tensor.shape().row_major()
                )),
                Ok(tensor) if !tensor.ggml_type().has_codec() => problems.push(format!(
                    "{name}: its type {} is not read here",
                    tensor.ggml_type()
                )),
                Ok(_) => {}
            }
        }
        let unknown = self
            .reader
            .tensors()
            .filter(|tensor| !known.contains(tensor.name()));
        problems.extend(
            unknown.map(|tensor| format!("{}: not part of this architecture", tensor.name())),
        );
        if self.reader.tensor("rope_freqs.weight").is_ok() {
            problems
                .push("rope_freqs.weight: rope scaling by factors is not read here".to_string());
        }
        match problems.is_empty() {
            true => Ok(()),
            false => Err(wrong(format!(
                "{} tensors are not as the metadata say:\n  {}",
                problems.len(),
                problems.join("\n  ")
            ))),
        }
    }

    fn tensor(&self, path: &str) -> Result<GgufTensor<'_>, GgufError> {
        self.reader.tensor(&tensor_name(path).unwrap_or_default())
    }

    /// Everything but the projections.
    fn with_floats(&self, lm: BitNetLm<Linear>) -> (BitNetLm<Linear>, Option<GgufError>) {
        self.with(lm, |path| !path.ends_with("_proj.weight"))
    }

    fn with_projections(&self, lm: BitNetLm<Linear>) -> (BitNetLm<Linear>, Option<GgufError>) {
        self.with(lm, |path| path.ends_with("_proj.weight"))
    }

    fn with(
        &self,
        lm: BitNetLm<Linear>,
        wanted: impl Fn(&str) -> bool,
    ) -> (BitNetLm<Linear>, Option<GgufError>) {
        let mut failure = None;
        let lm = parameters::with_floats(lm, |path, shape| {
            if !wanted(path) || failure.is_some() {
                return None;
            }
            match self.values(path) {
                Ok(values) if parameters::is_linear(path) => {
                    Some(TensorData::new(transposed(&values, shape), shape))
                }
                Ok(values) => Some(TensorData::new(values, shape)),
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        });
        (lm, failure)
    }

    /// The numbers of a tensor in the order of rows of this crate, with the scale beside them.
    fn values(&self, path: &str) -> Result<Vec<f32>, GgufError> {
        let tensor = self.tensor(path)?;
        let mut values = self.unpaired(path, &tensor, tensor.decode()?);
        if let Some(scale) = self.scale_beside(&tensor)? {
            values.iter_mut().for_each(|value| *value *= scale);
        }
        Ok(values)
    }

    fn unpaired<T: Copy>(&self, path: &str, tensor: &GgufTensor<'_>, values: Vec<T>) -> Vec<T> {
        match turned_heads(path, self.config) {
            Some(heads) if self.architecture.has_paired_rows() => {
                unpair_rows(&values, heads, tensor.shape().row_len() as usize)
            }
            _ => values,
        }
    }

    fn scale_beside(&self, tensor: &GgufTensor<'_>) -> Result<Option<f32>, GgufError> {
        let Ok(scale) = self.reader.tensor(&scale_name(tensor.name())) else {
            return Ok(None);
        };
        match scale.decode()?.as_slice() {
            [scale] if scale.is_finite() && *scale > 0.0 => Ok(Some(*scale)),
            found => Err(wrong(format!(
                "{}: expected one positive scale, found {found:?}",
                scale.name()
            ))),
        }
    }

    /// The projections in their order as codes and scales, if all of them are.
    fn ternary_projections(
        &self,
        lm: &BitNetLm<Linear>,
    ) -> Result<Option<std::vec::IntoIter<Ternary>>, GgufError> {
        let mut weights = Vec::new();
        for (path, _) in lm.projections() {
            match self.ternary(&format!("{path}.weight"))? {
                Some(weight) => weights.push(weight),
                None => return Ok(None),
            }
        }
        Ok(Some(weights.into_iter()))
    }

    fn ternary(&self, path: &str) -> Result<Option<Ternary>, GgufError> {
        let tensor = self.tensor(path)?;
        let found = match tensor.ggml_type().is_ternary() {
            true => {
                let ternary = tensor.decode_ternary()?;
                let scale = ternary.tensor_scale();
                scale.map(|scale| (ternary.into_codes(), scale))
            }
            false => as_codes(&tensor.decode()?),
        };
        let Some((codes, inside)) = found else {
            return Ok(None);
        };
        let scale = inside * self.scale_beside(&tensor)?.unwrap_or(1.0);
        if !(scale.is_finite() && scale > 0.0) {
            return Err(wrong(format!("{path}: a scale is positive, found {scale}")));
        }
        let codes = self.unpaired(path, &tensor, codes);
        let shape = [
            tensor.shape().rows() as usize,
            tensor.shape().row_len() as usize,
        ];
        Ok(Some(Ternary {
            codes,
            shape,
            scale,
        }))
    }
}

/// Numbers that are a scale times -1, 0 and 1, as codes and the scale; `None` for others.
fn as_codes(values: &[f32]) -> Option<(Vec<i8>, f32)> {
    let scale = values.iter().find(|value| **value != 0.0);
    // Zeros have any scale.
    let scale = scale.map_or(1.0, |value| value.abs());
    let code = |value: &f32| match *value {
        0.0 => Some(0),
        value if value == scale => Some(1),
        value if value == -scale => Some(-1),
        _ => None,
    };
    let codes: Option<Vec<i8>> = values.iter().map(code).collect();
    codes.map(|codes| (codes, scale))
}

/// `[d_input, d_output]` of rows `[d_output, d_input]`.
fn transposed(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let (d_input, d_output) = (shape[0], shape[1]);
    let mut transposed = vec![0.0; values.len()];
    for (row, values) in values.chunks_exact(d_input.max(1)).enumerate() {
        for (column, value) in values.iter().enumerate() {
            transposed[column * d_output + row] = *value;
        }
    }
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_codes_are_found() {
        let found = as_codes(&[0.0, 0.5, -0.5, -0.0]);
        assert_eq!(found, Some((vec![0, 1, -1, 0], 0.5)));
        assert_eq!(as_codes(&[0.0, 0.5, -0.25]), None);
        assert_eq!(as_codes(&[0.0; 3]), Some((vec![0; 3], 1.0)));
    }
}
