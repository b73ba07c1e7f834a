use std::convert::Infallible;

use burn::{
    config::Config,
    module::{Initializer, Module},
    nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, RmsNorm, RmsNormConfig},
    tensor::{Device, Int, Tensor, module::linear},
};

use super::{
    BitLinear, BitNetAttentionConfig, DecoderLayer, FeedForwardConfig, GatedActivation,
    PackedBitLinear, Projection, ProjectionBias, QkNorm, RopeScaling, RotaryEmbedding,
    RotaryEmbeddingConfig, TrainableProjection,
    projection::{by_tokens, norm_saved_bytes, normalize},
};
use crate::quant::QatScheme;

/// Configuration of a [`BitNetLm`].
#[derive(Config, Debug)]
pub struct BitNetLmConfig {
    /// Number of tokens in the vocabulary.
    pub vocab_size: usize,
    /// The size of the model.
    pub d_model: usize,
    /// Number of decoder layers.
    pub n_layers: usize,
    /// Number of query heads.
    pub n_heads: usize,
    /// The size between the projections of the feed-forward block.
    pub d_ff: usize,
    /// Number of key and value heads; `None` for the number of query heads.
    pub n_kv_heads: Option<usize>,
    /// The size of a head; `None` for `d_model / n_heads`.
    pub d_head: Option<usize>,
    /// Maximum number of positions of a sequence.
    #[config(default = 4096)]
    pub max_positions: usize,
    /// Base of the rotary frequencies.
    #[config(default = 500000.0)]
    pub rope_theta: f32,
    /// Scaling of the rotary frequencies for long sequences.
    pub rope_scaling: Option<RopeScaling>,
    /// Number of values of a head that are rotated, the first ones; `None` for all.
    pub d_rotary: Option<usize>,
    /// Epsilon of all norms.
    #[config(default = 1e-5)]
    pub rms_norm_epsilon: f64,
    /// Activation of the gate in the feed-forward block.
    #[config(default = "GatedActivation::SquaredRelu")]
    pub activation: GatedActivation,
    /// Normalizes the attention output and the feed-forward product before their projections.
    #[config(default = true)]
    pub sub_norm: bool,
    /// Norm of queries and keys.
    #[config(default = "QkNorm::None")]
    pub qk_norm: QkNorm,
    /// Projections that have a bias.
    #[config(default = "ProjectionBias::NONE")]
    pub bias: ProjectionBias,
    /// Uses the embedding table as the output head.
    #[config(default = true)]
    pub tied_embeddings: bool,
    /// Quantization scheme of the projections. Embedding, norms and head stay in full precision.
    #[config(default = "QatScheme::b1_58()")]
    pub scheme: QatScheme,
    /// Initializer of embedding, projections and head.
    #[config(default = "Initializer::Normal{mean: 0.0, std: 0.02}")]
    pub initializer: Initializer,
}

/// The decoder stack of a [`BitNetLm`].
#[derive(Module, Debug)]
pub struct BitNetModel<P: Projection = BitLinear> {
    /// Token embedding.
    pub embed_tokens: Embedding,
    /// Decoder layers.
    pub layers: Vec<DecoderLayer<P>>,
    /// Final norm.
    pub norm: RmsNorm,
    /// Position embedding.
    pub rotary: RotaryEmbedding,
}

/// BitNet b1.58 language model: Hugging Face's `BitNetForCausalLM`.
///
/// Without norms before the last projections it is a model of the Llama family. Biases, a separate head
/// size, norms of queries and keys, and a partial rotation of each head extend it to Qwen2, Qwen3, Mistral
/// and similar models.
///
/// `BitNetLm<BitLinear>` (the default) trains with quantized weights and activations, `BitNetLm<Linear>`
/// is the same architecture in full precision, and `BitNetLm<PackedBitLinear>`, created by
/// [`pack`](Self::pack), infers from packed weights.
///
/// Source: [BitNet b1.58 2B4T](https://arxiv.org/abs/2504.12285).
///
/// # Example
///
/// ```
/// use bitnet_burn::nn::{BitNetLm, BitNetLmConfig};
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let model: BitNetLm = BitNetLmConfig::new(256, 32, 1, 2, 64)
///     .with_max_positions(16)
///     .init(&device);
/// let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3]], &device);
/// assert_eq!(model.forward(tokens).dims(), [1, 3, 256]);
/// ```
#[derive(Module, Debug)]
pub struct BitNetLm<P: Projection = BitLinear> {
    /// Decoder stack.
    pub model: BitNetModel<P>,
    /// Output head; `None` if it is the embedding table.
    pub lm_head: Option<Linear>,
}

impl BitNetLmConfig {
    /// Initialize a new [`BitNetLm`].
    ///
    /// # Panics
    ///
    /// If the numbers of heads do not divide `d_model` and each other, or [`rotary`](Self::rotary) is not a
    /// valid embedding.
    #[track_caller]
    pub fn init<P: TrainableProjection>(&self, device: &Device) -> BitNetLm<P> {
        let embed_tokens = EmbeddingConfig::new(self.vocab_size, self.d_model)
            .with_initializer(self.initializer.clone())
            .init(device);
        let layers = (0..self.n_layers).map(|_| self.layer(device)).collect();
        let lm_head = (!self.tied_embeddings).then(|| {
            LinearConfig::new(self.d_model, self.vocab_size)
                .with_bias(false)
                .with_initializer(self.initializer.clone())
                .init(device)
        });
        BitNetLm {
            model: BitNetModel {
                embed_tokens,
                layers,
                norm: self.norm(device),
                rotary: self.rotary().init(device),
            },
            lm_head,
        }
    }

    /// Returns the size of a head.
    pub fn head_size(&self) -> usize {
        self.d_head.unwrap_or(self.d_model / self.n_heads)
    }

    /// Returns the number of key and value heads.
    pub fn key_value_heads(&self) -> usize {
        self.n_kv_heads.unwrap_or(self.n_heads)
    }

    /// Returns the configuration of the position embedding.
    pub fn rotary(&self) -> RotaryEmbeddingConfig {
        RotaryEmbeddingConfig::new(self.head_size(), self.max_positions)
            .with_theta(self.rope_theta)
            .with_scaling(self.rope_scaling.clone())
            .with_d_rotary(self.d_rotary)
    }

    fn norm(&self, device: &Device) -> RmsNorm {
        RmsNormConfig::new(self.d_model)
            .with_epsilon(self.rms_norm_epsilon)
            .init(device)
    }

    fn layer<P: TrainableProjection>(&self, device: &Device) -> DecoderLayer<P> {
        let sub_norm_epsilon = self.sub_norm.then_some(self.rms_norm_epsilon);
        let qk_norm_epsilon = match self.qk_norm {
            QkNorm::None => None,
            QkNorm::PerHead => Some(self.rms_norm_epsilon),
        };
        let n_kv_heads = self.key_value_heads();
        DecoderLayer {
            input_layernorm: self.norm(device),
            self_attn: BitNetAttentionConfig::new(self.d_model, self.n_heads, n_kv_heads)
                .with_d_head(self.d_head)
                .with_qk_norm_epsilon(qk_norm_epsilon)
                .with_sub_norm_epsilon(sub_norm_epsilon)
                .with_bias(self.bias)
                .with_scheme(self.scheme.clone())
                .with_initializer(self.initializer.clone())
                .init(device),
            post_attention_layernorm: self.norm(device),
            mlp: FeedForwardConfig::new(self.d_model, self.d_ff)
                .with_activation(self.activation)
                .with_sub_norm_epsilon(sub_norm_epsilon)
                .with_bias(self.bias)
                .with_scheme(self.scheme.clone())
                .with_initializer(self.initializer.clone())
                .init(device),
        }
    }
}

impl<P: Projection> BitNetModel<P> {
    /// Computes the normalized hidden states of each position.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, positions]`
    /// - output: `[batch, positions, d_model]`
    ///
    /// # Panics
    ///
    /// If there are more positions than `max_positions`.
    #[track_caller]
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        let mut x = self.embed_tokens.forward(tokens);
        for layer in &self.layers {
            x = layer.forward(x, &self.rotary);
        }
        normalize(&self.norm, x)
    }
}

impl<P: Projection> BitNetLm<P> {
    /// Computes the logits of the token after each position.
    ///
    /// # Shapes
    ///
    /// - tokens: `[batch, positions]`
    /// - output: `[batch, positions, vocab_size]`
    ///
    /// # Panics
    ///
    /// If there are more positions than `max_positions`.
    #[track_caller]
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.head(self.model.forward(tokens))
    }

    /// Returns the bytes that a forward pass of `batch` sequences of `positions` saves for backward, without
    /// gradient checkpointing; as measured on Burn 0.22.
    pub fn saved_bytes(&self, batch: usize, positions: usize) -> usize {
        let [vocab_size, d_model] = self.model.embed_tokens.weight.shape().dims();
        let tokens = batch * positions;
        let layers = self.model.layers.iter();
        // The final norm, its output and the logits.
        norm_saved_bytes(tokens * d_model)
            + 4 * tokens * (d_model + vocab_size)
            + layers
                .map(|layer| layer.saved_bytes(batch, positions))
                .sum::<usize>()
    }

    /// Returns the bytes of the largest tensor of a forward pass on Flex: hidden values of a layer, or the
    /// logits. (Other backends also compute scores of a layer, and free them.)
    pub fn largest_activation_bytes(&self, batch: usize, positions: usize) -> usize {
        let [vocab_size, _] = self.model.embed_tokens.weight.shape().dims();
        let layers = self.model.layers.iter();
        let widths = layers.map(|layer| layer.mlp.d_ff().max(layer.self_attn.heads_size()));
        4 * batch * positions * widths.max().unwrap_or(0).max(vocab_size)
    }

    /// Replaces each projection; `map` receives its name, such as
    /// `model.layers.0.self_attn.q_proj`.
    pub fn map_projections<Q: Projection>(self, mut map: impl FnMut(&str, P) -> Q) -> BitNetLm<Q> {
        let Ok(mapped) = self.try_map_projections(|name, p| Ok::<_, Infallible>(map(name, p)));
        mapped
    }

    /// The model with each projection replaced, as [`map_projections`](Self::map_projections).
    ///
    /// # Errors
    ///
    /// The first error of `map`, after which no other projection is mapped.
    pub fn try_map_projections<Q: Projection, E>(
        self,
        mut map: impl FnMut(&str, P) -> Result<Q, E>,
    ) -> Result<BitNetLm<Q>, E> {
        let layers = self.model.layers.into_iter().enumerate();
        let layers = layers.map(|(i, layer)| {
            layer.try_map_projections(|name, p| map(&format!("model.layers.{i}.{name}"), p))
        });
        Ok(BitNetLm {
            model: BitNetModel {
                embed_tokens: self.model.embed_tokens,
                layers: layers.collect::<Result<_, _>>()?,
                norm: self.model.norm,
                rotary: self.model.rotary,
            },
            lm_head: self.lm_head,
        })
    }

    /// Returns the projections by name.
    pub fn projections(&self) -> impl Iterator<Item = (String, &P)> {
        let layers = self.model.layers.iter().enumerate();
        layers.flat_map(|(i, layer)| {
            let projections = layer.projections();
            projections.map(move |(name, p)| (format!("model.layers.{i}.{name}"), p))
        })
    }

    /// Inserts norms before the last projections of the blocks that have none, as in BitNet models. This is
    /// a step in converting a model of the Llama family, which needs fine-tuning afterwards.
    ///
    /// The norms start with weights of 1. They keep the input of the projection in a range that suits a
    /// quantizer, and change the logits.
    ///
    /// Source: [BitNet Distillation](https://arxiv.org/abs/2510.13998), stage 1.
    #[must_use]
    pub fn insert_sub_norms(mut self, epsilon: f64) -> Self {
        let layers = self.model.layers.into_iter();
        self.model.layers = layers.map(|l| l.insert_sub_norms(epsilon)).collect();
        self
    }

    pub(super) fn head(&self, hidden: Tensor<3>) -> Tensor<3> {
        match &self.lm_head {
            Some(head) => Projection::forward(head, hidden),
            None => {
                let weight = self.model.embed_tokens.weight.val().transpose();
                by_tokens(hidden, |hidden| linear(hidden, weight, None))
            }
        }
    }
}

impl BitNetLm {
    /// Packs the weights: returns the model for inference, with the same logits. Projections excluded from
    /// quantization stay in full precision.
    pub fn pack(&self) -> BitNetLm<PackedBitLinear> {
        self.valid().map_projections(|_, p| p.pack())
    }
}

impl BitNetLm<Linear> {
    /// Returns the model with the same parameters and quantized projections, for fine-tuning; see
    /// [`BitLinear::from_linear`].
    ///
    /// At [`lambda`](crate::qat::QuantControls::set_lambda) 0 its logits are those of the full-precision
    /// model, bit for bit. The scheme's rotation applies only to the output projections of the blocks, as in
    /// [`init`](BitNetLmConfig::init). The weights are not rotated with it, so that a rotation changes the
    /// logits from the start.
    ///
    /// # Panics
    ///
    /// If the weight granularity of the scheme does not fit a projection.
    ///
    /// # Example
    ///
    /// ```
    /// use bitnet_burn::{
    ///     nn::{BitNetLm, BitNetLmConfig},
    ///     qat::QuantControls,
    ///     quant::{QatScheme, schedule::ProgressiveSchedule},
    /// };
    /// use burn::{nn::Linear, tensor::Device};
    ///
    /// let device = Device::default().autodiff();
    /// let config = BitNetLmConfig::new(256, 32, 1, 2, 64).with_max_positions(16);
    /// let full_precision: BitNetLm<Linear> = config.init(&device);
    ///
    /// let model = full_precision.into_bitnet(&QatScheme::b1_58());
    /// let (controls, lambda) = (QuantControls::of(&model), ProgressiveSchedule::default());
    /// for step in 0..3 {
    ///     controls.set_lambda(lambda.value(step));
    ///     // a training step
    /// }
    /// ```
    #[track_caller]
    pub fn into_bitnet(self, scheme: &QatScheme) -> BitNetLm {
        let schemes = ProjectionSchemes::new(scheme);
        self.map_projections(|name, linear| BitLinear::from_linear(linear, schemes.of(name)))
    }
}

impl BitNetLm<BitLinear> {
    /// Replaces the quantizers with those of a scheme, and keeps the latent weights. Projections that are
    /// [excluded](crate::qat::QuantControls::set_excluded) from quantization stay so.
    ///
    /// # Panics
    ///
    /// If the weight granularity of the scheme does not fit a projection.
    #[track_caller]
    #[must_use]
    pub fn with_scheme(self, scheme: &QatScheme) -> Self {
        let schemes = ProjectionSchemes::new(scheme);
        self.map_projections(|name, layer| layer.with_scheme(schemes.of(name)))
    }
}

/// The scheme of a model for each of its projections: only the output projections of the blocks rotate their
/// inputs.
struct ProjectionSchemes {
    output: QatScheme,
    others: QatScheme,
}

impl ProjectionSchemes {
    fn new(scheme: &QatScheme) -> Self {
        Self {
            output: scheme.clone(),
            others: scheme.clone().with_rotation(None),
        }
    }

    fn of(&self, name: &str) -> &QatScheme {
        match name.ends_with("o_proj") || name.ends_with("down_proj") {
            true => &self.output,
            false => &self.others,
        }
    }
}
