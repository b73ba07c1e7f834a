//! Quantization-aware training of modules: fake quantizers, their settings during training
//! ([`QuantControls`]), and the conversion of a model from latent weights ([`Prepare`]) to packed
//! ones ([`convert`]).

mod activation_fake_quant;
mod calibrate;
mod control;
mod convert;
mod error_probe;
mod fake_quant;
mod latent_weights;
mod mixed_precision_plan;
mod observer_slot;
mod packed_four_bit;
mod packed_model;
mod packed_parameter;
mod packed_weight;
#[cfg(feature = "peft")]
mod parameter_quantizers;
mod parameters;
mod prepare;
mod quantization_error;
mod quantizer_settings;
mod sensitivity;
mod tagged;

pub use activation_fake_quant::ActivationFakeQuant;
#[cfg(feature = "train")]
pub(crate) use calibrate::ObserverStates;
pub use control::{QuantControls, detach_controls};
pub use convert::{ConvertError, convert};
pub use fake_quant::FakeQuant;
pub(crate) use latent_weights::cast_leaf;
pub use latent_weights::{cast_latent_weights, latent_weights, quantizer_parameters};
pub use mixed_precision_plan::{MixedPrecisionPlan, PlanBudget, PlanError, Precision};
pub(crate) use packed_four_bit::PackedFourBit;
pub use packed_model::{PackedModel, PackedModelError};
pub use packed_parameter::PackedParameter;
pub use packed_weight::PackedWeight;
#[cfg(feature = "peft")]
pub(crate) use parameter_quantizers::parameter_quantizers;
pub(crate) use parameters::Inventory;
#[cfg(feature = "peft")]
pub(crate) use parameters::Parameter;
pub use prepare::{Decision, Prepare, PrepareError, PrepareReport};
pub use quantization_error::QuantizationError;
pub(crate) use quantizer_settings::QuantizerSettings;
pub use sensitivity::{LayerSensitivity, Sensitivity, SensitivityError, SensitivityReport};
#[cfg(feature = "peft")]
pub(crate) use tagged::Tagged;
