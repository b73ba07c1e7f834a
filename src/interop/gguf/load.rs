use std::path::Path;

use bitnet_burn_kernels::packing::pack_rows;
use burn::{module::Module, nn::Linear, tensor::Device};

use super::{
    GgufError, GgufOptions, GgufReader,
    model_config::{FileConfig, config},
    model_tensors::{ModelTensors, Ternary},
    tokenizer::{self, SpecialIds},
};
use crate::{
    interop::{CausalLm, PretrainedLm},
    nn::{BitNetLm, GatedActivation, PackedBitLinear},
    qat::PackedWeight,
};

/// How a file is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    /// How its tensors are read.
    pub gguf: GgufOptions,
    /// Longest sequence; `None` for what the file says.
    pub max_positions: Option<usize>,
    /// Activation of the feed-forward blocks, whatever the file says; `None` for the one that
    /// `ARCHITECTURE.hidden_activation` names, and for SiLU without that key, as llama.cpp computes.
    ///
    /// For `bitnet-b1.58` and `bitnet-25` programs differ, so that one of the two has to tell.
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

/// Loads a language model from a file of the architectures `bitnet`, `llama`, `qwen2` and `qwen3`.
///
/// If every projection has codes -1, 0 and 1 and one scale, in a ternary type or as floats that are
/// nothing else, the model is [`CausalLm::Packed`], and quantises activations per token as it was
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
    let FileConfig {
        architecture,
        lm: config,
        unknown_keys,
    } = config(reader, options)?;
    let lm: BitNetLm<Linear> = config.init(device);
    let file = ModelTensors {
        reader,
        architecture,
        config: &config,
    };
    let expected = file.expected(&lm);
    file.check(&expected)?;
    let lm = file.with_floats(lm)?;
    let lm = match file.ternary_projections(&lm)? {
        Some(mut weights) => {
            let device = device.clone().inner();
            let lm = lm.map_projections(|_, linear| {
                let Ternary {
                    codes,
                    shape,
                    scale,
                } = weights.next().expect("one for each");
                let words = pack_rows(&codes, shape[1]);
                let weight = PackedWeight::from_words(words, shape, scale, &device);
                let mut packed = PackedBitLinear::b1_58(weight);
                packed.bias = linear.bias.map(|bias| bias.valid());
                packed
            });
            CausalLm::Packed(lm)
        }
        None => CausalLm::Full(file.with_projections(lm)?),
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
