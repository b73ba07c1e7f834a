//! `json.dumps`.

use core::fmt::Write;

use minijinja::{
    Error, ErrorKind, Value,
    value::{Kwargs, Rest, ValueKind, ValueOrKwargs, from_args},
};

use super::repr::{check_depth, float};

/// Names of the arguments of transformers' filter `tojson`, in their order.
const ARGUMENTS: [&str; 4] = ["ensure_ascii", "indent", "separators", "sort_keys"];

type Arguments = (
    Option<Value>,
    Option<Value>,
    Option<Value>,
    Option<Value>,
    Kwargs,
);

/// The filter `tojson` of transformers: `json.dumps` with its keyword arguments, without the HTML escapes
/// of Jinja's own filter, and with non-ASCII characters unchanged.
pub fn tojson(value: &Value, arguments: Rest<ValueOrKwargs>) -> Result<String, Error> {
    let arguments = arguments.into_values();
    let (ensure_ascii, indent, separators, sort_keys, kwargs): Arguments = from_args(&arguments)?;
    let mut arguments = [ensure_ascii, indent, separators, sort_keys];
    for (name, argument) in ARGUMENTS.iter().zip(&mut arguments) {
        if kwargs.has(name) {
            *argument = Some(kwargs.get(name)?);
        }
    }
    kwargs.assert_all_used()?;
    let mut dumps = Dumps::new(arguments)?;
    dumps.value(value, 0)?;
    Ok(dumps.out)
}

struct Dumps {
    ensure_ascii: bool,
    /// Indentation of a level; `None` for a single line.
    indent: Option<String>,
    item_separator: String,
    key_separator: String,
    sort_keys: bool,
    out: String,
}

impl Dumps {
    fn new(arguments: [Option<Value>; 4]) -> Result<Self, Error> {
        let [ensure_ascii, indent, separators, sort_keys] = arguments;
        let flag = |value: Option<Value>| value.is_some_and(|value| value.is_true());
        let indent = indent.filter(|indent| !indent.is_none());
        let indent = indent.map(|indent| level(&indent)).transpose()?;
        let (item, key) = match separators.filter(|separators| !separators.is_none()) {
            Some(given) => pair(&given)?,
            None if indent.is_some() => (",".to_string(), ": ".to_string()),
            None => (", ".to_string(), ": ".to_string()),
        };
        Ok(Self {
            ensure_ascii: flag(ensure_ascii),
            indent,
            item_separator: item,
            key_separator: key,
            sort_keys: flag(sort_keys),
            out: String::new(),
        })
    }

    fn value(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        check_depth(depth)?;
        match value.kind() {
            ValueKind::None => self.out.push_str("null"),
            ValueKind::Bool => self.out.push_str(truth(value)),
            ValueKind::Number => self.out.push_str(&number(value)),
            ValueKind::String => self.string(value.as_str().unwrap_or_default()),
            ValueKind::Seq | ValueKind::Iterable => self.list(value, depth)?,
            ValueKind::Map => self.map(value, depth)?,
            kind => return Err(not_json(kind)),
        }
        Ok(())
    }

    fn list(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let items: Vec<Value> = value.try_iter()?.checked().collect::<Result<_, _>>()?;
        self.out.push('[');
        for (i, item) in items.iter().enumerate() {
            self.begin_item(i, depth);
            self.value(item, depth + 1)?;
        }
        self.end(items.is_empty(), depth, ']');
        Ok(())
    }

    fn map(&mut self, value: &Value, depth: usize) -> Result<(), Error> {
        let pairs = value.as_object().and_then(|object| object.try_iter_pairs());
        let mut pairs: Vec<(String, Value)> = (pairs.into_iter().flatten())
            .map(|(name, value)| Ok((key(&name)?, value)))
            .collect::<Result<_, Error>>()?;
        if self.sort_keys {
            pairs.sort_by(|(a, _), (b, _)| a.cmp(b));
        }
        self.out.push('{');
        for (i, (name, value)) in pairs.iter().enumerate() {
            self.begin_item(i, depth);
            self.string(name);
            self.out.push_str(&self.key_separator);
            self.value(value, depth + 1)?;
        }
        self.end(pairs.is_empty(), depth, '}');
        Ok(())
    }

    fn begin_item(&mut self, item: usize, depth: usize) {
        if item > 0 {
            self.out.push_str(&self.item_separator);
        }
        self.new_line(depth + 1);
    }

    fn end(&mut self, empty: bool, depth: usize, close: char) {
        if !empty {
            self.new_line(depth);
        }
        self.out.push(close);
    }

    fn new_line(&mut self, depth: usize) {
        if let Some(indent) = &self.indent {
            self.out.push('\n');
            self.out.push_str(&indent.repeat(depth));
        }
    }

    fn string(&mut self, text: &str) {
        self.out.push('"');
        for c in text.chars() {
            match c {
                '"' => self.out.push_str("\\\""),
                '\\' => self.out.push_str("\\\\"),
                '\n' => self.out.push_str("\\n"),
                '\r' => self.out.push_str("\\r"),
                '\t' => self.out.push_str("\\t"),
                '\u{8}' => self.out.push_str("\\b"),
                '\u{c}' => self.out.push_str("\\f"),
                c if c < ' ' || (self.ensure_ascii && !(' '..='~').contains(&c)) => {
                    for unit in c.encode_utf16(&mut [0; 2]) {
                        // Writing to a string does not fail.
                        let _ = write!(self.out, "\\u{unit:04x}");
                    }
                }
                c => self.out.push(c),
            }
        }
        self.out.push('"');
    }
}

fn truth(value: &Value) -> &'static str {
    if value.is_true() { "true" } else { "false" }
}

fn number(value: &Value) -> String {
    match f64::try_from(value.clone()) {
        Ok(number) if number.is_nan() => "NaN".to_string(),
        Ok(f64::INFINITY) => "Infinity".to_string(),
        Ok(f64::NEG_INFINITY) => "-Infinity".to_string(),
        Ok(number) if !value.is_integer() => float(number),
        _ => value.to_string(),
    }
}

/// Converts a key into a string, as JSON requires.
fn key(value: &Value) -> Result<String, Error> {
    match value.kind() {
        ValueKind::String => Ok(value.as_str().unwrap_or_default().to_string()),
        ValueKind::Number => Ok(number(value)),
        ValueKind::Bool => Ok(truth(value).to_string()),
        ValueKind::None => Ok("null".to_string()),
        kind => Err(not_json(kind)),
    }
}

/// Returns the indentation of `indent`: a text, or a number of spaces.
fn level(indent: &Value) -> Result<String, Error> {
    if let Some(text) = indent.as_str() {
        return Ok(text.to_string());
    }
    let spaces = match indent.kind() {
        ValueKind::Bool => Some(i64::from(indent.is_true())),
        _ => indent.as_i64(),
    };
    match spaces {
        Some(spaces @ ..=1000) => Ok(" ".repeat(spaces.max(0) as usize)),
        _ => Err(wrong(
            "`indent` of `tojson` is a number up to 1000 or a text",
        )),
    }
}

fn pair(separators: &Value) -> Result<(String, String), Error> {
    let given: Vec<Value> = separators.try_iter()?.collect();
    let texts: Vec<Option<&str>> = given.iter().map(Value::as_str).collect();
    match texts[..] {
        [Some(item), Some(key)] => Ok((item.to_string(), key.to_string())),
        _ => Err(wrong("`separators` of `tojson` are two texts")),
    }
}

fn not_json(kind: ValueKind) -> Error {
    wrong(format!(
        "a value of the kind {kind} cannot be written as JSON"
    ))
}

fn wrong(message: impl Into<std::borrow::Cow<'static, str>>) -> Error {
    Error::new(ErrorKind::InvalidOperation, message)
}
