//! Ranges of activations, observed on a stream of tensors, and static quantization with them.

mod ema_min_max;
mod error;
mod extremes;
mod granularity;
mod histogram;
mod min_max;
mod mse;
mod observer;
mod observer_config;
mod percentile;
mod range;
mod sampling;
mod static_params;
mod statistics;
mod table;
#[cfg(test)]
mod tests;

pub use error::CalibrationError;
pub use granularity::ObserverGranularity;
use histogram::Histogram;
pub use observer::Observer;
pub use observer_config::ObserverConfig;
use range::Range;
pub use sampling::SamplingPolicy;
pub use static_params::Mapping;
use static_params::StaticParams;
pub use table::CalibrationTable;
