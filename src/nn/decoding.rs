//! Decoding with a key-value cache.

use burn::tensor::{Int, Tensor};

use super::{BitNetLm, BitNetModel, KvCache, Projection};

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
    /// If the cache has no space for them, or was created for a model with another prompt.
    #[track_caller]
    pub fn decode(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<3> {
        let [batch, positions] = tokens.dims();
        let (len, n_virtual) = (cache.len(), self.n_virtual());
        let x = self.embed(tokens);
        let (mut x, pasts) = match len {
            0 => self.prompted(x),
            _ => (x, self.no_pasts()),
        };
        let caches = cache.layers([batch, positions], n_virtual);
        // Virtual tokens in `x` are positions of this call.
        let start = n_virtual + len + positions - x.dims()[1];
        for ((layer, cache), past) in self.layers.iter().zip(caches).zip(pasts) {
            if let Some(past) = past {
                cache.write(0, past.expand(batch));
            }
            x = layer.decode(x, &self.rotary, start, cache);
        }
        cache.advance(positions);
        self.last_states(x, positions)
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
    /// If there is no token, the cache has no space for them, or was created for a model with another prompt.
    #[track_caller]
    pub fn decode(&self, tokens: Tensor<2, Int>, cache: &mut KvCache) -> Tensor<2> {
        let [_, positions] = tokens.dims();
        assert!(positions > 0, "decoding takes at least one token");
        let hidden = self.model.decode(tokens, cache);
        let last = hidden.narrow(1, positions - 1, 1);
        self.head(last).squeeze_dim(1)
    }
}
