use burn::config::Config;

use super::{
    BitNetLm, Projection,
    layer_cache::{KvCacheDType, LayerCache},
};

/// Configuration of a [`KvCache`].
#[derive(Config, Debug)]
pub struct KvCacheConfig {
    /// Sequences that are decoded side by side.
    pub batch_size: usize,
    /// Positions that there is room for.
    pub max_positions: usize,
    /// How keys and values are kept.
    #[config(default = "KvCacheDType::F32")]
    pub dtype: KvCacheDType,
}

/// Keys and values of the positions that a [`BitNetLm`] has read, so that
/// [`decode`](BitNetLm::decode) computes the new ones alone.
///
/// Its room is allocated at once. It is for inference: no gradient passes through it, also where the
/// model has them. What does not change the past, such as decoding another answer to
/// the same prompt, can go back with [`truncate`](Self::truncate).
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
}

impl KvCacheConfig {
    /// An empty cache for a model, on its device.
    ///
    /// # Panics
    ///
    /// If there is room for no sequence or more positions than the model has.
    #[track_caller]
    pub fn init<P: Projection>(&self, lm: &BitNetLm<P>) -> KvCache {
        let max_positions = lm.model.rotary.max_positions();
        assert!(
            self.batch_size > 0 && (1..=max_positions).contains(&self.max_positions),
            "a cache has at least one sequence and 1 to {max_positions} positions, got {} and {}",
            self.batch_size,
            self.max_positions
        );
        let device = lm.model.embed_tokens.weight.val().device().inner();
        let layers = lm.model.layers.iter().map(|layer| {
            let [n_kv_heads, d_head] = layer.self_attn.key_shape();
            let shape = [self.batch_size, n_kv_heads, self.max_positions, d_head];
            LayerCache::new(self.dtype, shape, &device)
        });
        KvCache {
            layers: layers.collect(),
            batch_size: self.batch_size,
            max_positions: self.max_positions,
            len: 0,
        }
    }
}

impl KvCache {
    /// Number of positions read.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of positions that there is room for.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// Forgets all positions but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Bytes of keys and values, with the room that is not used yet.
    pub fn num_bytes(&self) -> usize {
        self.layers.iter().map(LayerCache::num_bytes).sum()
    }

    /// The caches of the layers, for `positions` more of each of `batch_size` sequences.
    ///
    /// # Panics
    ///
    /// If there is no room for them.
    #[track_caller]
    pub(super) fn layers(
        &mut self,
        batch_size: usize,
        positions: usize,
    ) -> impl Iterator<Item = &mut LayerCache> {
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

    /// Counts positions that every layer has appended.
    pub(super) fn advance(&mut self, positions: usize) {
        self.len += positions;
    }
}
