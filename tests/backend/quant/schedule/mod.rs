//! Schedules of a training.

mod bit_width;
mod layer_order;
mod layerwise;
mod progressive;
