use burn::{
    module::Module,
    nn::RmsNorm,
    tensor::{Device, Tensor},
};

use super::{
    BitLinear, BitNetLmConfig, KeyValues, Projection, QkNorm, RotaryEmbedding, TrainableProjection,
    layer_cache::LayerCache, norm::normalize_if,
};
use crate::functions::causal_attention;

/// Causal self-attention with rotary positions, grouped key and value heads, and a norm before
/// the output projection: `Y = o(norm(softmax(Q K^T / sqrt(d_head)) V))`.
///
/// Queries and keys come from the projections, are normalized over `d_head` if there are norms of heads,
/// and then rotated: `Q = rotary(q_norm(q(X)))`.
#[derive(Module, Debug)]
pub struct BitNetAttention<P: Projection = BitLinear> {
    /// Projection of the queries.
    pub q_proj: P,
    /// Projection of the keys.
    pub k_proj: P,
    /// Projection of the values.
    pub v_proj: P,
    /// Projection of the output.
    pub o_proj: P,
    /// Norm of the queries of each head, of size `d_head`.
    pub q_norm: Option<RmsNorm>,
    /// Norm of the keys of each head, of size `d_head`.
    pub k_norm: Option<RmsNorm>,
    /// Norm of size `n_heads * d_head`.
    pub attn_sub_norm: Option<RmsNorm>,
    n_heads: usize,
    n_kv_heads: usize,
    d_head: usize,
}

impl<P: TrainableProjection> BitNetAttention<P> {
    /// Creates a block of a model.
    ///
    /// # Panics
    ///
    /// If the numbers of heads do not divide `d_model`, unless there is a `d_head`, and each other.
    #[track_caller]
    pub fn init(config: &BitNetLmConfig, device: &Device) -> Self {
        let (d_model, n_heads) = (config.d_model, config.n_heads);
        let n_kv_heads = config.key_value_heads();
        assert!(
            n_heads > 0 && (config.d_head.is_some() || d_model.is_multiple_of(n_heads)),
            "d_model {d_model} must be a multiple of n_heads {n_heads}"
        );
        assert!(
            n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads),
            "n_heads {n_heads} must be a multiple of n_kv_heads {n_kv_heads}"
        );
        let d_head = config.head_size();
        let (d_heads, d_kv) = (n_heads * d_head, n_kv_heads * d_head);
        let bias = config.bias;
        let input = |name, d_output| config.projection(name, [d_model, d_output], bias.qkv, device);
        let head_norm = || {
            let norm = config.qk_norm == QkNorm::PerHead;
            norm.then(|| config.norm(d_head, device))
        };
        Self {
            q_proj: input("q_proj", d_heads),
            k_proj: input("k_proj", d_kv),
            v_proj: input("v_proj", d_kv),
            o_proj: config.projection("o_proj", [d_heads, d_model], bias.output, device),
            q_norm: head_norm(),
            k_norm: head_norm(),
            attn_sub_norm: config.sub_norm.then(|| config.norm(d_heads, device)),
            n_heads,
            n_kv_heads,
            d_head,
        }
    }
}

impl<P: Projection> BitNetAttention<P> {
    /// Applies the block to the positions after the past, or from the first on.
    ///
    /// Gradients pass into the keys and values of the past.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, positions, d_model]`
    /// - past: `[batch or 1, n_kv_heads, positions, d_head]`
    ///
    /// # Panics
    ///
    /// If the past has another number of heads or sequences, or a position is beyond those of `rotary`.
    #[track_caller]
    pub fn forward(
        &self,
        x: Tensor<3>,
        rotary: &RotaryEmbedding,
        past: Option<KeyValues>,
    ) -> Tensor<3> {
        let start = past.as_ref().map_or(0, KeyValues::positions);
        let (query, next) = self.project(x, rotary, start);
        let all = match past {
            Some(past) => past.append(next),
            None => next,
        };
        self.attend(query, all)
    }

    /// Applies the block to the positions from `start`, with the keys and values of earlier positions
    /// from the cache.
    pub(super) fn decode(
        &self,
        x: Tensor<3>,
        rotary: &RotaryEmbedding,
        start: usize,
        cache: &mut LayerCache,
    ) -> Tensor<3> {
        let (query, next) = self.project(x, rotary, start);
        self.attend(query, cache.append(start, next))
    }

    /// Replaces each projection; `map` receives its name, such as `q_proj`.
    ///
    /// # Errors
    ///
    /// The first error of `map`.
    pub fn try_map_projections<Q: Projection, E>(
        self,
        mut map: impl FnMut(&str, P) -> Result<Q, E>,
    ) -> Result<BitNetAttention<Q>, E> {
        Ok(BitNetAttention {
            q_proj: map("q_proj", self.q_proj)?,
            k_proj: map("k_proj", self.k_proj)?,
            v_proj: map("v_proj", self.v_proj)?,
            o_proj: map("o_proj", self.o_proj)?,
            q_norm: self.q_norm,
            k_norm: self.k_norm,
            attn_sub_norm: self.attn_sub_norm,
            n_heads: self.n_heads,
            n_kv_heads: self.n_kv_heads,
            d_head: self.d_head,
        })
    }

    /// Returns the projections by name.
    pub fn projections(&self) -> [(&'static str, &P); 4] {
        [
            ("q_proj", &self.q_proj),
            ("k_proj", &self.k_proj),
            ("v_proj", &self.v_proj),
            ("o_proj", &self.o_proj),
        ]
    }

    /// Returns the number of key-value heads, and the size of each.
    pub(crate) fn key_shape(&self) -> [usize; 2] {
        [self.n_kv_heads, self.d_head]
    }

    /// Returns the size of all query heads.
    pub(crate) fn heads_size(&self) -> usize {
        self.n_heads * self.d_head
    }

    /// Returns queries, keys and values as `[batch, heads, positions, d_head]`, rotated by their positions.
    #[track_caller]
    fn project(
        &self,
        x: Tensor<3>,
        rotary: &RotaryEmbedding,
        start: usize,
    ) -> (Tensor<4>, KeyValues) {
        let [batch, positions, _] = x.dims();
        let heads = |x: Tensor<3>, n: usize, norm: &Option<RmsNorm>| {
            let x = x.reshape([batch, positions, n, self.d_head]);
            normalize_if(norm, x).swap_dims(1, 2)
        };
        let query = heads(self.q_proj.forward(x.clone()), self.n_heads, &self.q_norm);
        let key = heads(
            self.k_proj.forward(x.clone()),
            self.n_kv_heads,
            &self.k_norm,
        );
        let value = heads(self.v_proj.forward(x), self.n_kv_heads, &None);
        (
            rotary.forward(query, start),
            KeyValues::new(rotary.forward(key, start), value),
        )
    }

    /// Returns the output for queries at the last of the positions of keys and values.
    fn attend(&self, query: Tensor<4>, all: KeyValues) -> Tensor<3> {
        let [batch, n_heads, positions, d_head] = query.dims();
        let context = causal_attention(query, all.key, all.value)
            .swap_dims(1, 2)
            .reshape([batch, positions, n_heads * d_head]);
        self.o_proj
            .forward(normalize_if(&self.attn_sub_norm, context))
    }
}
