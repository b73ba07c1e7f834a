use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};

use super::{
    group::{GroupedValues, reshape},
    setting::read_right,
    weight::QuantizedWeight,
};

/// Noise on weights while they train. Evaluation and packing see none.
///
/// The random numbers are a function of the seed, the layer and the step that
/// [`QuantControls::set_step`](super::QuantControls::set_step) was told, and of nothing else: a
/// resumed run draws the same. They are made on the host, one for each weight and forward pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
#[non_exhaustive]
pub enum NoiseConfig {
    /// Uniform noise of the size of a rounding error in place of rounding:
    /// `W + factor * step * (u - 1/2)`, with `u` uniform in [0, 1) and `step` the distance of two
    /// levels. The gradient of `W` is the identity.
    ///
    /// Source: [Differentiable Model Compression via Pseudo Quantization
    /// Noise](https://arxiv.org/abs/2104.09987).
    Uniform {
        /// Size of the noise, as a multiple of that of rounding; 0 or more.
        #[serde(deserialize_with = "deserialize_factor")]
        factor: f32,
        /// Seed of the random numbers.
        #[serde(default)]
        seed: u64,
    },
    /// In each step a random share of the weights is quantised; the others keep their latent value
    /// and an unbiased gradient (Quant-Noise).
    ///
    /// Source: [Training with Quantization Noise for Extreme Model
    /// Compression](https://arxiv.org/abs/2004.07320).
    Quant {
        /// Share of the weights that are quantised, 0 to 1.
        #[serde(deserialize_with = "deserialize_fraction")]
        fraction: f32,
        /// Seed of the random numbers.
        #[serde(default)]
        seed: u64,
    },
}

impl NoiseConfig {
    /// What is wrong with the configuration.
    pub(super) fn fault(&self) -> Option<String> {
        match *self {
            Self::Uniform { factor, .. } => factor_fault(factor),
            Self::Quant { fraction, .. } => fraction_fault(fraction),
        }
    }

    /// The noisy weight: `constant` is the quantised value of `latent`, `quantized` the same with
    /// its gradient.
    pub(super) fn apply<const D: usize>(
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
                    .scaled(constant.levels.steps.mul_scalar(factor));
                latent + reshape(noise, shape).cast(dtype)
            }
            Self::Quant { fraction, seed } => {
                let drawn = uniform(shape, mix(seed ^ key), &device).lower_scalar(fraction);
                latent.mask_where(drawn, quantized())
            }
        }
    }
}

/// Random numbers in [0, 1): the i-th depends on the key and `i` alone.
fn uniform<const D: usize>(shape: [usize; D], key: u64, device: &Device) -> Tensor<D> {
    let count: usize = shape.iter().product();
    let values: Vec<f32> = (0..count as u64)
        .map(|i| unit(mix(key.wrapping_add(i))))
        .collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// The upper 24 bits as a number in [0, 1), exact in `f32`.
fn unit(bits: u64) -> f32 {
    (bits >> 40) as f32 / (1u64 << 24) as f32
}

/// SplitMix64: a random-looking number for each counter.
///
/// Source: [Fast Splittable Pseudorandom Number Generators](https://doi.org/10.1145/2660193.2660195).
pub(crate) fn mix(counter: u64) -> u64 {
    let z = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

fn factor_fault(factor: f32) -> Option<String> {
    let right = factor >= 0.0 && factor.is_finite();
    (!right).then(|| format!("a noise factor is 0 or more, got {factor}"))
}

fn fraction_fault(fraction: f32) -> Option<String> {
    let right = (0.0..=1.0).contains(&fraction);
    (!right).then(|| format!("a fraction is in 0 to 1, got {fraction}"))
}

fn deserialize_factor<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<f32, D::Error> {
    let factor = f32::deserialize(deserializer)?;
    read_right(factor, factor_fault(factor))
}

fn deserialize_fraction<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<f32, D::Error> {
    let fraction = f32::deserialize(deserializer)?;
    read_right(fraction, fraction_fault(fraction))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_numbers_are_those_of_the_published_generator() {
        // SplitMix64 with seed 0, as in Java's SplittableRandom and Vigna's splitmix64.c.
        let expected = [
            0xe220_a839_7b1d_cdaf,
            0x6e78_9e6a_a1b9_65f4,
            0x06c4_5d18_8009_454f,
        ];
        assert_eq!([0, 1, 2].map(mix), expected);
    }

    #[test]
    fn random_numbers_fill_the_unit_interval_evenly() {
        // The mean of n has the standard deviation 1 / sqrt(12 n); four of them.
        let n = 1 << 16;
        let values: Vec<f64> = (0..n).map(|i| unit(mix(7 + i)) as f64).collect();
        let mean = values.iter().sum::<f64>() / n as f64;
        assert!(
            (mean - 0.5).abs() < 4.0 / (12.0 * n as f64).sqrt(),
            "{mean}"
        );
        assert!(values.iter().all(|v| (0.0..1.0).contains(v)));
    }

    #[test]
    fn shares_outside_their_range_are_refused_when_read() {
        for (json, message) in [
            (r#"{"uniform":{"factor":-1.0}}"#, "0 or more, got -1"),
            (r#"{"quant":{"fraction":1.5}}"#, "in 0 to 1, got 1.5"),
        ] {
            let error = serde_json::from_str::<NoiseConfig>(json)
                .unwrap_err()
                .to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
