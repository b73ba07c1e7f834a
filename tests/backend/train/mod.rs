//! The training loop and what runs in it.

mod callback;
mod checkpoint;
mod config;
mod distiller;
mod failure;
mod faults;
#[cfg(feature = "text")]
mod gradient_checkpointing;
mod learning_rate;
mod no_data;
mod oracle;
mod ordered_data_loader;
#[cfg(feature = "text")]
mod seekable_loaders;
mod sequences;
mod strategy;
mod teacher_logits;
#[cfg(feature = "text")]
mod token_loss;
mod toy_runs;
#[cfg(feature = "text")]
mod trainer;
