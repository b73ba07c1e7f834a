//! How a model is quantised: the scheme, the quantisers and estimators, what schedules set while a
//! model trains ([`QuantControls`]), and the way of a model from latent weights ([`Prepare`]) to
//! packed ones ([`convert`]).

mod activation;
mod activation_fake_quant;
mod bit_width;
mod calibrate;
pub mod calibration;
mod control;
mod controls;
mod convert;
mod distinct;
mod error_probe;
mod fake_quant;
mod granularity;
mod group;
mod inventory;
mod latent_weights;
mod learned_step;
mod mixed_precision_plan;
mod noise;
pub(crate) mod none_word;
mod observation;
mod packed_model;
mod packed_parameter;
mod packed_weight;
mod prepare;
mod progressive;
mod quantization_error;
mod quantizer_settings;
mod rotation;
pub mod schedule;
mod scheme;
mod sensitivity;
pub(crate) mod setting;
mod ste;
mod tagged;
mod weight;

pub use activation::{
    AbsmaxConfig, AbsmeanConfig, ActivationQuantizer, AsymmetricConfig, LearnedActivationConfig,
    StaticConfig, TopKConfig,
};
pub use activation_fake_quant::ActivationFakeQuant;
pub use bit_width::BitWidth;
pub use calibrate::{CalibrateError, ObservationState};
pub use controls::{QuantControls, detach_controls};
pub use convert::{ConvertError, convert};
pub(crate) use distinct::visit_distinct;
pub use fake_quant::FakeQuant;
pub use granularity::{ActivationGranularity, GranularityError, WeightGranularity};
pub(crate) use latent_weights::cast_leaf;
pub use latent_weights::{cast_latent_weights, latent_weights, quantizer_parameters};
pub use learned_step::LearnedStepConfig;
pub use mixed_precision_plan::{MixedPrecisionPlan, PlanBudget, PlanError, Precision};
pub use noise::NoiseConfig;
pub(crate) use noise::mix;
pub use packed_model::{PackedModel, PackedModelError};
pub use packed_parameter::PackedParameter;
pub use packed_weight::PackedWeight;
pub use prepare::{
    Decision, HeadRule, ParameterReport, Prepare, PrepareError, PrepareReport, Prepared,
};
pub use quantization_error::{CodeCount, QuantizationError, ScaleSummary};
pub use quantizer_settings::QuantizerSettings;
pub use rotation::HadamardConfig;
pub use scheme::QatScheme;
pub use sensitivity::{LayerSensitivity, Sensitivity, SensitivityError, SensitivityReport};
pub use ste::{ClippedSte, SigmoidSte, Ste, TanhSte};
pub use weight::{BinaryConfig, SymmetricConfig, TernaryConfig, TernaryScale, WeightQuantizer};

pub(crate) use inventory::{Inventory, Role};
