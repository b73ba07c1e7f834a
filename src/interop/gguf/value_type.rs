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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_have_their_numbers() {
        for id in 0..13 {
            assert_eq!(GgufValueType::from_id(id).unwrap().id(), id);
        }
        assert_eq!(GgufValueType::from_id(13), None);
    }
}
