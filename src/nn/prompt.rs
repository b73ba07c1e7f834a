use burn::{
    module::{Module, Param},
    tensor::Tensor,
};

use super::{KeyValues, PromptEncoder};

/// Place of a [`Prompt`] in the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PromptKind {
    /// Keys and values before those of the tokens in every layer: prefix tuning, P-tuning v2.
    Prefix,
    /// Embeddings before those of the tokens: prompt tuning, P-tuning.
    Input,
}

/// Trained positions before the tokens of a [`BitNetLm`](super::BitNetLm), in place of words.
///
/// The tokens take the positions after them, so that the model has fewer positions for tokens, and no logits are
/// computed of the prompt. In a [prefix](Prompt::prefix) virtual token `i` has the values
/// `K_0, V_0, K_1, V_1, ..` of the layers, each with its heads one after another, as in Hugging Face's peft. Its keys
/// are not rotated.
///
/// Sources: [prefix tuning](https://arxiv.org/abs/2101.00190), [P-tuning v2](https://arxiv.org/abs/2110.07602),
/// [prompt tuning](https://arxiv.org/abs/2104.08691), [P-tuning](https://arxiv.org/abs/2103.10385).
///
/// # Example
///
/// ```
/// use bitnet_burn::nn::{BitNetLm, BitNetLmConfig, Prompt};
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let config = BitNetLmConfig::new(256, 32, 2, 4, 64).with_max_positions(16);
/// let mut lm: BitNetLm = config.init(&device);
/// lm.model.prompt = Some(Prompt::input("default", Tensor::ones([3, 32], &device)));
/// let tokens = Tensor::<2, Int>::from_ints([[72, 101]], &device);
/// assert_eq!(lm.forward(tokens).dims(), [1, 2, 256]);
/// assert_eq!(lm.model.max_tokens(), 13);
/// ```
#[derive(Module, Debug)]
pub struct Prompt {
    /// Values of the virtual tokens, or inputs of their encoder, `[n_virtual, d]`.
    pub embedding: Param<Tensor<2>>,
    /// Encoder of the values while they train.
    pub encoder: Option<PromptEncoder>,
    #[module(skip)]
    kind: PromptKind,
    #[module(skip)]
    name: String,
    #[module(skip)]
    is_active: bool,
}

impl Prompt {
    /// Creates a prefix of values `[n_virtual, 2 n_layers n_kv_heads d_head]`.
    pub fn prefix(name: &str, values: Tensor<2>) -> Self {
        Self::new(name, PromptKind::Prefix, values)
    }

    /// Creates a prompt of embeddings `[n_virtual, d_model]`.
    pub fn input(name: &str, values: Tensor<2>) -> Self {
        Self::new(name, PromptKind::Input, values)
    }

    fn new(name: &str, kind: PromptKind, values: Tensor<2>) -> Self {
        Self {
            embedding: Param::from_tensor(values),
            encoder: None,
            kind,
            name: name.to_string(),
            is_active: true,
        }
    }

    /// Computes the values from the embedding.
    #[must_use]
    pub fn with_encoder(mut self, encoder: PromptEncoder) -> Self {
        self.encoder = Some(encoder);
        self
    }

    /// Replaces embedding and encoder by values.
    #[must_use]
    pub fn with_values(self, values: Tensor<2>) -> Self {
        let prompt = Self::new(&self.name, self.kind, values);
        prompt.with_active(self.is_active)
    }

    /// Switches the prompt on or off: the model computes as without one that is off.
    #[must_use]
    pub fn with_active(mut self, is_active: bool) -> Self {
        self.is_active = is_active;
        self
    }

    /// Returns the place in the model.
    pub fn kind(&self) -> PromptKind {
        self.kind
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns whether the model uses the prompt.
    pub fn is_active(&self) -> bool {
        self.is_active
    }

    /// Returns the number of virtual tokens.
    pub fn n_virtual(&self) -> usize {
        self.embedding.shape()[0]
    }

    /// Returns the number of values of a virtual token.
    pub fn d_values(&self) -> usize {
        let encoded = self.encoder.as_ref().and_then(PromptEncoder::d_output);
        encoded.unwrap_or(self.embedding.shape()[1])
    }

    /// Returns the values of the virtual tokens, `[n_virtual, d_values]`.
    pub fn values(&self) -> Tensor<2> {
        let embedding = self.embedding.val();
        match &self.encoder {
            Some(encoder) => encoder.forward(embedding),
            None => embedding,
        }
    }

    /// Returns the keys and values of a prefix in each layer, `[1, n_kv_heads, n_virtual, d_head]`.
    ///
    /// # Panics
    ///
    /// If the values do not fit the layers.
    #[track_caller]
    pub(super) fn key_values(&self, n_layers: usize, key_shape: [usize; 2]) -> Vec<KeyValues> {
        let [heads, d_head] = key_shape;
        let (n_virtual, d_values) = (self.n_virtual(), self.d_values());
        assert!(
            d_values == 2 * n_layers * heads * d_head,
            "a virtual token of a prefix has a key and a value of {heads} heads of {d_head} in each of {n_layers} \
             layers, {}, got {d_values}",
            2 * n_layers * heads * d_head
        );
        let values = self.values();
        let values = values.reshape([n_virtual, 2 * n_layers, heads, d_head]);
        let values = values.permute([1, 2, 0, 3]);
        let part = |i| values.clone().narrow(0, i, 1);
        let layers = 0..n_layers;
        layers
            .map(|layer| KeyValues::new(part(2 * layer), part(2 * layer + 1)))
            .collect()
    }

    /// Returns embeddings of tokens, `[batch, positions, d_model]`, behind those of the prompt.
    ///
    /// # Panics
    ///
    /// If a virtual token has another size.
    #[track_caller]
    pub(super) fn prepend(&self, x: Tensor<3>) -> Tensor<3> {
        let [batch, _, d_model] = x.dims();
        let (n_virtual, d_values) = (self.n_virtual(), self.d_values());
        assert!(
            d_values == d_model,
            "a virtual token has as many values as a token, {d_model}, got {d_values}"
        );
        let values = self.values().cast(x.dtype()).unsqueeze::<3>();
        Tensor::cat(vec![values.expand([batch, n_virtual, d_model]), x], 1)
    }
}
