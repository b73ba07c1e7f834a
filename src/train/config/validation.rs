use core::fmt::Display;

use super::TrainingConfigError;

/// Refuses the value of a field unless it is right.
pub(super) fn check(
    right: bool,
    field: &str,
    value: impl Display,
    allowed: &str,
) -> Result<(), TrainingConfigError> {
    match right {
        true => Ok(()),
        false => Err(TrainingConfigError::OutOfRange {
            field: field.to_string(),
            value: value.to_string(),
            allowed: allowed.to_string(),
        }),
    }
}

/// Refuses 0.
pub(super) fn check_count(field: &str, count: usize) -> Result<(), TrainingConfigError> {
    check(count > 0, field, count, "1 or more")
}

/// Panics for 0, with the text of [`check_count`], for what is set in code.
#[track_caller]
pub(in crate::train) fn assert_count(field: &str, count: usize) {
    if let Err(error) = check_count(field, count) {
        panic!("{error}");
    }
}

/// Refuses what is not above 0 and finite.
pub(super) fn check_positive(field: &str, value: f64) -> Result<(), TrainingConfigError> {
    let right = value > 0.0 && value.is_finite();
    check(right, field, value, "a finite number above 0")
}

/// Panics unless a number is above 0 and finite, with the text of [`check_positive`].
#[track_caller]
pub(in crate::train) fn assert_positive(field: &str, value: f64) {
    if let Err(error) = check_positive(field, value) {
        panic!("{error}");
    }
}

/// Refuses what is negative or not finite.
pub(super) fn check_non_negative(field: &str, value: f64) -> Result<(), TrainingConfigError> {
    let right = value >= 0.0 && value.is_finite();
    check(right, field, value, "a finite number of 0 or more")
}

/// Refuses what is not a share of something.
pub(super) fn check_share(field: &str, value: f64) -> Result<(), TrainingConfigError> {
    check((0.0..=1.0).contains(&value), field, value, "0 to 1")
}
