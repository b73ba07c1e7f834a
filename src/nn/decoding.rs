//! Decoding with a key-value cache.

use burn::tensor::{Int, Tensor};

use super::{BitNetLm, KvCache, Projection, causal_lm::BitNetModel, norm::normalize};

impl<P: Projection> BitNetModel<P> {
    /// Computes the normalized hidden states of further positions of the sequences in the cache.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, positions]`
    /// - output: `[batch, positions, d_model]`
    ///
    /// # Panics
    ///
    /// If the cache has no space for them.
    #[track_caller]
    pub fn decode(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let [batch, positions] = tokens.dims();
        let start = cache.len();
        let mut x = self.embed(tokens);
        for (layer, cache) in self.layers.iter().zip(cache.layers(batch, positions)) {
            x = layer.decode(x, &self.rotary, start, cache);
        }
        cache.advance(positions);
        normalize(&self.norm, x)
    }
}

impl<P: Projection> BitNetLm<P> {
    /// Computes the logits of the next token, after further tokens of the sequences in the cache: a whole
    /// prompt, or one token of each.
    ///
    /// The result is that of [`forward`](Self::forward) at the last position, without recomputing the cached
    /// positions. Sums run in another order, so that logits differ by rounding, or by one quantization step
    /// where a code of an activation changes.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, positions]`
    /// - output: `[batch, vocab_size]`
    ///
    /// # Panics
    ///
    /// If there is no token, or the cache has no space for them.
    #[track_caller]
    pub fn decode(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<2> {
        let [_, positions] = tokens.dims();
        assert!(positions > 0, "decoding takes at least one token");
        let hidden = self.model.decode(tokens, cache);
        let last = hidden.narrow(1, positions - 1, 1);
        self.head(last).squeeze_dim(1)
    }
}
