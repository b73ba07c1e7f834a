use crate::nn::{BitNetLmConfig, ProjectionBias, QkNorm};

/// Architectures of llama.cpp that models are written as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Architecture {
    /// `bitnet`: norms before the last projections of the blocks, SiLU, a head that is the embedding
    /// table.
    BitNet,
    /// `llama`: no such norms, SiLU; Mistral, too, and biases of the attention or of all projections.
    Llama,
    /// `qwen2`: as `llama` with biases of queries, keys and values.
    Qwen2,
    /// `qwen3`: as `llama` with norms of the queries and keys of each head.
    Qwen3,
}

impl Architecture {
    /// Names that are read, for an error.
    pub const NAMES: &str = "bitnet, bitnet-b1.58, bitnet-25, llama, qwen2 or qwen3";

    /// Architecture that a model is written as.
    pub fn for_config(config: &BitNetLmConfig) -> Self {
        match (config.sub_norm, config.qk_norm, config.bias) {
            (true, _, _) => Self::BitNet,
            (false, QkNorm::PerHead, _) => Self::Qwen3,
            (false, _, ProjectionBias::QKV) => Self::Qwen2,
            _ => Self::Llama,
        }
    }

    /// Architecture of a name in `general.architecture`; the names of bitnet.cpp's fork mean the
    /// same.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "bitnet" | "bitnet-25" | "bitnet-b1.58" => Some(Self::BitNet),
            "llama" => Some(Self::Llama),
            "qwen2" => Some(Self::Qwen2),
            "qwen3" => Some(Self::Qwen3),
            _ => None,
        }
    }

    /// Name in `general.architecture`, which keys begin with.
    pub fn name(self) -> &'static str {
        match self {
            Self::BitNet => "bitnet",
            Self::Llama => "llama",
            Self::Qwen2 => "qwen2",
            Self::Qwen3 => "qwen3",
        }
    }

    /// Whether rows of queries and keys that are rotated together are side by side, instead of half a
    /// head apart.
    pub fn has_interleaved_rows(self) -> bool {
        self == Self::Llama
    }

    /// Whether llama.cpp divides frequencies by `rope_freqs.weight`.
    pub fn has_rope_factors(self) -> bool {
        self == Self::Llama
    }

    /// Whether heads may have another size than `d_model / n_heads`.
    pub fn has_head_size(self) -> bool {
        matches!(self, Self::Llama | Self::Qwen3)
    }

    /// Whether a part of a head may be rotated: llama.cpp refuses it for the other ones.
    pub fn has_partial_rotary(self) -> bool {
        self == Self::BitNet
    }
}
