//! Values of settings: what is wrong with one is said by one function, where it is made in code and
//! where it is read.

use serde::{Deserialize, Deserializer, de};

/// Panics with what is wrong, for the functions that make a setting.
#[track_caller]
pub(crate) fn assert_right(fault: Option<String>) {
    if let Some(fault) = fault {
        panic!("{fault}");
    }
}

/// The value that was read, unless something is wrong with it.
pub(crate) fn read_right<T, E: de::Error>(value: T, fault: Option<String>) -> Result<T, E> {
    match fault {
        None => Ok(value),
        Some(fault) => Err(E::custom(fault)),
    }
}

/// What is wrong with a number that must be positive and finite.
pub(crate) fn positive_fault(name: &str, value: f32) -> Option<String> {
    let right = value > 0.0 && value.is_finite();
    (!right).then(|| format!("{name} must be positive and finite, got {value}"))
}

/// Reads a number that must be positive and finite.
pub(crate) fn deserialize_positive<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<f32, D::Error> {
    let value = f32::deserialize(deserializer)?;
    read_right(value, positive_fault("the number", value))
}

/// Panics unless the number is positive and finite.
#[track_caller]
pub(crate) fn assert_positive(name: &str, value: f32) {
    assert_right(positive_fault(name, value));
}
