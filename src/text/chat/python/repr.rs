//! `str(value)` and `repr(value)`.

use core::fmt::Write;

use minijinja::{Error, ErrorKind, Value, value::ValueKind};

/// Maximum nesting depth of written values; slightly below Python's limit.
const MAX_DEPTH: usize = 500;

/// `str(value)`, with which a template writes a value; empty for an undefined one.
///
/// # Errors
///
/// If values are nested more than 500 levels deep.
pub fn to_str(value: &Value) -> Result<String, Error> {
    let mut text = String::new();
    match value.as_str() {
        Some(value) => text.push_str(value),
        None if value.is_undefined() => {}
        None => push_repr(&mut text, value, 0)?,
    }
    Ok(text)
}

/// Returns whether a value prints the same in Jinja and Python, so that no conversion is needed.
pub fn is_text(value: &Value) -> bool {
    value.kind() == ValueKind::String || value.is_undefined()
}

/// Rejects values whose nesting could overflow the stack.
pub fn check_depth(depth: usize) -> Result<(), Error> {
    match depth {
        ..=MAX_DEPTH => Ok(()),
        _ => Err(Error::new(
            ErrorKind::InvalidOperation,
            format!("more than {MAX_DEPTH} values inside of each other cannot be written"),
        )),
    }
}

fn push_repr(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    check_depth(depth)?;
    match value.kind() {
        ValueKind::String => push_string(out, value.as_str().unwrap_or_default()),
        ValueKind::Number if !value.is_integer() => match f64::try_from(value.clone()) {
            Ok(number) => out.push_str(&float(number)),
            Err(_) => push_display(out, value),
        },
        ValueKind::Seq => push_sequence(out, value, depth)?,
        ValueKind::Map => push_map(out, value, depth)?,
        _ => push_display(out, value),
    }
    Ok(())
}

fn push_display(out: &mut String, value: &Value) {
    // Writing to a string does not fail.
    let _ = write!(out, "{value}");
}

fn push_sequence(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    let (open, close) = match value.is_tuple() {
        true => ('(', ')'),
        false => ('[', ']'),
    };
    out.push(open);
    let mut len = 0;
    for item in value.try_iter()? {
        if len > 0 {
            out.push_str(", ");
        }
        push_repr(out, &item, depth + 1)?;
        len += 1;
    }
    if value.is_tuple() && len == 1 {
        out.push(',');
    }
    out.push(close);
    Ok(())
}

fn push_map(out: &mut String, value: &Value, depth: usize) -> Result<(), Error> {
    let pairs = value.as_object().and_then(|object| object.try_iter_pairs());
    out.push('{');
    for (i, (key, value)) in pairs.into_iter().flatten().enumerate() {
        if i > 0 {
            out.push_str(", ");
        }
        push_repr(out, &key, depth + 1)?;
        out.push_str(": ");
        push_repr(out, &value, depth + 1)?;
    }
    out.push('}');
    Ok(())
}

/// `repr` of a float: the shortest digits that parse to the same number, with an exponent below 1e-4 and
/// from 1e16 on.
pub fn float(number: f64) -> String {
    if number.is_nan() {
        return "nan".to_string();
    }
    if number.is_infinite() {
        return if number > 0.0 { "inf" } else { "-inf" }.to_string();
    }
    let scientific = format!("{number:e}");
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    match exponent.parse::<i32>().unwrap_or(0) {
        -4..16 => {
            let text = format!("{number}");
            match text.contains('.') {
                true => text,
                false => text + ".0",
            }
        }
        exponent => {
            let sign = if exponent < 0 { '-' } else { '+' };
            format!("{digits}e{sign}{:02}", exponent.abs())
        }
    }
}

/// `repr` of a string: in single quotes, unless it contains single quotes and no double quotes.
fn push_string(out: &mut String, text: &str) {
    let quote = match text.contains('\'') && !text.contains('"') {
        true => '"',
        false => '\'',
    };
    out.push(quote);
    for c in text.chars() {
        match c {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            c if c == quote => out.extend(['\\', c]),
            c if is_printable(c) => out.push(c),
            c => push_escape(out, c as u32),
        }
    }
    out.push(quote);
}

fn push_escape(out: &mut String, code: u32) {
    let _ = match code {
        0..0x100 => write!(out, "\\x{code:02x}"),
        0x100..0x10000 => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// `str.isprintable`, except for unassigned characters: no control characters, spaces other than ` `,
/// format or private-use characters.
fn is_printable(c: char) -> bool {
    let hidden = matches!(c as u32,
        0xAD | 0x600..=0x605 | 0x61C | 0x6DD | 0x70F | 0x180E | 0x200B..=0x200F | 0x202A..=0x202E
        | 0x2060..=0x206F | 0xE000..=0xF8FF | 0xFDD0..=0xFDEF | 0xFEFF | 0xFFF0..=0xFFFB
        | 0xFFFE..=0xFFFF | 0x110BD | 0x1BCA0..=0x1BCA3 | 0x1D173..=0x1D17A | 0xE0001..=0xE007F
        | 0xF0000..=0x10FFFF);
    c == ' ' || !(hidden || c.is_control() || c.is_whitespace())
}
