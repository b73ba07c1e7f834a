use burn::{
    module::Module,
    nn::RmsNorm,
    tensor::{Device, Tensor},
};

use super::{BitLinear, BitNetLmConfig, Projection, TrainableProjection, norm::normalize_if};
use crate::{functions::gated_activation, ops::GatedActivation};

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

impl<P: TrainableProjection> FeedForward<P> {
    /// Creates a block of a model.
    pub fn init(config: &BitNetLmConfig, device: &Device) -> Self {
        let (d_model, d_ff, bias) = (config.d_model, config.d_ff, config.bias.feed_forward);
        Self {
            gate_proj: config.projection("gate_proj", [d_model, d_ff], bias, device),
            up_proj: config.projection("up_proj", [d_model, d_ff], bias, device),
            down_proj: config.projection("down_proj", [d_ff, d_model], bias, device),
            ffn_sub_norm: config.sub_norm.then(|| config.norm(d_ff, device)),
            activation: config.activation,
            d_ff,
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
        self.down_proj
            .forward(normalize_if(&self.ffn_sub_norm, hidden))
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
    pub(crate) fn d_ff(&self) -> usize {
        self.d_ff
    }
}
