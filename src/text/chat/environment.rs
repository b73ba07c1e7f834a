//! Jinja environment as in transformers.

use std::time::SystemTime;

use minijinja::{
    Environment, Error, ErrorKind, Output, State, Value,
    syntax::SyntaxConfig,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args},
};

use minijinja_contrib::globals::{cycler, joiner};

use super::{generation_marks, python};
use crate::text::TextError;

/// Limit of engine instructions per rendered text: far more than a conversation of thousands of turns
/// needs, and small enough that nested loops end within seconds.
const FUEL: u64 = 5_000_000;

/// Creates an environment without templates.
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
    environment.add_filter("attr", attribute);
    environment.add_test("sequence", is_sequence);
    environment.add_filter("default", default);
    environment.add_filter("d", default);
    environment.add_function("cycler", |items: Rest<Value>| cycler(items.to_vec()));
    environment.add_function("joiner", joiner);
    environment.add_function("raise_exception", raise_exception);
    environment.add_function(generation_marks::FUNCTION, generation_marks::generation);
    set_now(&mut environment, None);
    Ok(environment)
}

/// Sets the time of `strftime_now`; `None` for the clock.
pub(super) fn set_now(environment: &mut Environment<'static>, now: Option<SystemTime>) {
    environment.add_function("strftime_now", move |format: String| {
        let now = now.unwrap_or_else(SystemTime::now);
        python::strftime(&format, now)
            .map_err(|reason| Error::new(ErrorKind::InvalidOperation, reason))
    });
}

/// Writes a value as Python prints it.
fn format(out: &mut Output, state: &mut State, value: &Value) -> Result<(), Error> {
    match python::is_text(value) || value.kind() == ValueKind::Invalid {
        // With the errors of the engine, such as that of a value that could not be computed.
        true => minijinja::escape_formatter(out, state, value),
        false => Ok(out.write_str(&python::to_str(value)?)?),
    }
}

/// `default`, whose arguments may be named.
fn default(value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<Value, Error> {
    let arguments = arguments.into_values();
    let (kwargs, given): (Vec<Value>, Vec<Value>) =
        arguments.into_iter().partition(Value::is_kwargs);
    let (kwargs,): (Kwargs,) = from_args(&kwargs)?;
    let mut given = given.into_iter();
    // `none` is an ordinary value here.
    let mut next = |name: &str| match (given.next(), kwargs.has(name)) {
        (Some(value), _) => Ok(Some(value)),
        (None, true) => kwargs.get::<Value>(name).map(Some),
        (None, false) => Ok(None),
    };
    let (other, boolean) = (next("default_value")?, next("boolean")?);
    kwargs.assert_all_used()?;
    if given.next().is_some() {
        return Err(Error::from(ErrorKind::TooManyArguments));
    }
    let also_false = boolean.is_some_and(|boolean| boolean.is_true());
    match value.is_undefined() || (also_false && !value.is_true()) {
        true => Ok(other.unwrap_or_else(|| Value::from(""))),
        false => Ok(value.clone()),
    }
}

/// `attr`, which does not return the items of a dictionary in Python.
fn attribute(value: &Value, name: &Value) -> Result<Value, Error> {
    match value.kind() {
        ValueKind::Map => Err(Error::new(
            ErrorKind::InvalidOperation,
            "`attr` does not give the items of a dictionary, which are in brackets",
        )),
        _ => minijinja::filters::attr(value, name),
    }
}

/// Returns `true` for values with a length and items: in Python also texts and dictionaries.
fn is_sequence(value: &Value) -> bool {
    matches!(
        value.kind(),
        ValueKind::String | ValueKind::Seq | ValueKind::Map
    )
}

/// Function with which templates reject messages.
fn raise_exception(message: String) -> Result<String, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, message))
}
