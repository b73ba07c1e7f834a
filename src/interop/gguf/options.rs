use super::{Architecture, GgmlType, GgufMetadata};
use crate::nn::GatedActivation;

/// Options to read a file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    pub(super) i2_s: bool,
    pub(super) max_positions: Option<usize>,
    pub(super) activation: Option<GatedActivation>,
}

impl LoadOptions {
    /// Reads everything as the file says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether tensors of type 36 are read as [`I2_S`](GgmlType::I2_S), which they are in files of
    /// bitnet.cpp alone. Default: no, such tensors are an error.
    #[must_use]
    pub fn with_i2_s(mut self, i2_s: bool) -> Self {
        self.i2_s = i2_s;
        self
    }

    /// Longest sequence, to save the table of positions of a model that could read longer ones.
    /// Default, and with `None`: what the file says.
    #[must_use]
    pub fn with_max_positions(mut self, max_positions: Option<usize>) -> Self {
        self.max_positions = max_positions;
        self
    }

    /// Activation of the feed-forward blocks; it wins over what the file says. Default, and with
    /// `None`: the one that `ARCHITECTURE.hidden_activation` names, and SiLU without that key, as
    /// llama.cpp computes.
    ///
    /// For `bitnet-b1.58` and `bitnet-25` programs differ, so that the file or the option has to tell.
    #[must_use]
    pub fn with_activation(mut self, activation: Option<GatedActivation>) -> Self {
        self.activation = activation;
        self
    }
}

/// Options to write a file.
#[derive(Debug, Clone)]
pub struct SaveOptions {
    pub(super) weights: GgmlType,
    pub(super) embeddings: Option<GgmlType>,
    pub(super) tokenizer: Option<GgufMetadata>,
    pub(super) name: Option<String>,
    pub(super) squared_relu: bool,
    pub(super) scales_in_weights: bool,
}

impl SaveOptions {
    /// Projections of a type: F32, F16, BF16 or Q8_0, and for quantized models TQ1_0, TQ2_0 and
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
        Self {
            weights,
            embeddings: None,
            tokenizer: None,
            name: None,
            squared_relu: false,
            scales_in_weights: false,
        }
    }

    /// Type of the embedding table and the head. Default, and with `None`: that of the projections, if
    /// it is of floats, or F16.
    #[must_use]
    pub fn with_embeddings(mut self, embeddings: Option<GgmlType>) -> Self {
        self.embeddings = embeddings;
        self
    }

    /// Metadata of the tokenizer, as [`tokenizer::to_metadata`](super::tokenizer::to_metadata) makes
    /// them. llama.cpp opens no file without one. Default: none.
    #[must_use]
    pub fn with_tokenizer(mut self, tokenizer: Option<GgufMetadata>) -> Self {
        self.tokenizer = tokenizer;
        self
    }

    /// Name of the model. Default: none.
    #[must_use]
    pub fn with_name(mut self, name: Option<String>) -> Self {
        self.name = name;
        self
    }

    /// Whether a model with squared ReLU may be written, with `ARCHITECTURE.hidden_activation`
    /// `relu2`: llama.cpp does not read that key for `bitnet` and `llama` and computes SiLU
    /// (`src/models/bitnet.cpp`), so that what it says is wrong. [`load`](super::load) reads such files,
    /// and bitnet.cpp those of I2_S, as [`new`](Self::new) says.
    #[must_use]
    pub fn with_squared_relu(mut self, squared_relu: bool) -> Self {
        self.squared_relu = squared_relu;
        self
    }

    /// Sets whether the scales of quantized weights are multiplied into them for `bitnet`, too, as for the other
    /// architectures, and rounded to half precision unless the type is F32. Default: no, they are beside them.
    ///
    /// A base for LoRA adapters needs it: llama.cpp multiplies the scale beside a weight by the sum of its product and
    /// that of the adapter (`build_lora_mm` in `src/llama-graph.cpp`; later versions only by the first).
    #[must_use]
    pub fn with_scales_in_weights(mut self, scales_in_weights: bool) -> Self {
        self.scales_in_weights = scales_in_weights;
        self
    }

    /// Returns whether the scales of weights are tensors beside them.
    pub(super) fn has_scales_beside(&self, architecture: Architecture) -> bool {
        // I2_S has the scale in its blocks; beside it the programs that read it do not look.
        let in_weights = self.scales_in_weights || self.weights == GgmlType::I2_S;
        architecture == Architecture::BitNet && !in_weights
    }

    /// Type of the embedding table and the head.
    pub(super) fn embeddings(&self) -> GgmlType {
        self.embeddings.unwrap_or(match self.weights {
            GgmlType::F32 | GgmlType::BF16 | GgmlType::Q8_0 => self.weights,
            _ => GgmlType::F16,
        })
    }
}
