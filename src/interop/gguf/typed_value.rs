//! Scalars that values of the metadata are read as.

use super::value::{FromGgufValue, GgufValue};

/// An integer of any type.
fn integer(value: &GgufValue) -> Option<i128> {
    value.scalar()?.integer()
}

/// The type of a value for an error, and of an integer the value, which may be what is wrong.
pub(super) fn described(value: &GgufValue) -> String {
    match integer(value) {
        Some(number) => format!("{} {number}", value.type_name()),
        None => value.type_name().to_string(),
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
