use core::fmt;

/// Type of a value of the metadata.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum GgufValueType {
    /// Byte.
    U8,
    /// Byte with a sign.
    I8,
    /// Integer of 2 bytes without a sign.
    U16,
    /// Integer of 2 bytes.
    I16,
    /// Integer of 4 bytes without a sign.
    U32,
    /// Integer of 4 bytes.
    I32,
    /// IEEE single precision.
    F32,
    /// One byte, 0 or 1.
    Bool,
    /// UTF-8.
    String,
    /// Values of one type.
    Array,
    /// Integer of 8 bytes without a sign.
    U64,
    /// Integer of 8 bytes.
    I64,
    /// IEEE double precision.
    F64,
}

impl GgufValueType {
    /// In the order of their numbers in files, from 0.
    const ALL: [Self; 13] = [
        Self::U8,
        Self::I8,
        Self::U16,
        Self::I16,
        Self::U32,
        Self::I32,
        Self::F32,
        Self::Bool,
        Self::String,
        Self::Array,
        Self::U64,
        Self::I64,
        Self::F64,
    ];

    /// The type with a number, if there is one.
    pub fn from_id(id: u32) -> Option<Self> {
        Self::ALL.get(id as usize).copied()
    }

    /// Number of the type in files.
    pub fn id(self) -> u32 {
        self as u32
    }
}

impl fmt::Display for GgufValueType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::U8 => "u8",
            Self::I8 => "i8",
            Self::U16 => "u16",
            Self::I16 => "i16",
            Self::U32 => "u32",
            Self::I32 => "i32",
            Self::F32 => "f32",
            Self::Bool => "bool",
            Self::String => "string",
            Self::Array => "array",
            Self::U64 => "u64",
            Self::I64 => "i64",
            Self::F64 => "f64",
        })
    }
}

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

impl GgufValue {
    /// Type of the value.
    pub fn value_type(&self) -> GgufValueType {
        match self {
            Self::U8(_) => GgufValueType::U8,
            Self::I8(_) => GgufValueType::I8,
            Self::U16(_) => GgufValueType::U16,
            Self::I16(_) => GgufValueType::I16,
            Self::U32(_) => GgufValueType::U32,
            Self::I32(_) => GgufValueType::I32,
            Self::F32(_) => GgufValueType::F32,
            Self::Bool(_) => GgufValueType::Bool,
            Self::String(_) => GgufValueType::String,
            Self::Array(_) => GgufValueType::Array,
            Self::U64(_) => GgufValueType::U64,
            Self::I64(_) => GgufValueType::I64,
            Self::F64(_) => GgufValueType::F64,
        }
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
        match self {
            Self::U8(_) => GgufValueType::U8,
            Self::I8(_) => GgufValueType::I8,
            Self::U16(_) => GgufValueType::U16,
            Self::I16(_) => GgufValueType::I16,
            Self::U32(_) => GgufValueType::U32,
            Self::I32(_) => GgufValueType::I32,
            Self::F32(_) => GgufValueType::F32,
            Self::Bool(_) => GgufValueType::Bool,
            Self::String(_) => GgufValueType::String,
            Self::U64(_) => GgufValueType::U64,
            Self::I64(_) => GgufValueType::I64,
            Self::F64(_) => GgufValueType::F64,
        }
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        with_elements!(self, elements => elements.len())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_numbers() {
        for id in 0..13 {
            assert_eq!(GgufValueType::from_id(id).unwrap().id(), id);
        }
        assert_eq!(GgufValueType::from_id(13), None);
        assert_eq!(GgufValue::from(1.5f64).value_type().id(), 12);
        assert_eq!(GgufValue::from(vec![1u8]).type_name(), "array of u8");
    }
}
