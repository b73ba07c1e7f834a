use burn::{
    module::Module,
    nn::{Linear, RmsNorm},
    tensor::{Bool, Tensor},
};

use super::{
    BitLinear, BitNetAttention, FeedForward, PackedBitLinear, Projection, RotaryEmbedding,
    kv_cache::LayerCache, projection::norm_saved_bytes,
};
use crate::quant::QatScheme;

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

impl<P: Projection> DecoderLayer<P> {
    /// Applies the block; see [`BitNetAttention::forward`] for the mask.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, positions, d_model]`
    pub fn forward(
        &self,
        x: Tensor<3>,
        rotary: &RotaryEmbedding,
        mask: Tensor<2, Bool>,
    ) -> Tensor<3> {
        let hidden = self.input_layernorm.forward(x.clone());
        let attention = self.self_attn.forward(hidden, rotary, mask);
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
        let hidden = self.input_layernorm.forward(x.clone());
        let attention = self.self_attn.decode(hidden, rotary, start, cache);
        self.feed_forward(x + attention)
    }

    /// Bytes that are kept for the gradients of a batch.
    pub(super) fn saved_bytes(&self, batch: usize, positions: usize) -> usize {
        let [d_model] = self.input_layernorm.gamma.shape().dims();
        let tokens = batch * positions;
        2 * norm_saved_bytes(tokens * d_model)
            + self.self_attn.saved_bytes(batch, positions)
            + self.mlp.saved_bytes(tokens, d_model)
    }

    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        let hidden = self.post_attention_layernorm.forward(x.clone());
        x + self.mlp.forward(hidden)
    }
}

impl DecoderLayer {
    /// The block for inference, with packed weights.
    pub fn pack(&self) -> DecoderLayer<PackedBitLinear> {
        DecoderLayer {
            input_layernorm: self.input_layernorm.valid(),
            self_attn: self.self_attn.pack(),
            post_attention_layernorm: self.post_attention_layernorm.valid(),
            mlp: self.mlp.pack(),
        }
    }
}

impl DecoderLayer<Linear> {
    /// The block with the same parameters and quantised projections; see
    /// [`BitNetLm::into_bitnet`](super::BitNetLm::into_bitnet).
    ///
    /// # Panics
    ///
    /// If the weight granularity of the scheme does not fit a projection.
    pub fn into_bitnet(self, scheme: &QatScheme) -> DecoderLayer {
        DecoderLayer {
            input_layernorm: self.input_layernorm,
            self_attn: self.self_attn.into_bitnet(scheme),
            post_attention_layernorm: self.post_attention_layernorm,
            mlp: self.mlp.into_bitnet(scheme),
        }
    }
}
