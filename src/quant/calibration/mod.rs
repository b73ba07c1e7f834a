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
mod table_error;

pub use ema_min_max::EmaMinMaxConfig;
pub use error::CalibrationError;
pub use granularity::ObserverGranularity;
pub use histogram::{Histogram, HistogramConfig};
pub use min_max::MinMaxConfig;
pub use mse::MseConfig;
pub use observer::Observer;
pub use observer_config::ObserverConfig;
pub use percentile::PercentileConfig;
pub use range::Range;
pub use sampling::SamplingPolicy;
pub use static_params::{Mapping, StaticParams};
pub use table::CalibrationTable;
pub use table_error::TableError;
