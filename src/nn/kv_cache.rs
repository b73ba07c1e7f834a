use burn::config::Config;

use super::{
    BitNetLm, Projection,
    layer_cache::{KvCacheDType, LayerCache},
};

/// Configuration of a [`KvCache`].
#[derive(Config, Debug)]
pub struct KvCacheConfig {
    /// Number of sequences that are decoded together.
    pub batch_size: usize,
    /// Capacity in positions of tokens.
    pub max_positions: usize,
    /// Storage type of keys and values.
    #[config(default = "KvCacheDType::F32")]
    pub dtype: KvCacheDType,
}

/// Key-value cache: keys and values of the positions that a [`BitNetLm`] has processed, so that
/// [`decode`](BitNetLm::decode) computes only the new ones.
///
/// The memory is allocated at once. The cache is for inference: no gradient passes through it, even if the
/// model has gradients. [`truncate`](Self::truncate) returns to an earlier position, for example to decode
/// another answer to the same prompt.
///
/// Before the positions of the tokens it has those of the model's [`Prompt`](super::Prompt), which it takes with the
/// first tokens.
///
/// # Example
///
/// ```
/// use bitnet_burn::nn::{BitNetLmConfig, KvCacheConfig, BitNetLm};
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let lm: BitNetLm = BitNetLmConfig::new(256, 32, 2, 4, 64).init(&device);
/// let lm = lm.pack();
/// let mut cache = KvCacheConfig::new(1, 64).init(&lm);
///
/// let prompt = Tensor::<2, Int>::from_ints([[72, 101, 108]], &device);
/// let mut logits = lm.decode(prompt, &mut cache);
/// for _ in 0..5 {
///     let next = logits.argmax(1);
///     logits = lm.decode(next, &mut cache);
/// }
/// assert_eq!(cache.len(), 8);
/// ```
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    batch_size: usize,
    max_positions: usize,
    len: usize,
    /// Positions of the prompt of the model, before those of tokens.
    n_virtual: usize,
}

impl KvCacheConfig {
    /// Creates an empty cache for a model, on its device.
    ///
    /// # Panics
    ///
    /// If the capacity is no sequence, or more positions than the model has for tokens.
    #[track_caller]
    pub fn init<P: Projection>(&self, lm: &BitNetLm<P>) -> KvCache {
        let (max_positions, n_virtual) = (lm.model.max_tokens(), lm.model.n_virtual());
        assert!(
            self.batch_size > 0 && (1..=max_positions).contains(&self.max_positions),
            "a cache has at least one sequence and 1 to {max_positions} positions, got {} and {}",
            self.batch_size,
            self.max_positions
        );
        let device = lm.model.embed_tokens.weight.val().device().inner();
        let layers = lm.model.layers.iter().map(|layer| {
            let [n_kv_heads, d_head] = layer.self_attn.key_shape();
            let positions = n_virtual + self.max_positions;
            let shape = [self.batch_size, n_kv_heads, positions, d_head];
            LayerCache::new(self.dtype, shape, &device)
        });
        KvCache {
            layers: layers.collect(),
            batch_size: self.batch_size,
            max_positions: self.max_positions,
            len: 0,
            n_virtual,
        }
    }
}

impl KvCache {
    /// Returns the number of cached positions of tokens.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Returns whether the cache has no token.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Returns the capacity in positions of tokens.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// Removes all tokens after the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Returns the bytes of keys and values, including unused capacity.
    pub fn num_bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::num_bytes).sum()
    }

    /// Returns the caches of the layers, for `positions` more of each of `batch_size` sequences after a prompt of
    /// `n_virtual` positions.
    ///
    /// # Panics
    ///
    /// If there is no space for them, or the cache was created for another prompt.
    #[track_caller]
    pub(super) fn layers(
        &mut self,
        [batch_size, positions]: [usize; 2],
        n_virtual: usize,
    ) -> impl Iterator<Item = &mut LayerCache> {
        assert!(
            n_virtual == self.n_virtual,
            "a cache after a prompt of {} positions is not one of a model whose prompt has {n_virtual}",
            self.n_virtual
        );
        assert!(
            batch_size == self.batch_size && self.len + positions <= self.max_positions,
            "a cache of {} sequences of {} positions, {} of them taken, has no room for {positions} \
             more of {batch_size}",
            self.batch_size,
            self.max_positions,
            self.len
        );
        self.layers.iter_mut()
    }

    /// Advances by positions that every layer has appended.
    pub(super) fn advance(&mut self, positions: usize) {
        self.len += positions;
    }
}
