//! Training loop of Burn's `Learner` with callbacks and checkpoints at any step.

mod accumulation;
mod callback_strategy;
mod checkpoints;
mod epoch;
mod loop_settings;
mod no_data;
mod resume;
mod training_loop;

pub use callback_strategy::CallbackStrategy;
pub(super) use no_data::NoData;
