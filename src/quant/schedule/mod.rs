//! Values that change in the course of a training: the strength of quantisation, the width of
//! its codes, and which layer comes when. Plain functions of the step.

mod bit_width;
mod error;
mod layer_order;
mod layerwise;
mod progressive;

pub use bit_width::{BitWidthSchedule, BitWidthStage};
pub use error::ScheduleError;
pub use layer_order::LayerOrder;
pub use layerwise::{LayerwiseConfig, LayerwiseSchedule};
pub use progressive::{ProgressiveSchedule, ProgressiveShape};
