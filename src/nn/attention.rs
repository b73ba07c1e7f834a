use burn::{
    config::Config,
    module::{Initializer, Module},
    nn::{RmsNorm, RmsNormConfig},
    tensor::{Device, Tensor},
};

use super::{
    BitLinear, Projection, ProjectionBias, RotaryEmbedding, TrainableProjection,
    layer_cache::LayerCache,
    projection::{norm_saved_bytes, normalize, saved_bytes},
};
use crate::{functions::causal_attention, quant::QatScheme};

/// Configuration of a [`BitNetAttention`].
#[derive(Config, Debug)]
pub struct BitNetAttentionConfig {
    /// The size of the model.
    pub d_model: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// Number of key and value heads; must divide `n_heads`.
    pub n_kv_heads: usize,
    /// The size of a head; `None` for `d_model / n_heads`, which `n_heads` must divide then.
    pub d_head: Option<usize>,
    /// Epsilon of the sub-norm; `None` for no sub-norm.
    #[config(default = "Some(1e-5)")]
    pub sub_norm_epsilon: Option<f64>,
    /// Epsilon of the norms of the queries and keys of each head; `None` for no such norms.
    pub qk_norm_epsilon: Option<f64>,
    /// Projections that have a bias.
    #[config(default = "ProjectionBias::NONE")]
    pub bias: ProjectionBias,
    /// Quantization scheme of the projections.
    #[config(default = "QatScheme::b1_58()")]
    pub scheme: QatScheme,
    /// Initializer of the projections.
    #[config(default = "Initializer::Normal{mean: 0.0, std: 0.02}")]
    pub initializer: Initializer,
}

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

impl BitNetAttentionConfig {
    /// Initialize a new [`BitNetAttention`] block.
    ///
    /// # Panics
    ///
    /// If the numbers of heads do not divide as documented.
    #[track_caller]
    pub fn init<P: TrainableProjection>(&self, device: &Device) -> BitNetAttention<P> {
        let (d_model, n_heads, n_kv_heads) = (self.d_model, self.n_heads, self.n_kv_heads);
        assert!(
            n_heads > 0 && (self.d_head.is_some() || d_model.is_multiple_of(n_heads)),
            "d_model {d_model} must be a multiple of n_heads {n_heads}"
        );
        assert!(
            n_kv_heads > 0 && n_heads.is_multiple_of(n_kv_heads),
            "n_heads {n_heads} must be a multiple of n_kv_heads {n_kv_heads}"
        );
        let d_head = self.d_head.unwrap_or(d_model / n_heads);
        let (d_heads, d_kv) = (n_heads * d_head, n_kv_heads * d_head);
        let unrotated = self.scheme.clone().with_rotation(None);
        let projection =
            |size, bias, scheme| P::init(size, bias, &self.initializer, scheme, device);
        let input = |d_output| projection([d_model, d_output], self.bias.qkv, &unrotated);
        let norm = |epsilon: Option<f64>, size| {
            epsilon.map(|epsilon| RmsNormConfig::new(size).with_epsilon(epsilon).init(device))
        };
        BitNetAttention {
            q_proj: input(d_heads),
            k_proj: input(d_kv),
            v_proj: input(d_kv),
            o_proj: projection([d_heads, d_model], self.bias.output, &self.scheme),
            q_norm: norm(self.qk_norm_epsilon, d_head),
            k_norm: norm(self.qk_norm_epsilon, d_head),
            attn_sub_norm: norm(self.sub_norm_epsilon, d_heads),
            n_heads,
            n_kv_heads,
            d_head,
        }
    }
}

impl<P: Projection> BitNetAttention<P> {
    /// Applies the block.
    ///
    /// # Shapes
    ///
    /// - x, output: `[batch, positions, d_model]`
    pub fn forward(&self, x: Tensor<3>, rotary: &RotaryEmbedding) -> Tensor<3> {
        let [query, key, value] = self.project(x, rotary, 0);
        self.attend(query, key, value)
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
        let [query, key, value] = self.project(x, rotary, start);
        let [key, value] = cache.append(start, key, value);
        self.attend(query, key, value)
    }

    /// Returns the bytes saved for backward for `tokens` tokens: queries, keys and values, norms and inputs
    /// of projections.
    pub(super) fn saved_bytes(&self, tokens: usize, d_model: usize) -> usize {
        let d_heads = self.heads_size();
        let d_kv = self.n_kv_heads * self.d_head;
        let norms = [
            (&self.q_norm, d_heads),
            (&self.k_norm, d_kv),
            (&self.attn_sub_norm, d_heads),
        ];
        let norms = norms.into_iter().filter(|(norm, _)| norm.is_some());
        4 * tokens * (d_heads + 2 * d_kv)
            + norms
                .map(|(_, size)| norm_saved_bytes(tokens * size))
                .sum::<usize>()
            + saved_bytes(
                &[&self.q_proj, &self.k_proj, &self.v_proj],
                tokens * d_model,
            )
            + saved_bytes(&[&self.o_proj], tokens * d_heads)
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
    pub(super) fn key_shape(&self) -> [usize; 2] {
        [self.n_kv_heads, self.d_head]
    }

    /// Returns the size of all query heads.
    pub(super) fn heads_size(&self) -> usize {
        self.n_heads * self.d_head
    }

    /// Returns queries, keys and values as `[batch, heads, positions, d_head]`, rotated by their positions.
    fn project(&self, x: Tensor<3>, rotary: &RotaryEmbedding, start: usize) -> [Tensor<4>; 3] {
        let [batch, positions, _] = x.dims();
        let heads = |x: Tensor<3>, n: usize, norm: &Option<RmsNorm>| {
            let x = x.reshape([batch, positions, n, self.d_head]);
            let x = match norm {
                Some(norm) => normalize(norm, x),
                None => x,
            };
            x.swap_dims(1, 2)
        };
        let query = heads(self.q_proj.forward(x.clone()), self.n_heads, &self.q_norm);
        let key = heads(
            self.k_proj.forward(x.clone()),
            self.n_kv_heads,
            &self.k_norm,
        );
        [
            rotary.forward(query, start),
            rotary.forward(key, start),
            heads(self.v_proj.forward(x), self.n_kv_heads, &None),
        ]
    }

    /// Returns the output for queries at the last of the positions of keys and values.
    fn attend(&self, query: Tensor<4>, key: Tensor<4>, value: Tensor<4>) -> Tensor<3> {
        let [batch, n_heads, positions, d_head] = query.dims();
        let context = causal_attention(query, key, value)
            .swap_dims(1, 2)
            .reshape([batch, positions, n_heads * d_head]);
        let context = match &self.attn_sub_norm {
            Some(norm) => normalize(norm, context),
            None => context,
        };
        self.o_proj.forward(context)
    }
}
