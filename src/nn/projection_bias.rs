use serde::{Deserialize, Serialize};

/// The projections of a decoder that have a bias. Biases are in full precision, also where the weights are
/// quantised.
///
/// A value that is missing in a configuration is [`NONE`](Self::NONE).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(from = "Option<Fields>")]
pub struct ProjectionBias {
    /// Those of queries, keys and values.
    pub qkv: bool,
    /// That of the output of the attention.
    pub output: bool,
    /// Those of the feed-forward block.
    pub feed_forward: bool,
}

impl ProjectionBias {
    /// No bias at all: BitNet, Llama, Mistral, Qwen3.
    pub const NONE: Self = Self::new(false, false, false);
    /// Biases of queries, keys and values: Qwen2.
    pub const QKV: Self = Self::new(true, false, false);
    /// Biases of all projections of the attention: `attention_bias` of Llama.
    pub const ATTENTION: Self = Self::new(true, true, false);

    /// Biases of queries, keys and values, of the output of the attention, and of the feed-forward block.
    pub const fn new(qkv: bool, output: bool, feed_forward: bool) -> Self {
        Self {
            qkv,
            output,
            feed_forward,
        }
    }

    /// Whether no projection has one.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }
}

/// As it is written. Read through an option, a field that is missing is none.
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
