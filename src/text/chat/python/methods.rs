//! Methods of Python's strings, lists and dictionaries.

use minijinja::{
    Error, ErrorKind, State, Value,
    value::{Kwargs, Tuple, ValueKind, from_args},
};
use minijinja_contrib::pycompat::unknown_method_callback;

use super::strings;

/// Calls a Python method that Jinja values do not have.
pub fn call_method(
    state: &mut State,
    value: &Value,
    method: &str,
    arguments: &[Value],
) -> Result<Value, Error> {
    let found = match value.kind() {
        ValueKind::String => string(value.as_str().unwrap_or_default(), method, arguments)?,
        ValueKind::Map => map(value, method, arguments)?,
        ValueKind::Seq => list(value, method, arguments)?,
        _ => None,
    };
    match found {
        Some(result) => Ok(result),
        None => unknown_method_callback(state, value, method, arguments),
    }
}

fn string(text: &str, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let result = match method {
        "split" | "rsplit" => {
            let (separator, limit, kwargs): (Option<Value>, Option<i64>, Kwargs) =
                from_args(arguments)?;
            let separator = separator
                .or(kwargs.get("sep")?)
                .filter(|sep| !sep.is_none());
            let limit = limit
                .or(kwargs.get("maxsplit")?)
                .and_then(|limit| usize::try_from(limit).ok());
            kwargs.assert_all_used()?;
            let separator = separator.map(|separator| match separator.as_str() {
                Some("") | None => Err(wrong("a separator is a text that is not empty")),
                Some(separator) => Ok(separator.to_string()),
            });
            let separator = separator.transpose()?;
            strings::split(text, separator.as_deref(), limit, method == "rsplit").into()
        }
        "splitlines" => {
            let (keep, kwargs): (Option<bool>, Kwargs) = from_args(arguments)?;
            let keep = keep.or(kwargs.get("keepends")?);
            kwargs.assert_all_used()?;
            strings::split_lines(text, keep.unwrap_or(false)).into()
        }
        "strip" | "lstrip" | "rstrip" => {
            let (characters,): (Option<&str>,) = from_args(arguments)?;
            let (left, right) = (method != "rstrip", method != "lstrip");
            strings::strip(text, characters, left, right).into()
        }
        "title" | "capitalize" | "swapcase" | "casefold" => {
            let () = from_args(arguments)?;
            match method {
                "title" => strings::title(text).into(),
                "capitalize" => strings::capitalize(text).into(),
                "swapcase" => strings::swap_case(text).into(),
                _ => text.to_lowercase().into(),
            }
        }
        "removeprefix" | "removesuffix" => {
            let (affix,): (&str,) = from_args(arguments)?;
            let rest = match method {
                "removeprefix" => text.strip_prefix(affix),
                _ => text.strip_suffix(affix),
            };
            rest.unwrap_or(text).into()
        }
        "partition" | "rpartition" => partition(text, method, arguments)?,
        "ljust" | "rjust" | "center" | "zfill" => filled(text, method, arguments)?,
        "find" | "rfind" | "index" | "rindex" | "count"
            if arguments.len() > 1 || method.ends_with("index") =>
        {
            search(text, method, arguments)?
        }
        _ => return Ok(None),
    };
    Ok(Some(result))
}

fn partition(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (separator,): (&str,) = from_args(arguments)?;
    let parts = match method {
        "partition" => text.split_once(separator).map(|(a, b)| [a, separator, b]),
        _ => text.rsplit_once(separator).map(|(a, b)| [a, separator, b]),
    };
    let none = match method {
        "partition" => [text, "", ""],
        _ => ["", "", text],
    };
    Ok(Value::from(Tuple::from(
        parts.unwrap_or(none).map(Value::from),
    )))
}

/// Maximum width of a padded text.
const MAX_WIDTH: i64 = 100_000;

fn filled(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (width, fill): (i64, Option<&str>) = from_args(arguments)?;
    if width > MAX_WIDTH {
        return Err(wrong("a text is filled up to 100000 characters at most"));
    }
    let width = width.max(0) as usize;
    if method == "zfill" {
        let (sign, digits) = match text.strip_prefix(['+', '-']) {
            Some(digits) => text.split_at(text.len() - digits.len()),
            None => ("", text),
        };
        let digits = strings::justify(digits, width.saturating_sub(sign.len()), '0', true, false);
        return Ok(Value::from(format!("{sign}{digits}")));
    }
    let fill = fill.unwrap_or(" ").chars().next().unwrap_or(' ');
    Ok(strings::justify(text, width, fill, method != "ljust", method != "rjust").into())
}

/// `find` and related methods on a part of the text, in characters.
fn search(text: &str, method: &str, arguments: &[Value]) -> Result<Value, Error> {
    let (wanted, start, end): (&str, Option<i64>, Option<i64>) = from_args(arguments)?;
    let len = text.chars().count() as i64;
    let place = |at: i64| if at < 0 { (at + len).max(0) } else { at.min(len) } as usize;
    let (start, end) = (place(start.unwrap_or(0)), place(end.unwrap_or(len)));
    let part: String = text
        .chars()
        .skip(start)
        .take(end.saturating_sub(start))
        .collect();
    if method == "count" {
        return Ok(Value::from(part.matches(wanted).count()));
    }
    let found = match method.starts_with('r') {
        true => part.rfind(wanted),
        false => part.find(wanted),
    };
    match found {
        Some(at) => Ok(Value::from(start + part[..at].chars().count())),
        None if method.ends_with("index") => Err(wrong("substring not found")),
        None => Ok(Value::from(-1)),
    }
}

/// Returns lists instead of views: they have a length and can be iterated repeatedly.
fn map(value: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    let Some(object) = value.as_object() else {
        return Ok(None);
    };
    let pairs = || object.try_iter_pairs().into_iter().flatten();
    let result: Value = match method {
        "items" => pairs()
            .map(|(key, value)| Value::from(Tuple::from([key, value])))
            .collect(),
        "keys" => pairs().map(|(key, _)| key).collect(),
        "values" => pairs().map(|(_, value)| value).collect(),
        "copy" => value.clone(),
        _ => return Ok(None),
    };
    let () = from_args(arguments)?;
    Ok(Some(result))
}

fn list(value: &Value, method: &str, arguments: &[Value]) -> Result<Option<Value>, Error> {
    match method {
        "index" => {
            let (wanted,): (&Value,) = from_args(arguments)?;
            let found = value.try_iter()?.position(|item| item == *wanted);
            found
                .map(|at| Some(Value::from(at)))
                .ok_or_else(|| wrong("the value is not in the list"))
        }
        "copy" => {
            let () = from_args(arguments)?;
            Ok(Some(value.clone()))
        }
        _ => Ok(None),
    }
}

fn wrong(message: &'static str) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
