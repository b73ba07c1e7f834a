use std::process::ExitCode;

use crate::Error;

/// Parses the command line of an example and runs it; `parse` returns `None` to print the help.
///
/// An error is printed as one sentence on stderr; the exit code is then 2.
pub fn run_example<O>(
    name: &str,
    help: &str,
    parse: impl FnOnce(lexopt::Parser) -> Result<Option<O>, Error>,
    run: impl FnOnce(O) -> Result<(), Error>,
) -> ExitCode {
    let result = match parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => run(options),
        Ok(None) => {
            print!("{help}");
            Ok(())
        }
        Err(error) if error.is::<lexopt::Error>() => {
            Err(format!("{error} (--help lists the options)").into())
        }
        Err(error) => Err(error),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: {error}");
            ExitCode::from(2)
        }
    }
}

/// Checks an option that is a count.
///
/// # Errors
///
/// If the count is 0.
pub fn check_count(option: &str, count: usize) -> Result<(), Error> {
    match count {
        0 => Err(format!("{option} must be 1 or more, got 0").into()),
        _ => Ok(()),
    }
}

/// Checks an option that is a learning rate.
///
/// # Errors
///
/// If the rate is not above 0 and at most 1.
pub fn check_learning_rate(option: &str, rate: f64) -> Result<(), Error> {
    match rate > 0.0 && rate <= 1.0 {
        true => Ok(()),
        false => Err(format!("{option} must be above 0 and at most 1, got {rate}").into()),
    }
}
