use burn::{
    config::Config,
    module::Initializer,
    nn::{RmsNorm, RmsNormConfig},
    tensor::Device,
};

use super::{
    GatedActivation, ProjectionBias, QkNorm, RopeScaling, RotaryEmbeddingConfig,
    TrainableProjection,
};
use crate::quant::QatScheme;

/// Configuration of a [`BitNetLm`](super::BitNetLm).
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

impl BitNetLmConfig {
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

    /// Creates a norm of `size` values.
    pub(super) fn norm(&self, size: usize, device: &Device) -> RmsNorm {
        RmsNormConfig::new(size)
            .with_epsilon(self.rms_norm_epsilon)
            .init(device)
    }

    /// Creates the projection of a name, such as `q_proj`, of size `d_input -> d_output`.
    pub(super) fn projection<P: TrainableProjection>(
        &self,
        name: &str,
        size: [usize; 2],
        bias: bool,
        device: &Device,
    ) -> P {
        let scheme = projection_scheme(&self.scheme, name);
        P::init(size, bias, &self.initializer, &scheme, device)
    }
}

/// Returns the scheme of the projection of a name in a model: only the output projections of the blocks rotate
/// their inputs.
pub(super) fn projection_scheme(scheme: &QatScheme, name: &str) -> QatScheme {
    let scheme = scheme.clone();
    match name.ends_with("o_proj") || name.ends_with("down_proj") {
        true => scheme,
        false => scheme.with_rotation(None),
    }
}
