//! Values of the metadata.

use super::{GgufError, cursor::Cursor, scalar::Scalar};

/// A type that values of the metadata are read as.
///
/// Of integers it is asked whether they fit, not which type they have; numbers with a point may
/// have either precision.
pub trait FromGgufValue<'a>: Sized {
    /// Name of the type in errors.
    const EXPECTED: &'static str;

    /// The value, if it is one of this type.
    fn from_value(value: &'a GgufValue) -> Option<Self>;
}

/// Makes the types of values of their names in Rust, their numbers in files and their names in errors.
macro_rules! values {
    ($($(#[$doc:meta])+ $variant:ident($type:ty) = $id:literal, $name:literal;)+) => {
        /// A value of the metadata.
        #[derive(Debug, Clone, PartialEq)]
        pub enum GgufValue {
            $($(#[$doc])+ $variant($type),)+
            /// Values of one type.
            Array(GgufArray),
        }

        /// An array of the metadata.
        ///
        /// There are none of arrays: the format allows them, llama.cpp does not read them.
        #[derive(Debug, Clone, PartialEq)]
        pub enum GgufArray {
            $($(#[$doc])+ $variant(Vec<$type>),)+
        }

        impl GgufValue {
            /// The value, if it is no array.
            pub(super) fn scalar(&self) -> Option<&dyn Scalar> {
                match self {
                    $(Self::$variant(value) => Some(value),)+
                    Self::Array(_) => None,
                }
            }

            /// Number of the type in files.
            pub(super) fn type_id(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => $id,)+
                    Self::Array(_) => ARRAY,
                }
            }

            /// The type in words, with that of the elements of an array.
            pub fn type_name(&self) -> &'static str {
                match self {
                    $(Self::$variant(_) => $name,)+
                    Self::Array(array) => match array {
                        $(GgufArray::$variant(_) => concat!("array of ", $name),)+
                    },
                }
            }

            /// Reads a value of a type; `None` if it is none of those without elements.
            fn read_scalar(
                type_id: u32,
                cursor: &mut Cursor<'_>,
                key: &str,
            ) -> Result<Option<Self>, GgufError> {
                Ok(Some(match type_id {
                    $($id => Self::$variant(Scalar::read(cursor, key)?),)+
                    _ => return Ok(None),
                }))
            }
        }

        impl GgufArray {
            /// The elements, whatever their type.
            pub(super) fn elements(&self) -> Box<dyn Iterator<Item = &dyn Scalar> + '_> {
                match self {
                    $(Self::$variant(elements) => {
                        Box::new(elements.iter().map(|element| element as &dyn Scalar))
                    })+
                }
            }

            /// Number of the type of the elements in files.
            pub(super) fn element_id(&self) -> u32 {
                match self {
                    $(Self::$variant(_) => $id,)+
                }
            }

            /// Number of elements.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$variant(elements) => elements.len(),)+
                }
            }

            fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, GgufError> {
                let element_id = cursor.u32("type of a value")?;
                let count = cursor.u64("length of an array")?;
                Ok(match element_id {
                    $($id => Self::$variant(Scalar::read_all(cursor, count, key)?),)+
                    ARRAY => return Err(nested_array(key)),
                    found => return Err(unknown_type(key, found)),
                })
            }
        }

        $(
            impl From<$type> for GgufValue {
                fn from(value: $type) -> Self {
                    Self::$variant(value)
                }
            }

            impl From<Vec<$type>> for GgufValue {
                fn from(elements: Vec<$type>) -> Self {
                    Self::Array(GgufArray::$variant(elements))
                }
            }

            impl<'a> FromGgufValue<'a> for &'a [$type] {
                const EXPECTED: &'static str = concat!("array of ", $name);

                fn from_value(value: &'a GgufValue) -> Option<Self> {
                    match value {
                        GgufValue::Array(GgufArray::$variant(elements)) => Some(elements),
                        _ => None,
                    }
                }
            }
        )+
    };
}

/// Number of the type of arrays in files.
const ARRAY: u32 = 9;

values! {
    /// Bytes.
    U8(u8) = 0, "u8";
    /// Bytes with a sign.
    I8(i8) = 1, "i8";
    /// Integers of 2 bytes without a sign.
    U16(u16) = 2, "u16";
    /// Integers of 2 bytes.
    I16(i16) = 3, "i16";
    /// Integers of 4 bytes without a sign.
    U32(u32) = 4, "u32";
    /// Integers of 4 bytes.
    I32(i32) = 5, "i32";
    /// IEEE single precision.
    F32(f32) = 6, "f32";
    /// Truth values, of one byte.
    Bool(bool) = 7, "bool";
    /// Texts of UTF-8.
    String(String) = 8, "string";
    /// Integers of 8 bytes without a sign.
    U64(u64) = 10, "u64";
    /// Integers of 8 bytes.
    I64(i64) = 11, "i64";
    /// IEEE double precision.
    F64(f64) = 12, "f64";
}

fn unknown_type(key: &str, found: u32) -> GgufError {
    GgufError::KeyType {
        key: key.to_string(),
        expected: "a type from 0 to 12",
        found: found.to_string(),
    }
}

fn nested_array(key: &str) -> GgufError {
    GgufError::Key {
        key: key.to_string(),
        reason: "arrays of arrays are not read",
    }
}

impl GgufValue {
    /// Reads the type and the value of a key.
    pub(super) fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Self, GgufError> {
        let type_id = cursor.u32("type of a value")?;
        if type_id == ARRAY {
            return GgufArray::read(cursor, key).map(Self::Array);
        }
        let value = Self::read_scalar(type_id, cursor, key)?;
        value.ok_or_else(|| unknown_type(key, type_id))
    }

    /// Appends the type and the value to the bytes of a file.
    pub(super) fn push(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.type_id().to_le_bytes());
        if let Some(scalar) = self.scalar() {
            scalar.push(bytes);
        }
        if let Self::Array(array) = self {
            bytes.extend(array.element_id().to_le_bytes());
            bytes.extend((array.len() as u64).to_le_bytes());
            array.elements().for_each(|element| element.push(bytes));
        }
    }
}

impl GgufArray {
    /// Whether there are no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for GgufValue {
    fn from(value: &str) -> Self {
        Self::String(value.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_numbers() {
        let values: [GgufValue; 13] = [
            0u8.into(),
            0i8.into(),
            0u16.into(),
            0i16.into(),
            0u32.into(),
            0i32.into(),
            0f32.into(),
            false.into(),
            "".into(),
            vec![0u8].into(),
            0u64.into(),
            0i64.into(),
            0f64.into(),
        ];
        for (value, id) in values.iter().zip(0..) {
            assert_eq!(value.type_id(), id);
            let mut bytes = Vec::new();
            value.push(&mut bytes);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(&GgufValue::read(&mut cursor, "key").unwrap(), value);
            assert_eq!(cursor.remaining(), 0);
        }
    }
}
