//! Code shared by the examples: command lines, a text, and training of a small model.

mod allocator;
mod command_line;
mod sample;
mod text;
mod training;

pub use command_line::{count, learning_rate, name, parsed, run_example};
pub use sample::print_sample;
pub use text::{BATCH, CONTEXT, STEPS_PER_EPOCH, Text};
pub use training::{train, training_config, warm_up_steps};

/// Any error, printed as one sentence.
pub type Error = Box<dyn std::error::Error + Send + Sync>;
