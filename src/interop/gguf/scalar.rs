//! Values of the metadata that are no arrays.

use serde_json::{Value, json};

use super::{GgufError, cursor::Cursor};

/// A value that is no array, of one of the types of the format.
pub(super) trait Scalar {
    /// Reads the value of a key.
    fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, GgufError>
    where
        Self: Sized;

    /// Reads the `count` elements of an array.
    fn read_all(cursor: &mut Cursor<'_>, count: u64, key: &str) -> Result<Vec<Self>, GgufError>
    where
        Self: Sized;

    /// Appends the bytes of a file.
    fn push(&self, bytes: &mut Vec<u8>);

    /// The value as JSON.
    fn json(&self) -> Value;

    /// The value, if it is an integer.
    fn integer(&self) -> Option<i128> {
        None
    }
}

macro_rules! numbers {
    ($($number:ty),+; $json:expr, $integer:expr) => {$(
        impl Scalar for $number {
            fn read(cursor: &mut Cursor<'_>, _: &str) -> Result<Self, GgufError> {
                cursor.array("value").map(Self::from_le_bytes)
            }

            fn read_all(
                cursor: &mut Cursor<'_>,
                count: u64,
                _: &str,
            ) -> Result<Vec<Self>, GgufError> {
                const SIZE: usize = size_of::<$number>();
                let count = cursor.check_count(count, SIZE as u64, "numbers")?;
                let bytes = cursor.take((count * SIZE) as u64, "array")?;
                let words = bytes.as_chunks::<SIZE>().0.iter();
                Ok(words.map(|&word| Self::from_le_bytes(word)).collect())
            }

            fn push(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn json(&self) -> Value {
                let json: fn(Self) -> Value = $json;
                json(*self)
            }

            fn integer(&self) -> Option<i128> {
                let integer: fn(Self) -> Option<i128> = $integer;
                integer(*self)
            }
        }
    )+};
}

numbers!(u8, i8, u16, i16, u32, i32, u64, i64; |value| json!(value), |value| Some(value.into()));
numbers!(f32; |value| float_json(shortest(value)), |_| None);
numbers!(f64; float_json, |_| None);

/// The number of double precision that the shortest decimal of one of single precision stands for.
pub(super) fn shortest(value: f32) -> f64 {
    // What is not finite is written as it is read.
    value.to_string().parse().unwrap_or(f64::NAN)
}

fn float_json(value: f64) -> Value {
    // JSON has no NaN and no infinities.
    match value.is_finite() {
        true => json!(value),
        false => Value::String(value.to_string()),
    }
}

impl Scalar for bool {
    fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, GgufError> {
        let [byte] = cursor.array("value")?;
        truth_value(byte, key)
    }

    fn read_all(cursor: &mut Cursor<'_>, count: u64, key: &str) -> Result<Vec<Self>, GgufError> {
        let bytes = cursor.take(count, "array")?.iter();
        bytes.map(|&byte| truth_value(byte, key)).collect()
    }

    fn push(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

fn truth_value(byte: u8, key: &str) -> Result<bool, GgufError> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        found => Err(GgufError::KeyType {
            key: key.to_string(),
            expected: "0 or 1",
            found: found.to_string(),
        }),
    }
}

impl Scalar for String {
    fn read(cursor: &mut Cursor<'_>, _: &str) -> Result<Self, GgufError> {
        cursor.string("value").map(str::to_string)
    }

    fn read_all(cursor: &mut Cursor<'_>, count: u64, _: &str) -> Result<Vec<Self>, GgufError> {
        let count = cursor.check_count(count, size_of::<u64>() as u64, "strings")?;
        let mut strings = Vec::with_capacity(count);
        for _ in 0..count {
            strings.push(cursor.string("string of an array")?.to_string());
        }
        Ok(strings)
    }

    fn push(&self, bytes: &mut Vec<u8>) {
        push_text(self, bytes);
    }

    fn json(&self) -> Value {
        json!(self)
    }
}

/// Appends a text behind its length.
pub(super) fn push_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
