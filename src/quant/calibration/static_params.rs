use serde::{Deserialize, Serialize};

use super::Range;
use crate::ops::QuantRange;

/// Mapping of codes to values: `value = (code - zero_point) * step`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Mapping {
    /// Codes in `[-2^(bits-1), 2^(bits-1) - 1]`, zero point 0.
    #[default]
    Symmetric,
    /// Codes in `[0, 2^bits - 1]` and the integer zero point that fits the range best.
    Asymmetric,
}

impl Mapping {
    /// Returns the smallest and largest code of `bits` bits.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn codes(self, bits: u8) -> QuantRange {
        match self {
            Self::Symmetric => QuantRange::signed(bits),
            Self::Asymmetric => QuantRange::unsigned(bits),
        }
    }
}

/// Step and zero point of a static quantizer, one for the whole tensor or one for each channel:
/// `Q(x) = (clamp(round(x / step) + zero_point, min_code, max_code) - zero_point) * step`.
///
/// With `eps = f32::EPSILON` as a lower bound that keeps `1 / step` finite, and ties rounded to even:
///
/// - symmetric: `step = max(max(|min|, |max|) / max_code, eps)`, `zero_point = 0`;
/// - asymmetric, after `min = min(min, 0)` and `max = max(max, 0)`:
///   `step = max((max - min) / max_code, eps)`,
///   `zero_point = clamp(-round(min / step), 0, max_code)`. Zero has a code of its own. These are
///   the numbers of `_calculate_qparams` of
///   [PyTorch's observers](https://github.com/pytorch/pytorch/blob/main/torch/ao/quantization/observer.py)
///   for `quint8` and `per_tensor_affine`, where that does not overflow.
///
/// A symmetric step reserves the smallest code for values that round beyond `-max_code`. It is the step
/// of the dynamic [`Absmax`](crate::quant::ActivationQuantizer::Absmax) quantizer.
#[derive(Debug, Clone, PartialEq)]
pub struct StaticParams {
    /// Bits of a code.
    pub bits: u8,
    /// Mapping of codes to values.
    pub mapping: Mapping,
    /// Distances between neighboring values.
    pub step: Vec<f32>,
    /// Codes of the value zero, integers.
    pub zero_point: Vec<f32>,
}

impl Range {
    /// Computes the steps and zero points that represent the range in codes of `bits` bits.
    ///
    /// # Panics
    ///
    /// If the number of bits is not in 2..=8.
    #[track_caller]
    pub fn static_params(&self, bits: u8, mapping: Mapping) -> StaticParams {
        let max_code = mapping.codes(bits).max;
        let bounds = self.min().iter().zip(self.max());
        let params = bounds.map(|(&min, &max)| match mapping {
            Mapping::Symmetric => symmetric(min, max, max_code),
            Mapping::Asymmetric => asymmetric(min, max, max_code),
        });
        let (step, zero_point) = params.unzip();
        StaticParams {
            bits,
            mapping,
            step,
            zero_point,
        }
    }
}

impl StaticParams {
    /// Returns `Q(x)` of a value of the first channel.
    pub(super) fn quantized(&self, x: f64) -> f64 {
        let codes = self.mapping.codes(self.bits);
        let (step, zero_point) = (self.step[0] as f64, self.zero_point[0] as f64);
        let code = (x / step).round_ties_even() + zero_point;
        let code = code.clamp(codes.min as f64, codes.max as f64);
        (code - zero_point) * step
    }
}

fn symmetric(min: f32, max: f32, max_code: f32) -> (f32, f32) {
    let step = min.abs().max(max.abs()) / max_code;
    (step.max(f32::EPSILON), 0.0)
}

fn asymmetric(min: f32, max: f32, max_code: f32) -> (f32, f32) {
    let (min, max) = (min.min(0.0), max.max(0.0));
    let length = max - min;
    let step = match length.is_finite() {
        true => length / max_code,
        // The difference of two finite numbers may overflow.
        false => max / max_code - min / max_code,
    };
    let step = step.max(f32::EPSILON);
    let zero_point = 0.0 - (min / step).round_ties_even();
    (step, zero_point.clamp(0.0, max_code))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_rounded_to_even_codes_and_clamped() {
        let range = Range::new(vec![-7.0], vec![7.0]).unwrap();
        let params = range.static_params(4, Mapping::Symmetric);
        for (x, expected) in [
            (0.5, 0.0),
            (1.5, 2.0),
            (9.0, 7.0),
            (-7.6, -8.0),
            (-99.0, -8.0),
        ] {
            assert_eq!(params.quantized(x), expected, "{x}");
        }
    }
}
