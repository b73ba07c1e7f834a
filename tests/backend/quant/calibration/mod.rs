//! Observers and their tables.

#[path = "../../../../src/quant/calibration/tests/distributions.rs"]
mod distributions;
mod observer;
mod observer_config;
mod sampling;
mod table;
