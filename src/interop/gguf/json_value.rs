//! Values of the metadata as JSON, for tables of keys and for errors.

use serde_json::{Value, json};

use super::{GgufArray, GgufValue};

/// Elements of an array that are turned; vocabularies have a hundred thousand.
const LONGEST: usize = 64;

/// The number of double precision that the shortest decimal of one of single precision stands for.
pub fn shortest(value: f32) -> f64 {
    // What is not finite is written as it is read.
    value.to_string().parse().unwrap_or(f64::NAN)
}

fn float(value: f64) -> Value {
    // JSON has no NaN and no infinities.
    match value.is_finite() {
        true => json!(value),
        false => Value::String(value.to_string()),
    }
}

/// A value as JSON, of long arrays the first elements.
pub fn to_json(value: &GgufValue) -> Value {
    match value {
        GgufValue::U8(value) => json!(value),
        GgufValue::I8(value) => json!(value),
        GgufValue::U16(value) => json!(value),
        GgufValue::I16(value) => json!(value),
        GgufValue::U32(value) => json!(value),
        GgufValue::I32(value) => json!(value),
        GgufValue::F32(value) => float(shortest(*value)),
        GgufValue::Bool(value) => json!(value),
        GgufValue::String(value) => json!(value),
        GgufValue::Array(array) => Value::Array(elements(array)),
        GgufValue::U64(value) => json!(value),
        GgufValue::I64(value) => json!(value),
        GgufValue::F64(value) => float(*value),
    }
}

fn elements(array: &GgufArray) -> Vec<Value> {
    fn first<T>(elements: &[T], value: impl Fn(&T) -> Value) -> Vec<Value> {
        elements.iter().take(LONGEST).map(value).collect()
    }
    match array {
        GgufArray::U8(elements) => first(elements, |x| json!(x)),
        GgufArray::I8(elements) => first(elements, |x| json!(x)),
        GgufArray::U16(elements) => first(elements, |x| json!(x)),
        GgufArray::I16(elements) => first(elements, |x| json!(x)),
        GgufArray::U32(elements) => first(elements, |x| json!(x)),
        GgufArray::I32(elements) => first(elements, |x| json!(x)),
        GgufArray::F32(elements) => first(elements, |x| float(shortest(*x))),
        GgufArray::Bool(elements) => first(elements, |x| json!(x)),
        GgufArray::String(elements) => first(elements, |x| json!(x)),
        GgufArray::U64(elements) => first(elements, |x| json!(x)),
        GgufArray::I64(elements) => first(elements, |x| json!(x)),
        GgufArray::F64(elements) => first(elements, |x| float(*x)),
    }
}

/// A value as JSON; an array of the same value for every layer as that value.
pub fn one(value: &GgufValue) -> Value {
    match to_json(value) {
        Value::Array(elements) => match elements.as_slice() {
            [first, rest @ ..] if rest.iter().all(|value| value == first) && is_whole(value) => {
                first.clone()
            }
            _ => Value::Array(elements),
        },
        other => other,
    }
}

/// Whether no element of an array was left out.
fn is_whole(value: &GgufValue) -> bool {
    !matches!(value, GgufValue::Array(array) if array.len() > LONGEST)
}

/// A value for an error.
pub fn shown(value: &GgufValue) -> String {
    match to_json(value) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_the_shortest() {
        assert_eq!(shortest(1e-5), 1e-5);
        assert!(shortest(f32::NAN).is_nan() && shortest(f32::INFINITY) == f64::INFINITY);
        assert_eq!(one(&vec![0.1f32; 3].into()), json!(0.1));
        assert_eq!(one(&vec![1u32, 2].into()), json!([1, 2]));
        assert_eq!(shown(&f32::NEG_INFINITY.into()), "-inf");
        assert!(one(&vec![0u8; 65].into()).is_array());
    }
}
