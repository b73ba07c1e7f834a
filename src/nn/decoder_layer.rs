use burn::{
    module::Module,
    nn::{RmsNorm, RmsNormConfig},
    tensor::{Device, Tensor},
};

use super::{
    BitLinear, BitNetLmConfig, KeyValues, Projection, RotaryEmbedding, TrainableProjection,
    attention::BitNetAttention, feed_forward::FeedForward, layer_cache::LayerCache,
    norm::normalize,
};

/// Decoder block: `H = X + attention(norm(X))`, `Y = H + feed_forward(norm(H))`.
#[derive(Module, Debug)]
pub struct DecoderLayer<P: Projection = BitLinear> {
    /// Norm before the attention.
    pub input_layernorm: RmsNorm,
    /// Attention block.
    pub self_attn: BitNetAttention<P>,
    /// Norm before the feed-forward block.
    pub post_attention_layernorm: RmsNorm,
    /// Feed-forward block.
    pub mlp: FeedForward<P>,
}

impl<P: TrainableProjection> DecoderLayer<P> {
    /// Creates a block of a model.
    ///
    /// # Panics
    ///
    /// As [`BitNetAttention::init`].
    #[track_caller]
    pub fn init(config: &BitNetLmConfig, device: &Device) -> Self {
        Self {
            input_layernorm: config.norm(config.d_model, device),
            self_attn: BitNetAttention::init(config, device),
            post_attention_layernorm: config.norm(config.d_model, device),
            mlp: FeedForward::init(config, device),
        }
    }
}

impl<P: Projection> DecoderLayer<P> {
    /// Applies the block to the positions after the past, or from the first on.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, positions, d_model]`
    /// - past: `[batch or 1, n_kv_heads, positions, d_head]`
    ///
    /// # Panics
    ///
    /// As [`BitNetAttention::forward`].
    #[track_caller]
    pub fn forward(
        &self,
        x: Tensor<3>,
        rotary: &RotaryEmbedding,
        past: Option<KeyValues>,
    ) -> Tensor<3> {
        let hidden = normalize(&self.input_layernorm, x.clone());
        let attention = self.self_attn.forward(hidden, rotary, past);
        self.feed_forward(x + attention)
    }

    /// Applies the block to the positions from `start`.
    pub(super) fn decode(
        &self,
        x: Tensor<3>,
        rotary: &RotaryEmbedding,
        start: usize,
        cache: &mut LayerCache,
    ) -> Tensor<3> {
        let hidden = normalize(&self.input_layernorm, x.clone());
        let attention = self.self_attn.decode(hidden, rotary, start, cache);
        self.feed_forward(x + attention)
    }

    /// Replaces each projection; `map` receives its name, such as `self_attn.q_proj`.
    ///
    /// # Errors
    ///
    /// The first error of `map`.
    pub fn try_map_projections<Q: Projection, E>(
        self,
        mut map: impl FnMut(&str, P) -> Result<Q, E>,
    ) -> Result<DecoderLayer<Q>, E> {
        Ok(DecoderLayer {
            input_layernorm: self.input_layernorm,
            self_attn: self
                .self_attn
                .try_map_projections(|name, p| map(&format!("self_attn.{name}"), p))?,
            post_attention_layernorm: self.post_attention_layernorm,
            mlp: self
                .mlp
                .try_map_projections(|name, p| map(&format!("mlp.{name}"), p))?,
        })
    }

    /// Returns the projections by name.
    pub fn projections(&self) -> impl Iterator<Item = (String, &P)> {
        let attention = self.self_attn.projections().into_iter();
        let mlp = self.mlp.projections().into_iter();
        let attention = attention.map(|(name, p)| (format!("self_attn.{name}"), p));
        attention.chain(mlp.map(|(name, p)| (format!("mlp.{name}"), p)))
    }

    /// Inserts norms before the last projections that have none. They start with weights of 1.
    pub(super) fn insert_sub_norms(mut self, epsilon: f64) -> Self {
        let device = self.input_layernorm.gamma.device();
        let (d_heads, d_ff) = (self.self_attn.heads_size(), self.mlp.d_ff());
        let norm = |d| RmsNormConfig::new(d).with_epsilon(epsilon).init(&device);
        let attention = &mut self.self_attn.attn_sub_norm;
        attention.get_or_insert_with(|| norm(d_heads));
        self.mlp.ffn_sub_norm.get_or_insert_with(|| norm(d_ff));
        self
    }

    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = normalize(&self.post_attention_layernorm, x.clone());
        x + self.mlp.forward(hidden)
    }
}
