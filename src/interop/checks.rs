//! Checks of models and their values in all formats.

use crate::nn::BitNetLmConfig;

/// Bytes that the table of positions may take even where the weights take less.
const POSITION_BYTES: u64 = 1 << 26;

/// Fails with the bytes of the table of positions, if it takes more than the weights of a file do.
pub(super) fn check_positions(config: &BitNetLmConfig, weights: u64) -> Result<(), u128> {
    let d_rotary = config.rotary().rotary_size();
    let table = config.max_positions as u128 * d_rotary as u128 * 4;
    match table > u128::from(weights.max(POSITION_BYTES)) {
        true => Err(table),
        false => Ok(()),
    }
}

/// Error of a value that no weight has.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{name}: value {place} is {value}, where a finite number is expected")]
pub(super) struct NotFinite {
    /// Name of the tensor.
    pub name: String,
    /// Number of the value in the layout of the file.
    pub place: usize,
    /// NaN, or an infinity.
    pub value: f32,
}

/// Fails with the first of the values that is NaN or infinite: a model with such a weight computes
/// nothing, and a format with scales would hide it.
pub(super) fn check_finite(name: &str, values: &[f32]) -> Result<(), NotFinite> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(place) => Err(NotFinite {
            name: name.to_string(),
            place,
            value: values[place],
        }),
    }
}
