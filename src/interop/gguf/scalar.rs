//! Values of the metadata that are no arrays.

use serde_json::{Value, json};

use super::GgufValueType;

/// A value that is no array, of one of the types of the format.
pub(super) trait Scalar {
    /// The type.
    const TYPE: GgufValueType;

    /// The value as JSON.
    fn json(&self) -> Value;

    /// Appends the bytes of a file.
    fn push(&self, bytes: &mut Vec<u8>);

    /// The value, if it is an integer.
    fn integer(&self) -> Option<i128> {
        None
    }
}

macro_rules! integers {
    ($($variant:ident $integer:ty),*) => {$(
        impl Scalar for $integer {
            const TYPE: GgufValueType = GgufValueType::$variant;

            fn json(&self) -> Value {
                json!(self)
            }

            fn push(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn integer(&self) -> Option<i128> {
                Some((*self).into())
            }
        }
    )*};
}

integers!(U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, U64 u64, I64 i64);

/// The number of double precision that the shortest decimal of one of single precision stands for.
pub(super) fn shortest(value: f32) -> f64 {
    // What is not finite is written as it is read.
    value.to_string().parse().unwrap_or(f64::NAN)
}

impl Scalar for f32 {
    const TYPE: GgufValueType = GgufValueType::F32;

    fn json(&self) -> Value {
        shortest(*self).json()
    }

    fn push(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

impl Scalar for f64 {
    const TYPE: GgufValueType = GgufValueType::F64;

    fn json(&self) -> Value {
        // JSON has no NaN and no infinities.
        match self.is_finite() {
            true => json!(self),
            false => Value::String(self.to_string()),
        }
    }

    fn push(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.to_le_bytes());
    }
}

impl Scalar for bool {
    const TYPE: GgufValueType = GgufValueType::Bool;

    fn json(&self) -> Value {
        json!(self)
    }

    fn push(&self, bytes: &mut Vec<u8>) {
        bytes.push(u8::from(*self));
    }
}

impl Scalar for String {
    const TYPE: GgufValueType = GgufValueType::String;

    fn json(&self) -> Value {
        json!(self)
    }

    fn push(&self, bytes: &mut Vec<u8>) {
        push_text(self, bytes);
    }
}

/// Appends a text behind its length.
pub(super) fn push_text(text: &str, bytes: &mut Vec<u8>) {
    bytes.extend((text.len() as u64).to_le_bytes());
    bytes.extend(text.as_bytes());
}
