//! Bundled callbacks.

#[cfg(feature = "peft")]
mod ada_lora;
mod bundled;
mod calibration;
mod early_stopping;
mod error_monitor;
mod foreign_controls;
mod guards;
#[cfg(unix)]
mod log_destinations;
mod mitigation;
mod named;
