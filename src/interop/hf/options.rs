use std::path::PathBuf;

use burn::tensor::FloatDType;

use super::{Family, ScaleConvention};
use crate::quant::FourBitConfig;

/// Options to read a folder.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    pub(super) dtype: Option<FloatDType>,
    pub(super) scale_convention: Option<ScaleConvention>,
    pub(super) max_positions: Option<usize>,
}

impl LoadOptions {
    /// Reads everything as the folder says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Type of the parameters. Default, and with `None`: that of the file, where the device has it,
    /// and else `f32`.
    #[must_use]
    pub fn with_dtype(mut self, dtype: Option<FloatDType>) -> Self {
        self.dtype = dtype;
        self
    }

    /// What the scales of packed weights do; it wins over what the file says. Default, and with `None`:
    /// what the file says, without which packed weights are refused.
    #[must_use]
    pub fn with_scale_convention(mut self, convention: Option<ScaleConvention>) -> Self {
        self.scale_convention = convention;
        self
    }

    /// Longest sequence, to save the table of positions of a model that could read longer ones.
    /// Default, and with `None`: what the file says.
    #[must_use]
    pub fn with_max_positions(mut self, max_positions: Option<usize>) -> Self {
        self.max_positions = max_positions;
        self
    }
}

/// Form that weights are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightForm {
    /// Floats: full precision, or latent weights to train on with.
    Float(FloatDType),
    /// Codes of 2 bits, four in a byte, and a scale.
    Packed(ScaleConvention),
    /// Codes of 4 bits of bitsandbytes. Embedding, norms, biases and head are floats.
    FourBit {
        /// Codes and blocks, which must be those of a model in 4 bits.
        config: FourBitConfig,
        /// Type of the floats, and that of weights in full precision when they are quantized.
        dtype: FloatDType,
    },
}

impl WeightForm {
    /// Type of what is not in codes.
    pub(super) fn dtype(self) -> FloatDType {
        match self {
            Self::Float(dtype) | Self::FourBit { dtype, .. } => dtype,
            Self::Packed(_) => FloatDType::F32,
        }
    }
}

/// Options to write a folder.
#[derive(Debug, Clone, PartialEq)]
pub struct SaveOptions {
    pub(super) form: WeightForm,
    pub(super) family: Option<Family>,
    pub(super) max_shard_bytes: usize,
    pub(super) tokenizer: Option<PathBuf>,
    pub(super) overwrite: bool,
}

impl SaveOptions {
    /// Weights in a form, in a new folder with files of up to 5 GB, as transformers writes them.
    pub fn new(form: WeightForm) -> Self {
        Self {
            form,
            family: None,
            max_shard_bytes: 5_000_000_000,
            tokenizer: None,
            overwrite: false,
        }
    }

    /// Names of architecture and tensors. Default, and with `None`: those that transformers knows.
    #[must_use]
    pub fn with_family(mut self, family: Option<Family>) -> Self {
        self.family = family;
        self
    }

    /// Bytes of tensors in a file, unless a single one has more.
    #[must_use]
    pub fn with_max_shard_bytes(mut self, bytes: usize) -> Self {
        self.max_shard_bytes = bytes;
        self
    }

    /// Folder whose tokenizer files are copied. Default: none.
    #[must_use]
    pub fn with_tokenizer(mut self, folder: Option<PathBuf>) -> Self {
        self.tokenizer = folder;
        self
    }

    /// Whether a model in the folder is replaced. Default: no.
    #[must_use]
    pub fn with_overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}
