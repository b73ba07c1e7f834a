use super::{GgufArray, GgufValue, scalar::Scalar, value::with_value};

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

/// An integer of any type.
fn integer(value: &GgufValue) -> Option<i128> {
    with_value!(value, value => value.integer(), _array => None)
}

/// The type of a value for an error, and of an integer the value, which may be what is wrong.
pub(super) fn described(value: &GgufValue) -> String {
    match integer(value) {
        Some(number) => format!("{} {number}", value.type_name()),
        None => value.type_name(),
    }
}

macro_rules! integers {
    ($($integer:ident),*) => {$(
        impl FromGgufValue<'_> for $integer {
            const EXPECTED: &'static str = stringify!($integer);

            fn from_value(value: &GgufValue) -> Option<Self> {
                integer(value).and_then(|value| value.try_into().ok())
            }
        }
    )*};
}

integers!(i32, i64, u32, u64, usize);

impl FromGgufValue<'_> for f32 {
    const EXPECTED: &'static str = "f32";

    fn from_value(value: &GgufValue) -> Option<Self> {
        f64::from_value(value).map(|value| value as f32)
    }
}

impl FromGgufValue<'_> for f64 {
    const EXPECTED: &'static str = "f64";

    fn from_value(value: &GgufValue) -> Option<Self> {
        match *value {
            GgufValue::F32(value) => Some(value.into()),
            GgufValue::F64(value) => Some(value),
            _ => None,
        }
    }
}

impl FromGgufValue<'_> for bool {
    const EXPECTED: &'static str = "bool";

    fn from_value(value: &GgufValue) -> Option<Self> {
        match *value {
            GgufValue::Bool(value) => Some(value),
            _ => None,
        }
    }
}

impl<'a> FromGgufValue<'a> for &'a str {
    const EXPECTED: &'static str = "string";

    fn from_value(value: &'a GgufValue) -> Option<Self> {
        match value {
            GgufValue::String(value) => Some(value),
            _ => None,
        }
    }
}

macro_rules! arrays {
    ($($variant:ident $element:ty, $name:literal);*) => {$(
        impl<'a> FromGgufValue<'a> for &'a [$element] {
            const EXPECTED: &'static str = concat!("array of ", $name);

            fn from_value(value: &'a GgufValue) -> Option<Self> {
                match value {
                    GgufValue::Array(GgufArray::$variant(elements)) => Some(elements),
                    _ => None,
                }
            }
        }
    )*};
}

arrays!(
    U8 u8, "u8"; I8 i8, "i8"; U16 u16, "u16"; I16 i16, "i16"; U32 u32, "u32"; I32 i32, "i32";
    F32 f32, "f32"; Bool bool, "bool"; String String, "string"; U64 u64, "u64"; I64 i64, "i64";
    F64 f64, "f64"
);
