use burn::{config::Config, module::Module, tensor::Tensor};
use serde::{Deserialize, Serialize};

use super::precision::{full_precision, mean};
use crate::base::bounds::{Bounds, positive};

/// Configuration of a [`KurtosisLoss`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct KurtosisLossConfig {
    /// The kurtosis that is asked for, above 0: 1.8, that of a uniform distribution, by default.
    /// (A normal distribution has 3; the least that any has is 1, that of two values.)
    #[serde(deserialize_with = "positive")]
    pub target: f64,
}

impl Config for KurtosisLossConfig {}

impl Default for KurtosisLossConfig {
    fn default() -> Self {
        Self { target: 1.8 }
    }
}

/// Kurtosis regularisation (KURE): `L = (kurt(W) - target)^2` with
/// `kurt(W) = mean(((W - mu) / sigma)^4)`.
///
/// `mu` and `sigma` are the mean and standard deviation of all values, the latter that of a
/// population (division by `n`), so that the kurtosis does not depend on scale and shift of `W`.
/// A uniform distribution of weights is robust against changes of the quantiser.
///
/// Weights of which all values are the same have no kurtosis; it is taken as 0 there, without
/// gradient. The same are values whose `sigma` is not above 1e-6 of their root mean square, or
/// not above 1e-15: f32 does not resolve them.
///
/// The paper takes the mean over the layers of a model.
///
/// Source: [Robust Quantization: One Model to Rule Them
/// All](https://arxiv.org/abs/2002.07686).
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::KurtosisLossConfig;
/// use burn::tensor::{Device, Tensor};
///
/// let weight = Tensor::<1>::from_floats([0.5, -0.5, 0.5, -0.5], &Device::default());
/// let loss = KurtosisLossConfig::new().init().forward(weight);
/// // The kurtosis of two values is 1.
/// assert!((loss.into_scalar::<f32>() - 0.64).abs() < 1e-6);
/// ```
#[derive(Module, Debug)]
pub struct KurtosisLoss {
    /// The kurtosis that is asked for.
    pub target: f64,
}

impl KurtosisLossConfig {
    /// The kurtosis of a uniform distribution.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets [`target`](Self::target).
    ///
    /// # Panics
    ///
    /// If it is not positive and finite.
    #[track_caller]
    pub fn with_target(mut self, target: f64) -> Self {
        Bounds::POSITIVE.assert("target kurtosis", target);
        self.target = target;
        self
    }

    /// Initialize a [`KurtosisLoss`].
    ///
    /// # Panics
    ///
    /// If `target` is not positive and finite.
    #[track_caller]
    pub fn init(&self) -> KurtosisLoss {
        Bounds::POSITIVE.assert("target kurtosis", self.target);
        KurtosisLoss {
            target: self.target,
        }
    }
}

/// A variance up to this part of the mean square is rounding.
const RELATIVE_VARIANCE: f64 = 1e-12;
/// A variance up to this is none; its square root is far above what f32 cannot divide by.
const SMALLEST_VARIANCE: f64 = 1e-30;

impl KurtosisLoss {
    /// The loss.
    ///
    /// # Shapes
    ///
    /// - weight: `[..]`
    /// - output: `[1]`, f32, or f64 for f64 inputs
    pub fn forward<const D: usize>(&self, weight: Tensor<D>) -> Tensor<1> {
        kurtosis(weight).sub_scalar(self.target).square()
    }
}

fn kurtosis<const D: usize>(weight: Tensor<D>) -> Tensor<1> {
    let weight = full_precision(weight).flatten::<1>(0, D - 1);
    let constant = mean(weight.clone().detach().square())
        .mul_scalar(RELATIVE_VARIANCE)
        .clamp_min(SMALLEST_VARIANCE);

    // Once is not enough: of equal values, the rounding of their mean would be left, as a
    // deviation that all of them share.
    let deviation = centred(centred(weight));
    let variance = mean(deviation.clone().square());
    let varies = variance.clone().greater(constant.clone());
    // Divided by no less than what counts as constant, and zeroed where it is: no NaN in either
    // direction.
    let standardized = deviation / variance.max_pair(constant).sqrt();
    mean(standardized.square().square()).mask_fill(varies.bool_not(), 0)
}

fn centred(values: Tensor<1>) -> Tensor<1> {
    let mean = mean(values.clone());
    values - mean
}
