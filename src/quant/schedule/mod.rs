//! Schedules over a training, as plain functions of the step: the strength of quantization, the width of
//! its codes, and the order of the layers.

mod bit_width;
mod error;
mod layer_order;
mod layerwise;
mod progressive;

pub use bit_width::BitWidthSchedule;
use error::ScheduleError;
pub use layer_order::LayerOrder;
pub use layerwise::{LayerwiseConfig, LayerwiseSchedule};
pub use progressive::{ProgressiveSchedule, ProgressiveShape};
