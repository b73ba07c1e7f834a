use burn::{
    config::Config,
    module::{Initializer, Module},
    nn::{RmsNorm, RmsNormConfig},
    tensor::{Device, Tensor},
};

use super::{
    BitLinear, Projection, ProjectionBias, TrainableProjection,
    projection::{norm_saved_bytes, normalize, saved_bytes},
};
use crate::{functions::gated_activation, quant::QatScheme};

pub use crate::functions::GatedActivation;

/// Configuration of a [`FeedForward`].
#[derive(Config, Debug)]
pub struct FeedForwardConfig {
    /// The size of the model.
    pub d_model: usize,
    /// The size between the projections.
    pub d_ff: usize,
    /// Activation of the gate.
    #[config(default = "GatedActivation::SquaredRelu")]
    pub activation: GatedActivation,
    /// Epsilon of the sub-norm; `None` for no sub-norm.
    #[config(default = "Some(1e-5)")]
    pub sub_norm_epsilon: Option<f64>,
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

/// Gated feed-forward block with a norm before the last projection:
/// `Y = down(norm(act(gate(X)) * up(X)))`.
#[derive(Module, Debug)]
pub struct FeedForward<P: Projection = BitLinear> {
    /// Projection `d_model -> d_ff` of the gate.
    pub gate_proj: P,
    /// Projection `d_model -> d_ff`.
    pub up_proj: P,
    /// Projection `d_ff -> d_model`.
    pub down_proj: P,
    /// Norm of size `d_ff`.
    pub ffn_sub_norm: Option<RmsNorm>,
    #[module(skip)]
    activation: GatedActivation,
    d_ff: usize,
}

impl FeedForwardConfig {
    /// Initialize a new [`FeedForward`] block.
    pub fn init<P: TrainableProjection>(&self, device: &Device) -> FeedForward<P> {
        let unrotated = self.scheme.clone().with_rotation(None);
        let bias = self.bias.feed_forward;
        let projection = |d_input, d_output, scheme| {
            P::init([d_input, d_output], bias, &self.initializer, scheme, device)
        };
        FeedForward {
            gate_proj: projection(self.d_model, self.d_ff, &unrotated),
            up_proj: projection(self.d_model, self.d_ff, &unrotated),
            down_proj: projection(self.d_ff, self.d_model, &self.scheme),
            ffn_sub_norm: self.sub_norm_epsilon.map(|epsilon| {
                RmsNormConfig::new(self.d_ff)
                    .with_epsilon(epsilon)
                    .init(device)
            }),
            activation: self.activation,
            d_ff: self.d_ff,
        }
    }
}

impl<P: Projection> FeedForward<P> {
    /// Applies the block.
    ///
    /// # Shapes
    ///
    /// - x, output: `[.., d_model]`
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let gate = self.gate_proj.forward(x.clone());
        let hidden = gated_activation(gate, self.up_proj.forward(x), self.activation);
        let hidden = match &self.ffn_sub_norm {
            Some(norm) => normalize(norm, hidden),
            None => hidden,
        };
        self.down_proj.forward(hidden)
    }

    /// Replaces each projection; `map` receives its name, such as `gate_proj`.
    ///
    /// # Errors
    ///
    /// The first error of `map`.
    pub fn try_map_projections<Q: Projection, E>(
        self,
        mut map: impl FnMut(&str, P) -> Result<Q, E>,
    ) -> Result<FeedForward<Q>, E> {
        Ok(FeedForward {
            gate_proj: map("gate_proj", self.gate_proj)?,
            up_proj: map("up_proj", self.up_proj)?,
            down_proj: map("down_proj", self.down_proj)?,
            ffn_sub_norm: self.ffn_sub_norm,
            activation: self.activation,
            d_ff: self.d_ff,
        })
    }

    /// Returns the projections by name.
    pub fn projections(&self) -> [(&'static str, &P); 3] {
        [
            ("gate_proj", &self.gate_proj),
            ("up_proj", &self.up_proj),
            ("down_proj", &self.down_proj),
        ]
    }

    /// Returns the size between the projections.
    pub(super) fn d_ff(&self) -> usize {
        self.d_ff
    }

    /// Returns the bytes saved for backward for `tokens` tokens: gate and up, norm and inputs of
    /// projections.
    pub(super) fn saved_bytes(&self, tokens: usize, d_model: usize) -> usize {
        let d_ff = self.d_ff;
        let norm = self.ffn_sub_norm.as_ref();
        4 * tokens * 2 * d_ff
            + norm.map_or(0, |_| norm_saved_bytes(tokens * d_ff))
            + saved_bytes(&[&self.gate_proj, &self.up_proj], tokens * d_model)
            + saved_bytes(&[&self.down_proj], tokens * d_ff)
    }
}
