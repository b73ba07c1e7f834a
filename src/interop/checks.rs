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

/// The first of the values that is NaN or infinite, and its place: a model with such a weight computes
/// nothing, and a format with scales would hide it.
pub(super) fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    let place = values.iter().position(|value| !value.is_finite())?;
    Some((place, values[place]))
}
