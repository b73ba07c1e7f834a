use burn::tensor::Tensor;
use derive_more::From;
use serde::{Deserialize, Serialize};

use super::{ClippedSte, SigmoidSte, TanhSte};
use crate::{
    base::bounds::{Bounds, OutOfBounds},
    functions::{AffineParams, affine_fake_quant, straight_through},
    ops::GradientRule,
};

/// Straight-through estimator: the surrogate gradient of a quantizer.
///
/// A quantizer is piecewise constant, so that its own gradient is zero almost everywhere. The forward
/// value is `Q(x)` bit for bit with every estimator. The learnable estimator, LSQ, is a quantizer of
/// its own: [`LearnedStepConfig`](crate::quant::LearnedStepConfig).
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize, From)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Ste {
    /// Identity, `dL/dx = dL/dQ(x)`, without a clipping mask; the estimator of BitNet.
    ///
    /// Source: [Estimating or Propagating Gradients Through Stochastic
    /// Neurons](https://arxiv.org/abs/1308.3432).
    #[default]
    Identity,
    /// No gradient beyond a multiple of the largest level.
    Clipped(ClippedSte),
    /// The slope of a tanh between the levels.
    Tanh(TanhSte),
    /// The slope of a sum of sigmoids.
    Sigmoid(SigmoidSte),
}

impl Ste {
    /// Checks the number of the configuration.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        match self {
            Self::Identity => Ok(()),
            Self::Clipped(ste) => Bounds::POSITIVE.check("bound", ste.bound),
            Self::Tanh(ste) => Bounds::POSITIVE.check("temperature", ste.temperature),
            Self::Sigmoid(ste) => Bounds::POSITIVE.check("temperature", ste.temperature),
        }
    }

    /// Returns the gradient rule; `None` for the identity.
    pub fn rule(&self) -> Option<GradientRule> {
        match self {
            Self::Identity => None,
            Self::Clipped(ste) => Some(ste.rule()),
            Self::Tanh(ste) => Some(ste.rule()),
            Self::Sigmoid(ste) => Some(ste.rule()),
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
    pub(in crate::quant) fn fake_quant<const D: usize>(
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn estimators_serialize_by_name_and_refuse_what_is_not_positive() {
        for (ste, json) in [
            (Ste::Identity, r#""identity""#),
            (ClippedSte::new(1.5).into(), r#"{"clipped":{"bound":1.5}}"#),
            (
                TanhSte::new(0.25).into(),
                r#"{"tanh":{"temperature":0.25}}"#,
            ),
            (
                SigmoidSte::new(0.25).into(),
                r#"{"sigmoid":{"temperature":0.25}}"#,
            ),
        ] {
            assert_eq!(serde_json::to_string(&ste).unwrap(), json);
            assert_eq!(serde_json::from_str::<Ste>(json).unwrap(), ste);
        }
        for json in [
            r#"{"clipped":{"bound":0.0}}"#,
            r#"{"tanh":{"temperature":-1.0}}"#,
        ] {
            let error = serde_json::from_str::<Ste>(json).unwrap_err().to_string();
            assert!(error.contains("must be positive and finite"), "{error}");
        }
    }

    #[test]
    #[should_panic(expected = "temperature must be positive and finite, got 0")]
    fn a_temperature_of_zero_is_refused() {
        SigmoidSte::new(0.0);
    }
}
