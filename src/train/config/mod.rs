//! Configuration of a whole training, read from TOML or JSON.

mod error;
mod file;
mod handles;
mod learning_rate;
mod monitoring;
mod optimizer;
mod parameter_group;
mod schedule;
mod training;

pub use error::TrainingConfigError;
pub(super) use handles::TrainingHandles;
pub use learning_rate::LearningRateConfig;
pub use monitoring::{ErrorMonitorConfig, MonitoringConfig, NanPolicy};
pub use optimizer::{OptimizerConfig, OptimizerKind};
pub use parameter_group::ParameterGroupConfig;
pub use schedule::{CalibrationConfig, ScheduleConfig};
pub use training::{RunConfig, TrainingConfig};
