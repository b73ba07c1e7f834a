use std::convert::Infallible;

use burn::{
    module::Module,
    nn::{EmbeddingConfig, Linear, LinearConfig},
    tensor::{Device, Int, Tensor, module::linear},
};

use super::{
    BitLinear, BitNetLmConfig, BitNetModel, LowRankProducts, PackedBitLinear, Projection,
    TrainableProjection, causal_lm_config::projection_scheme, decoder_layer::DecoderLayer,
    projection::by_tokens,
};
use crate::quant::QatScheme;

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
    /// Products of low rank beside the output head.
    pub head_products: LowRankProducts,
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
        let layers = (0..self.n_layers).map(|_| DecoderLayer::init(self, device));
        let lm_head = (!self.tied_embeddings).then(|| {
            LinearConfig::new(self.d_model, self.vocab_size)
                .with_bias(false)
                .with_initializer(self.initializer.clone())
                .init(device)
        });
        BitNetLm {
            model: BitNetModel {
                embed_tokens,
                embed_products: LowRankProducts::default(),
                layers: layers.collect(),
                norm: self.norm(self.d_model, device),
                rotary: self.rotary().init(device),
                prompt: None,
            },
            lm_head,
            head_products: LowRankProducts::default(),
        }
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
    /// If there are more tokens than [`max_tokens`](BitNetModel::max_tokens), or the prompt does not fit the model.
    #[track_caller]
    pub fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<3> {
        self.head(self.model.forward(tokens))
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
                embed_products: self.model.embed_products,
                layers: layers.collect::<Result<_, _>>()?,
                norm: self.model.norm,
                rotary: self.model.rotary,
                prompt: self.model.prompt,
            },
            lm_head: self.lm_head,
            head_products: self.head_products,
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

    /// Returns the weight `[vocab_size, d_model]` of the output head, if its logits are products with it alone.
    pub fn head_weight(&self) -> Option<Tensor<2>> {
        if self.head_products.active().next().is_some() {
            return None;
        }
        match &self.lm_head {
            None => Some(self.model.embed_tokens.weight.val()),
            Some(head) => (head.bias.is_none()).then(|| head.weight.val().transpose()),
        }
    }

    pub(crate) fn head(&self, hidden: Tensor<3>) -> Tensor<3> {
        let logits = match &self.lm_head {
            Some(head) => Projection::forward(head, hidden.clone()),
            None => {
                let weight = self.model.embed_tokens.weight.val().transpose();
                by_tokens(hidden.clone(), |hidden| linear(hidden, weight, None))
            }
        };
        (self.head_products).added_to(logits, |product| product.forward(hidden.clone()))
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
        self.map_projections(|name, linear| {
            BitLinear::from_linear(linear, &projection_scheme(scheme, name))
        })
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
        self.map_projections(|name, layer| layer.with_scheme(&projection_scheme(scheme, name)))
    }
}
