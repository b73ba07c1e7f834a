//! Jinja as transformers sets it up.

use std::time::SystemTime;

use minijinja::{Environment, Error, ErrorKind, Output, State, Value, syntax::SyntaxConfig};

use super::{generation_marks, python};
use crate::text::TextError;

/// Instructions of the engine that a text may take: far more than a conversation of thousands of turns
/// does, and few enough that loops in loops end within seconds.
const FUEL: u64 = 20_000_000;

/// An environment without templates.
pub(super) fn environment() -> Result<Environment<'static>, TextError> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    // Lines of blocks leave no lines behind.
    let mut syntax = SyntaxConfig::builder();
    syntax.trim_blocks(true).lstrip_blocks(true);
    environment.set_syntax(syntax.build().map_err(TextError::template)?);
    environment.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
    environment.set_unknown_method_callback(python::call_method);
    environment.set_formatter(format);
    environment.add_filter("tojson", python::tojson);
    environment.add_filter("string", |value: &Value| python::to_str(value));
    environment.add_function("raise_exception", raise_exception);
    environment.add_function(generation_marks::FUNCTION, generation_marks::generation);
    set_now(&mut environment, None);
    Ok(environment)
}

/// Sets the time of `strftime_now`; `None` for that of the clock.
pub(super) fn set_now(environment: &mut Environment<'static>, now: Option<SystemTime>) {
    environment.add_function("strftime_now", move |format: String| {
        let now = now.unwrap_or_else(SystemTime::now);
        python::strftime(&format, now)
            .map_err(|reason| Error::new(ErrorKind::InvalidOperation, reason))
    });
}

/// Writes a value as Python prints it.
fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match python::is_text(value) {
        // With the errors of the engine, such as that of a value that could not be computed.
        true => minijinja::escape_formatter(out, state, value),
        false if value.kind() == minijinja::value::ValueKind::Invalid => {
            minijinja::escape_formatter(out, state, value)
        }
        false => Ok(out.write_str(&python::to_str(value))?),
    }
}

/// The function by which templates refuse messages.
fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_that_would_take_hours_are_an_error() {
        let mut environment = environment().unwrap();
        let source =
            "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
        environment.add_template_owned("loops", source).unwrap();
        let template = environment.get_template("loops").unwrap();
        let error = template.render(()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::OutOfFuel, "{error}");
    }
}
