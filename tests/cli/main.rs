//! End-to-end tests of the program `bitnet-burn`: exit codes, help, errors, and a small model in all
//! commands.

mod adapters;
mod convert;
mod data;
mod generate;
mod program;
#[cfg(unix)]
mod resume;
mod sensitivity;
mod train;
mod usage;
