//! Quantizers: values, gradients and packed codes.

mod fake_equals_packed;
mod learned_step;
mod oracle;
mod property_table;
mod straight_through;
