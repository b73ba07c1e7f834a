//! Numerics of quantization: the scheme, quantizers of weights and activations, gradient estimators,
//! calibration and schedules. They operate on tensors; [`qat`](crate::qat) adds them to modules.

mod activation;
mod bit_width;
mod blend;
pub mod calibration;
mod four_bit;
mod granularity;
mod group;
mod learned_step;
mod noise;
mod rotation;
pub mod schedule;
mod scheme;
mod ste;
mod weight;

pub use activation::ActivationQuantizer;
pub(crate) use activation::{AbsmaxConfig, StaticConfig, StaticRange};
pub use bit_width::BitWidth;
pub(crate) use blend::blend;
pub use four_bit::FourBitConfig;
pub(crate) use granularity::GranularityError;
pub use granularity::{ActivationGranularity, WeightGranularity};
pub(crate) use group::reshape;
pub use noise::NoiseConfig;
pub use rotation::HadamardConfig;
pub use scheme::QatScheme;
pub use ste::Ste;
pub(crate) use weight::QuantizedWeight;
pub use weight::{TernaryScale, WeightQuantizer};

pub use crate::ops::{FourBitType, InputGradient};
