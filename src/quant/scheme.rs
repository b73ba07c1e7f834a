use core::fmt;

use serde::{Deserialize, Serialize};

use super::{
    ActivationGranularity, ActivationQuantizer, HadamardConfig, NoiseConfig, Ste, WeightQuantizer,
};
use crate::{
    base::bounds::{OutOfBounds, assert_valid},
    ops::InputGradient,
};

/// Quantization scheme of a model, used for training, conversion and deployment.
///
/// Training and conversion use the same scheme, so that the packed weights are exactly those that were
/// trained. The scheme serializes with `serde`. A missing field has its BitNet b1.58 value, and
/// `"activation": "none"` leaves activations in float.
///
/// # Example
///
/// ```
/// use bitnet_burn::quant::{QatScheme, WeightGranularity, WeightQuantizer};
///
/// let scheme = QatScheme::b1_58()
///     .with_weight(WeightQuantizer::ternary(WeightGranularity::PerGroup { group_size: 64 }));
/// let json = serde_json::to_string(&scheme).unwrap();
/// assert_eq!(serde_json::from_str::<QatScheme>(&json).unwrap(), scheme);
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct QatScheme {
    /// Quantizer of the weights.
    pub weight: WeightQuantizer,
    /// Quantizer of the input activations of quantized layers; `None` leaves them in float, written as
    /// `"none"` (TOML has no null; both are read).
    #[serde(with = "crate::base::serde_none")]
    pub activation: Option<ActivationQuantizer>,
    /// Estimator of the gradient through both quantizers.
    pub ste: Ste,
    /// Rotation of the input of quantized layers before quantization; `None` for no rotation. The language
    /// model rotates only the inputs of the output projections of its blocks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rotation: Option<HadamardConfig>,
    /// Noise on weights during training.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub noise: Option<NoiseConfig>,
    /// Precision of the gradient that [`BitLinear`](crate::nn::BitLinear) passes to its input, where it computes ternary
    /// weights with activations of absmax codes; elsewhere it is that of floats.
    #[serde(skip_serializing_if = "is_default")]
    pub input_gradient: InputGradient,
}

fn is_default(input_gradient: &InputGradient) -> bool {
    *input_gradient == InputGradient::default()
}

impl QatScheme {
    /// Creates the scheme of BitNet b1.58: ternary weights with one absmean scale per tensor, activations of
    /// 8 bits with one absmax scale per token, identity gradient.
    ///
    /// Source: [The Era of 1-bit LLMs](https://arxiv.org/abs/2402.17764).
    pub fn b1_58() -> Self {
        Self {
            weight: WeightQuantizer::default(),
            activation: Some(ActivationQuantizer::Absmax {
                bits: 8,
                granularity: ActivationGranularity::PerToken,
            }),
            ste: Ste::Identity,
            rotation: None,
            noise: None,
            input_gradient: InputGradient::Float,
        }
    }

    /// Ternary weights of BitNet b1.58 with activations in float, for [`Prepare`](crate::qat::Prepare).
    pub fn weight_only() -> Self {
        Self::b1_58().with_activation(None)
    }

    /// Checks the parts, which may have been created without their constructors.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        let within = |field| move |error: OutOfBounds| error.within(field);
        self.weight.validate().map_err(within("weight"))?;
        if let Some(activation) = &self.activation {
            activation.validate().map_err(within("activation"))?;
        }
        self.ste.validate().map_err(within("ste"))?;
        match &self.noise {
            Some(noise) => noise.validate().map_err(within("noise")),
            None => Ok(()),
        }
    }

    /// Sets the weight quantizer.
    ///
    /// # Panics
    ///
    /// If a value of it is out of its range.
    #[track_caller]
    #[must_use]
    pub fn with_weight(mut self, weight: impl Into<WeightQuantizer>) -> Self {
        self.weight = weight.into();
        assert_valid(self.weight.validate());
        self
    }

    /// Sets the activation quantizer, or none.
    ///
    /// # Panics
    ///
    /// If a value of it is out of its range.
    #[track_caller]
    #[must_use]
    pub fn with_activation(mut self, activation: Option<ActivationQuantizer>) -> Self {
        if let Some(activation) = &activation {
            assert_valid(activation.validate());
        }
        self.activation = activation;
        self
    }

    /// Sets the gradient estimator.
    ///
    /// # Panics
    ///
    /// If a value of it is out of its range.
    #[track_caller]
    #[must_use]
    pub fn with_ste(mut self, ste: Ste) -> Self {
        self.ste = ste;
        assert_valid(self.ste.validate());
        self
    }

    /// Sets the rotation of activations, or none.
    #[must_use]
    pub fn with_rotation(mut self, rotation: Option<HadamardConfig>) -> Self {
        self.rotation = rotation;
        self
    }

    /// Sets the noise on the weights during training.
    ///
    /// # Panics
    ///
    /// If a value of it is out of its range.
    #[track_caller]
    #[must_use]
    pub fn with_noise(mut self, noise: Option<NoiseConfig>) -> Self {
        if let Some(noise) = &noise {
            assert_valid(noise.validate());
        }
        self.noise = noise;
        self
    }

    /// Sets the precision of the gradients of inputs.
    #[must_use]
    pub fn with_input_gradient(mut self, input_gradient: InputGradient) -> Self {
        self.input_gradient = input_gradient;
        self
    }
}

impl fmt::Display for QatScheme {
    /// Names the quantizers and what else the scheme does, such as "ternary absmean per tensor, int8 absmax per
    /// token".
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.weight {
            WeightQuantizer::Ternary { granularity, scale } => {
                write!(f, "ternary {scale} {granularity}")?;
            }
            other => write!(f, "{other}")?,
        }
        match &self.activation {
            Some(ActivationQuantizer::Absmax { bits, granularity }) => {
                write!(f, ", int{bits} absmax {granularity}")?;
            }
            Some(other) => write!(f, ", activations {other}")?,
            None => f.write_str(", float activations")?,
        }
        if let Some(rotation) = &self.rotation {
            write!(f, ", {rotation}")?;
        }
        if self.noise.is_some() {
            f.write_str(", noise on weights")?;
        }
        match self.input_gradient {
            InputGradient::Float => Ok(()),
            InputGradient::Int8 => write!(f, ", {}", self.input_gradient),
        }
    }
}

impl Default for QatScheme {
    fn default() -> Self {
        Self::b1_58()
    }
}
