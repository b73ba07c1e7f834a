//! A whole training as one value, read from TOML or JSON.

mod error;
mod file;
mod learning_rate;
mod monitoring;
mod optimizer;
mod schedule;
mod training;

pub use error::TrainingConfigError;
pub use learning_rate::LearningRateConfig;
pub use monitoring::{ErrorMonitorConfig, MonitoringConfig, NanPolicy};
pub use optimizer::OptimizerConfig;
pub use schedule::{CalibrationConfig, ScheduleConfig};
pub use training::{RunConfig, TrainingConfig, TrainingHandles};
