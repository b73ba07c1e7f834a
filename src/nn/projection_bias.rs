use serde::{Deserialize, Serialize};

/// Projections of a decoder that have a bias. Biases are in full precision, also with quantized weights.
///
/// A missing value in a configuration is [`NONE`](Self::NONE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Option<Fields>")]
pub struct ProjectionBias {
    /// Biases of queries, keys and values.
    pub qkv: bool,
    /// Bias of the output of the attention.
    pub output: bool,
    /// Biases of the feed-forward block.
    pub feed_forward: bool,
}

impl ProjectionBias {
    /// No biases: BitNet, Llama, Mistral, Qwen3.
    pub const NONE: Self = Self::new(false, false, false);
    /// Biases of queries, keys and values: Qwen2.
    pub const QKV: Self = Self::new(true, false, false);
    /// Biases of all projections of the attention: `attention_bias` of Llama.
    pub const ATTENTION: Self = Self::new(true, true, false);

    /// Selects biases of queries, keys and values, of the attention output, and of the feed-forward block.
    pub const fn new(qkv: bool, output: bool, feed_forward: bool) -> Self {
        Self {
            qkv,
            output,
            feed_forward,
        }
    }

    /// Returns whether no projection has a bias.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// Serialized form. Deserialized as an option, a missing field is none.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    qkv: bool,
    output: bool,
    feed_forward: bool,
}

impl From<Option<Fields>> for ProjectionBias {
    fn from(fields: Option<Fields>) -> Self {
        fields.map_or(Self::NONE, |fields| {
            Self::new(fields.qkv, fields.output, fields.feed_forward)
        })
    }
}
