//! Values of the metadata as JSON.

use serde_json::Value;

use super::{GgufValue, scalar::Scalar};

/// Elements of an array that tables of keys and errors look at; vocabularies have a hundred thousand.
const LONGEST: usize = 64;

impl GgufValue {
    /// The value as JSON, of an array the first `limit` elements. Numbers of single precision are the
    /// shortest decimals that stand for them, NaN and infinities are strings.
    pub fn to_json(&self, limit: usize) -> Value {
        match self {
            Self::Array(array) => array.elements().take(limit).map(Scalar::json).collect(),
            other => other.scalar().map_or(Value::Null, Scalar::json),
        }
    }
}

/// A value as JSON; an array of the same value for every layer as that value.
pub(super) fn one(value: &GgufValue) -> Value {
    let is_whole = !matches!(value, GgufValue::Array(array) if array.len() > LONGEST);
    match value.to_json(LONGEST) {
        Value::Array(elements) => match elements.as_slice() {
            [first, rest @ ..] if is_whole && rest.iter().all(|value| value == first) => {
                first.clone()
            }
            _ => Value::Array(elements),
        },
        other => other,
    }
}

/// A value for an error.
pub(super) fn shown(value: &GgufValue) -> String {
    match value.to_json(LONGEST) {
        Value::String(text) => text,
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{super::scalar::shortest, *};

    #[test]
    fn numbers_are_the_shortest() {
        assert_eq!(shortest(1e-5), 1e-5);
        assert!(shortest(f32::NAN).is_nan() && shortest(f32::INFINITY) == f64::INFINITY);
        assert_eq!(one(&vec![0.1f32; 3].into()), json!(0.1));
        assert_eq!(one(&vec![1u32, 2].into()), json!([1, 2]));
        assert_eq!(shown(&f32::NEG_INFINITY.into()), "-inf");
        assert!(one(&vec![0u8; 65].into()).is_array());
        assert_eq!(GgufValue::from(vec![1u8; 9]).to_json(2), json!([1, 1]));
    }
}
