//! Quantizers: values, gradients and packed codes.

mod calibration;
mod fake_equals_packed;
mod granularity;
mod learned_step;
mod oracle;
mod property_table;
mod schedule;
mod scheme;
mod straight_through;
