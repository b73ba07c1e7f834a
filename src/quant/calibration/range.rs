use serde::{Deserialize, Serialize};

use super::CalibrationError;

/// The values that a quantizer must represent: `[min, max]`, one for the whole tensor or one for
/// each channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Fields")]
pub struct Range {
    min: Vec<f32>,
    max: Vec<f32>,
}

/// A deserialized range before validation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Fields {
    min: Vec<f32>,
    max: Vec<f32>,
}

impl TryFrom<Fields> for Range {
    type Error = CalibrationError;

    fn try_from(fields: Fields) -> Result<Self, CalibrationError> {
        Self::new(fields.min, fields.max)
    }
}

impl Range {
    /// Creates a range from the bounds of each channel, or one pair of bounds for the whole tensor.
    ///
    /// # Errors
    ///
    /// If there are no bounds, the numbers of lower and upper bounds differ, or a pair of them is not
    /// finite or not in order.
    pub fn new(min: Vec<f32>, max: Vec<f32>) -> Result<Self, CalibrationError> {
        if min.is_empty() || min.len() != max.len() {
            let (min, max) = (min.len(), max.len());
            return Err(CalibrationError::NumBounds { min, max });
        }
        for (channel, (&min, &max)) in min.iter().zip(&max).enumerate() {
            if !(min.is_finite() && max.is_finite() && min <= max) {
                return Err(CalibrationError::Bounds { channel, min, max });
            }
        }
        Ok(Self { min, max })
    }

    /// Returns the lower bounds.
    pub fn min(&self) -> &[f32] {
        &self.min
    }

    /// Returns the upper bounds.
    pub fn max(&self) -> &[f32] {
        &self.max
    }
}
