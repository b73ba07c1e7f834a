use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{
    group::{GroupedValues, reshape},
    weight::QuantizedWeight,
};
use crate::base::{
    bounds::{Bounds, OutOfBounds},
    random::{mix, unit},
};

/// Noise on weights during training. Evaluation and packing have none.
///
/// The random numbers depend only on the seed, the layer and the step set by
/// [`QuantControls::set_step`](crate::qat::QuantControls::set_step): a resumed run draws the same numbers.
/// They are drawn on the host, one for each weight and forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NoiseConfig {
    /// Uniform noise of the magnitude of a rounding error in place of rounding:
    /// `W + factor * step * (u - 1/2)`, with `u` uniform in [0, 1) and `step` the distance between two
    /// levels. The gradient of `W` is the identity.
    ///
    /// Source: [Differentiable Model Compression via Pseudo Quantization
    /// Noise](https://arxiv.org/abs/2104.09987).
    Uniform {
        /// Magnitude of the noise relative to that of rounding; 0 or more.
        #[serde(deserialize_with = "deserialize_factor")]
        factor: f32,
        /// Seed of the random numbers.
        #[serde(default)]
        seed: u64,
    },
    /// Quantization of a random share of the weights in each step; the others keep their latent value
    /// and an unbiased gradient (Quant-Noise).
    ///
    /// Source: [Training with Quantization Noise for Extreme Model
    /// Compression](https://arxiv.org/abs/2004.07320).
    Quant {
        /// Share of the weights that are quantized, 0 to 1.
        #[serde(deserialize_with = "deserialize_fraction")]
        fraction: f32,
        /// Seed of the random numbers.
        #[serde(default)]
        seed: u64,
    },
}

impl NoiseConfig {
    /// Checks the number of the configuration.
    pub(crate) fn validate(&self) -> Result<(), OutOfBounds> {
        match *self {
            Self::Uniform { factor, .. } => Bounds::NOT_NEGATIVE.check("factor", factor),
            Self::Quant { fraction, .. } => Bounds::FRACTION.check("fraction", fraction),
        }
    }

    /// Returns the noisy weight: `constant` is the quantized value of `latent`, `quantized` the same value
    /// with its gradient.
    pub(crate) fn apply<const D: usize>(
        &self,
        latent: Tensor<D>,
        constant: QuantizedWeight<D>,
        quantized: impl FnOnce() -> Tensor<D>,
        key: u64,
    ) -> Tensor<D> {
        let (shape, dtype, device) = (latent.dims(), latent.dtype(), latent.device());
        match *self {
            Self::Uniform { factor, seed } => {
                let noise = uniform(shape, mix(seed ^ key), &device).sub_scalar(0.5);
                let groups = constant.levels.groups;
                let noise = GroupedValues::new(noise, groups)
                    .scaled(constant.levels.scales.mul_scalar(factor));
                latent + reshape(noise, shape).cast(dtype)
            }
            Self::Quant { fraction, seed } => {
                let drawn = uniform(shape, mix(seed ^ key), &device).lower_scalar(fraction);
                latent.mask_where(drawn, quantized())
            }
        }
    }
}

/// Returns random numbers in [0, 1): the i-th depends only on the key and `i`.
fn uniform<const D: usize>(shape: [usize; D], key: u64, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count as u64)
        .map(|i| unit(mix(key.wrapping_add(i))))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

fn deserialize_factor<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    Bounds::NOT_NEGATIVE.read("factor", deserializer)
}

fn deserialize_fraction<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<f32, D::Error> {
    Bounds::FRACTION.read("fraction", deserializer)
}
