use core::slice::from_ref;

use super::{GgufValueType, scalar::Scalar};

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufValue {
    /// Byte.
    U8(u8),
    /// Byte with a sign.
    I8(i8),
    /// Integer of 2 bytes without a sign.
    U16(u16),
    /// Integer of 2 bytes.
    I16(i16),
    /// Integer of 4 bytes without a sign.
    U32(u32),
    /// Integer of 4 bytes.
    I32(i32),
    /// IEEE single precision.
    F32(f32),
    /// Truth value.
    Bool(bool),
    /// Text.
    String(String),
    /// Values of one type.
    Array(GgufArray),
    /// Integer of 8 bytes without a sign.
    U64(u64),
    /// Integer of 8 bytes.
    I64(i64),
    /// IEEE double precision.
    F64(f64),
}

/// An array of the metadata.
///
/// There are none of arrays: the format allows them, llama.cpp does not read them.
#[derive(Debug, Clone, PartialEq)]
pub enum GgufArray {
    /// Bytes.
    U8(Vec<u8>),
    /// Bytes with a sign.
    I8(Vec<i8>),
    /// Integers of 2 bytes without a sign.
    U16(Vec<u16>),
    /// Integers of 2 bytes.
    I16(Vec<i16>),
    /// Integers of 4 bytes without a sign.
    U32(Vec<u32>),
    /// Integers of 4 bytes.
    I32(Vec<i32>),
    /// IEEE single precision.
    F32(Vec<f32>),
    /// Truth values.
    Bool(Vec<bool>),
    /// Texts.
    String(Vec<String>),
    /// Integers of 8 bytes without a sign.
    U64(Vec<u64>),
    /// Integers of 8 bytes.
    I64(Vec<i64>),
    /// IEEE double precision.
    F64(Vec<f64>),
}

/// Runs `$body` for the elements of an array, whatever their type.
macro_rules! with_elements {
    ($array:expr, $elements:ident => $body:expr) => {
        match $array {
            GgufArray::U8($elements) => $body,
            GgufArray::I8($elements) => $body,
            GgufArray::U16($elements) => $body,
            GgufArray::I16($elements) => $body,
            GgufArray::U32($elements) => $body,
            GgufArray::I32($elements) => $body,
            GgufArray::F32($elements) => $body,
            GgufArray::Bool($elements) => $body,
            GgufArray::String($elements) => $body,
            GgufArray::U64($elements) => $body,
            GgufArray::I64($elements) => $body,
            GgufArray::F64($elements) => $body,
        }
    };
}

/// Runs `$body` for a value that is no array, whatever its type, and `$other` for an array.
macro_rules! with_value {
    ($value:expr, $scalar:ident => $body:expr, $array:ident => $other:expr) => {
        match $value {
            GgufValue::U8($scalar) => $body,
            GgufValue::I8($scalar) => $body,
            GgufValue::U16($scalar) => $body,
            GgufValue::I16($scalar) => $body,
            GgufValue::U32($scalar) => $body,
            GgufValue::I32($scalar) => $body,
            GgufValue::F32($scalar) => $body,
            GgufValue::Bool($scalar) => $body,
            GgufValue::String($scalar) => $body,
            GgufValue::U64($scalar) => $body,
            GgufValue::I64($scalar) => $body,
            GgufValue::F64($scalar) => $body,
            GgufValue::Array($array) => $other,
        }
    };
}

pub(super) use {with_elements, with_value};

/// The type of elements.
fn type_of<T: Scalar>(_: &[T]) -> GgufValueType {
    T::TYPE
}

impl GgufValue {
    /// Type of the value.
    pub fn value_type(&self) -> GgufValueType {
        with_value!(self, value => type_of(from_ref(value)), _array => GgufValueType::Array)
    }

    /// The type in words, with that of the elements of an array.
    pub fn type_name(&self) -> String {
        match self {
            Self::Array(array) => format!("array of {}", array.element_type()),
            other => other.value_type().to_string(),
        }
    }
}

impl GgufArray {
    /// Type of the elements.
    pub fn element_type(&self) -> GgufValueType {
        with_elements!(self, elements => type_of(elements))
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        with_elements!(self, elements => elements.len())
    }

    /// The elements as sizes, if they are.
    pub(super) fn sizes(&self) -> Option<Vec<usize>> {
        fn size(element: &impl Scalar) -> Option<usize> {
            element.integer()?.try_into().ok()
        }
        with_elements!(self, elements => elements.iter().map(size).collect())
    }

    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

macro_rules! from_values {
    ($($variant:ident $value:ty),*) => {$(
        impl From<$value> for GgufValue {
            fn from(value: $value) -> Self {
                Self::$variant(value)
            }
        }

        impl From<Vec<$value>> for GgufValue {
            fn from(elements: Vec<$value>) -> Self {
                Self::Array(GgufArray::$variant(elements))
            }
        }
    )*};
}

from_values!(
    U8 u8, I8 i8, U16 u16, I16 i16, U32 u32, I32 i32, F32 f32, Bool bool, String String, U64 u64,
    I64 i64, F64 f64
);

impl From<&str> for GgufValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_string())
    }
}

impl From<GgufArray> for GgufValue {
    fn from(array: GgufArray) -> Self {
        Self::Array(array)
    }
}
