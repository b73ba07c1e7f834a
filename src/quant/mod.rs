//! How a model is quantised: the scheme, the estimators, and the way of a model from latent
//! weights ([`Prepare`]) to packed ones ([`convert`]).

mod activation;
mod convert;
mod fake_quant;
mod granularity;
mod inventory;
mod packed_weight;
mod prepare;
mod scheme;
mod ste;
mod weight;

pub use activation::{AbsmaxConfig, ActivationQuantizer};
pub use convert::{ConvertError, PackedModel, convert};
pub use fake_quant::FakeQuant;
pub use granularity::{ActivationGranularity, GranularityError, WeightGranularity};
pub(crate) use inventory::Inventory;
pub use packed_weight::PackedWeight;
pub use prepare::{Decision, ParameterReport, Prepare, PrepareError, PrepareReport, Prepared};
pub use scheme::QatScheme;
pub use ste::Ste;
pub use weight::{TernaryConfig, WeightQuantizer};
