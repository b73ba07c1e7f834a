//! Callbacks of the training loop, which implement the parts of quantization-aware training.
//!
//! [`CallbackStrategy`](super::CallbackStrategy) runs the loop of Burn's `Learner` and calls the
//! methods of each [`Callback`]. A custom callback takes a few lines:
//!
//! ```
//! use bitnet_burn::train::callback::{Callback, CallbackResult, TrainingRun};
//! use burn::train::LearnerModel;
//!
//! struct StopAt(usize);
//!
//! impl<M: LearnerModel> Callback<M> for StopAt {
//!     fn name(&self) -> &str {
//!         "stop_at"
//!     }
//!
//!     fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
//!         if run.position().step == self.0 {
//!             run.stop("stop_at", "that is enough");
//!         }
//!         Ok(())
//!     }
//! }
//! ```

#[cfg(feature = "peft")]
mod ada_lora;
mod base;
mod calibration;
mod earlier_file;
mod early_stopping;
mod error_monitor;
mod event;
mod foreign_controls;
mod gradient_clipping;
mod gradient_statistics;
mod interruption;
mod json_logger;
mod list;
mod loss_scaling;
mod mitigation;
mod mitigation_rule;
mod nan_guard;
mod non_finite;
mod plain_progress;
mod quantization_noise;
mod report;
mod run;
mod schedule;
mod scheduled_weight_decay;
mod step_loss;

#[cfg(feature = "peft")]
pub use ada_lora::AdaLoraAllocation;
pub(in crate::train) use base::CallbackError;
pub(in crate::train) use base::StateTensors;
pub use base::{BackwardPass, Callback, CallbackResult, OptimizerStep, TrainOutputOf};
pub use calibration::Calibration;
pub use early_stopping::EarlyStopping;
pub use error_monitor::ErrorMonitor;
pub use event::TrainingEvent;
use foreign_controls::ForeignControls;
pub use gradient_clipping::GradientClipping;
pub use gradient_statistics::GradientStatistics;
pub use interruption::Interruption;
pub use json_logger::JsonLogger;
pub(in crate::train) use list::{CallbackList, CallbackStates};
pub use loss_scaling::{LossScaling, SharedLossScaler};
pub use mitigation::{Mitigation, Mitigations};
pub use mitigation_rule::{MitigationRule, Remedy, Symptom};
pub use nan_guard::NanGuard;
pub use non_finite::NonFinite;
pub use plain_progress::PlainProgress;
pub use quantization_noise::QuantizationNoise;
pub(in crate::train) use report::ReportRecorder;
pub use run::TrainingRun;
pub use schedule::{BitWidthAnnealing, ProgressiveQuantization};
pub use scheduled_weight_decay::ScheduledWeightDecay;
pub(in crate::train) use step_loss::StepLoss;
