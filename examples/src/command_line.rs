use std::{fmt::Display, process::ExitCode, str::FromStr};

use clap::{Parser, ValueEnum};

use crate::{Error, allocator};

/// Parses the command line of an example and runs it.
///
/// An error is printed as one sentence on stderr; the exit code is then 2.
pub fn run_example<O: Parser>(run: impl FnOnce(O) -> Result<(), Error>) -> ExitCode {
    allocator::keep_freed_memory();
    match run(O::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", O::command().get_name());
            ExitCode::from(2)
        }
    }
}

/// Parses an option that is a count, 1 or more.
///
/// # Errors
///
/// If it is not.
pub fn count(text: &str) -> Result<usize, String> {
    parsed(text, "must be 1 or more", |count| *count > 0)
}

/// Parses an option that is a learning rate, above 0 and at most 1.
///
/// # Errors
///
/// If it is not.
pub fn learning_rate(text: &str) -> Result<f64, String> {
    let allowed = |rate: &f64| *rate > 0.0 && *rate <= 1.0;
    parsed(text, "must be above 0 and at most 1", allowed)
}

/// Parses an option whose values are bounded; `bounds` is the message for others.
///
/// # Errors
///
/// If it is no number, or not allowed.
pub fn parsed<T: FromStr<Err: Display>>(
    text: &str,
    bounds: &str,
    allowed: impl FnOnce(&T) -> bool,
) -> Result<T, String> {
    let value: T = text.parse().map_err(|error: T::Err| error.to_string())?;
    match allowed(&value) {
        true => Ok(value),
        false => Err(bounds.to_string()),
    }
}

/// Returns the name of an option's value.
pub fn name(value: impl ValueEnum) -> String {
    let value = value.to_possible_value();
    value.map_or(String::new(), |value| value.get_name().to_string())
}
