use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

use crate::{
    base::bounds::{Bounds, OutOfBounds, assert_valid, positive},
    functions::{AffineParams, affine_fake_quant, straight_through},
    ops::GradientRule,
};

/// Straight-through estimator: the surrogate gradient of a quantizer.
///
/// A quantizer is piecewise constant, so that its own gradient is zero almost everywhere. The forward
/// value is `Q(x)` bit for bit with every estimator. The learnable estimator, LSQ, is a quantizer of
/// its own: [`WeightQuantizer::LearnedStep`](crate::quant::WeightQuantizer::LearnedStep).
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::{QatScheme, Ste};
///
/// let scheme = QatScheme::b1_58().with_ste(Ste::clipped(1.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum Ste {
    /// Identity, `dL/dx = dL/dQ(x)`, without a clipping mask; the estimator of BitNet.
    ///
    /// Source: [Estimating or Propagating Gradients Through Stochastic
    /// Neurons](https://arxiv.org/abs/1308.3432).
    #[default]
    Identity,
    /// Clipped straight-through estimator: `dL/dx = dL/dQ(x)` where
    /// `bound * lowest level <= x <= bound * highest level`, else 0.
    ///
    /// For ternary weights this range is `|W| <= bound * gamma`, for absmax activations `|x|` at most `bound`
    /// times the scale of the largest code. With a bound of 1, weights that cannot be represented stop
    /// moving away from the levels (saturating estimator).
    ///
    /// Source: [Quantized Neural Networks](https://arxiv.org/abs/1609.07061) (bound 1).
    Clipped {
        /// Multiple of the range of the levels outside of which there is no gradient; 1 if a text has none.
        #[serde(default = "default_bound", deserialize_with = "positive")]
        bound: f32,
    },
    /// Soft estimator of differentiable soft quantization (DSQ): the slope of a tanh between each level and
    /// the next.
    ///
    /// With `v = x / step` in codes, `d` its distance from the nearest threshold between two codes and
    /// `k = 1 / temperature`:
    ///
    /// `dL/dx = dL/dQ(x) * k / (2 tanh(k / 2)) * (1 - tanh(k d)^2)` within the codes, else 0.
    ///
    /// The mean factor between two levels is 1. A high temperature gives the clipped estimator; with a low
    /// one only values near a threshold have a gradient.
    ///
    /// Source: [Differentiable Soft Quantization](https://arxiv.org/abs/1908.05033), equations 3 to 5.
    Tanh {
        /// Width of the step between two levels, in codes; 0.5 if a text has none.
        #[serde(default = "default_tanh_temperature", deserialize_with = "positive")]
        temperature: f32,
    },
    /// Soft estimator of quantization networks: the slope of a sum of sigmoids, one for each threshold
    /// `t` between two codes.
    ///
    /// With `v = x / step` in codes and `sigma'(z) = sigma(z) (1 - sigma(z))`:
    ///
    /// `dL/dx = dL/dQ(x) * sum over t of sigma'((v - t) / temperature) / temperature`
    ///
    /// Unlike [`Tanh`](Self::Tanh) it has a gradient beyond the last level. The cost of the backward
    /// pass grows with the number of thresholds within 20 temperatures.
    ///
    /// Source: [Quantization Networks](https://arxiv.org/abs/1911.09464), equations 3 and 9.
    Sigmoid {
        /// Width of the steps, in codes; 0.25 if a text has none.
        #[serde(default = "default_sigmoid_temperature", deserialize_with = "positive")]
        temperature: f32,
    },
}

fn default_bound() -> f32 {
    1.0
}

fn default_tanh_temperature() -> f32 {
    0.5
}

fn default_sigmoid_temperature() -> f32 {
    0.25
}

impl Ste {
    /// Creates the clipped estimator, which passes gradients within `bound` times the range of the levels.
    ///
    /// # Panics
    ///
    /// If `bound` is not positive and finite.
    #[track_caller]
    pub fn clipped(bound: f32) -> Self {
        Self::Clipped { bound }.valid()
    }

    /// Creates the estimator of a tanh of the given temperature.
    ///
    /// # Panics
    ///
    /// If `temperature` is not positive and finite.
    #[track_caller]
    pub fn tanh(temperature: f32) -> Self {
        Self::Tanh { temperature }.valid()
    }

    /// Creates the estimator of sigmoids of the given temperature.
    ///
    /// # Panics
    ///
    /// If `temperature` is not positive and finite.
    #[track_caller]
    pub fn sigmoid(temperature: f32) -> Self {
        Self::Sigmoid { temperature }.valid()
    }

    #[track_caller]
    fn valid(self) -> Self {
        assert_valid(self.validate());
        self
    }

    /// Checks the number of the configuration.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        match *self {
            Self::Identity => Ok(()),
            Self::Clipped { bound } => Bounds::POSITIVE.check("bound", bound),
            Self::Tanh { temperature } | Self::Sigmoid { temperature } => {
                Bounds::POSITIVE.check("temperature", temperature)
            }
        }
    }

    /// Returns the gradient rule; `None` for the identity.
    pub fn rule(&self) -> Option<GradientRule> {
        match *self {
            Self::Identity => None,
            Self::Clipped { bound } => Some(GradientRule::Clipped { bound }),
            Self::Tanh { temperature } => Some(GradientRule::Tanh { temperature }),
            Self::Sigmoid { temperature } => Some(GradientRule::Sigmoid { temperature }),
        }
    }

    /// Returns `quantized` as a function of `x`, with the gradient of this estimator for the levels.
    ///
    /// # Panics
    ///
    /// If the shapes or types differ, or the levels do not fit them.
    #[track_caller]
    pub fn apply<const D: usize>(
        &self,
        x: Tensor<D>,
        quantized: Tensor<D>,
        levels: AffineParams,
    ) -> Tensor<D> {
        straight_through(x, quantized, levels, self.rule())
    }

    /// Fake-quantizes `x` to the levels, with the gradient of this estimator.
    pub(super) fn fake_quant<const D: usize>(
        &self,
        x: Tensor<D>,
        levels: AffineParams,
    ) -> Tensor<D> {
        if *self == Self::Identity {
            return affine_fake_quant(x, levels);
        }
        let quantized = affine_fake_quant(x.clone().detach(), levels.clone());
        self.apply(x, quantized, levels)
    }
}
