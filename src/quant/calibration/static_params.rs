use serde::{Deserialize, Serialize};

use super::Range;
use crate::ops::CodeRange;

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
    pub fn codes(self, bits: u8) -> (i32, i32) {
        let codes = match self {
            Self::Symmetric => CodeRange::signed(bits),
            Self::Asymmetric => CodeRange::unsigned(bits),
        };
        (codes.min as i32, codes.max as i32)
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
        let (_, max_code) = mapping.codes(bits);
        let bounds = self.min().iter().zip(self.max());
        let params = bounds.map(|(&min, &max)| match mapping {
            Mapping::Symmetric => symmetric(min, max, max_code as f32),
            Mapping::Asymmetric => asymmetric(min, max, max_code as f32),
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
        let (min_code, max_code) = self.mapping.codes(self.bits);
        let (step, zero_point) = (self.step[0] as f64, self.zero_point[0] as f64);
        let code = (x / step).round_ties_even() + zero_point;
        (code.clamp(min_code as f64, max_code as f64) - zero_point) * step
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
    use rand::{RngExt, SeedableRng, rngs::StdRng};

    fn params(min: f32, max: f32, bits: u8, mapping: Mapping) -> StaticParams {
        let range = Range::new(vec![min], vec![max]).unwrap();
        range.static_params(bits, mapping)
    }

    /// Returns ranges of all kinds: on both sides of zero, on one, empty, huge and tiny.
    fn ranges() -> Vec<(f32, f32)> {
        let mut rng = StdRng::seed_from_u64(5);
        let mut ranges = vec![
            (0.0, 0.0),
            (1.0, 1.0),
            (-3.0, -3.0),
            (f32::MIN, f32::MAX),
            (0.0, f32::MAX),
            (f32::MIN, 0.0),
            (0.0, f32::MIN_POSITIVE),
            (-1e-40, 1e-45),
        ];
        for _ in 0..500 {
            let magnitude = 10f32.powi(rng.random_range(-12..30));
            let mut value = || magnitude * rng.random_range(-1.0..1.0f32);
            let (a, b) = (value(), value());
            ranges.push((a.min(b), a.max(b)));
        }
        ranges
    }

    #[test]
    fn the_symmetric_step_is_that_of_the_largest_magnitude() {
        for bits in 2..=8 {
            for (min, max) in ranges() {
                let params = params(min, max, bits, Mapping::Symmetric);
                let largest = (min as f64).abs().max((max as f64).abs());
                let step = (largest / ((1 << (bits - 1)) - 1) as f64) as f32;
                assert_eq!(params.step, [step.max(f32::EPSILON)], "[{min}, {max}]");
                assert_eq!(params.zero_point, [0.0]);
            }
        }
    }

    #[test]
    fn asymmetric_codes_hold_zero_exactly_and_the_range_within_a_step() {
        for bits in 2..=8 {
            for (min, max) in ranges() {
                let params = params(min, max, bits, Mapping::Asymmetric);
                let max_code = ((1 << bits) - 1) as f32;
                let (step, zero_point) = (params.step[0], params.zero_point[0]);
                assert!(step.is_finite() && step >= f32::EPSILON);
                assert_eq!(zero_point, zero_point.round());
                assert!((0.0..=max_code).contains(&zero_point));
                assert_eq!(params.quantized(0.0), 0.0);
                // The step may be rounded down by half a unit, the zero point is off by half a
                // step, and rounding to a code by another half.
                for bound in [min.min(0.0), 0.0, max.max(0.0)] {
                    let error = (params.quantized(bound as f64) - bound as f64).abs();
                    assert!(error <= 1.001 * step as f64, "{bound} of [{min}, {max}]");
                }
            }
        }
    }

    #[test]
    fn asymmetric_parameters_are_those_of_pytorch() {
        // By hand, from the formula of `_calculate_qparams` with quant_min 0 and quant_max 255.
        for (min, max, step, zero_point) in [
            // 2 / 255 is rounded up, which leaves 1 / step short of the tie at 127.5.
            (-1.0, 1.0, 2.0 / 255.0, 127.0),
            (-0.5, 2.05, 0.01, 50.0),
            (0.1, 2.55, 0.01, 0.0),
            (-2.55, -0.1, 0.01, 255.0),
            (0.0, 0.0, f32::EPSILON, 0.0),
        ] {
            let params = params(min, max, 8, Mapping::Asymmetric);
            let near = (params.step[0] - step).abs() <= step * f32::EPSILON;
            assert!(near, "[{min}, {max}]: {params:?}");
            assert_eq!(params.zero_point, [zero_point], "[{min}, {max}]");
        }
    }

    #[test]
    fn each_channel_has_its_own_parameters() {
        let range = Range::new(vec![-1.0, 0.0], vec![3.0, 6.0]).unwrap();
        let params = range.static_params(3, Mapping::Symmetric);
        assert_eq!(params.step, [1.0, 2.0]);
        let params = range.static_params(2, Mapping::Asymmetric);
        assert_eq!(params.step, [4.0 / 3.0, 2.0]);
        assert_eq!(params.zero_point, [1.0, 0.0]);
    }

    #[test]
    fn values_are_rounded_to_even_codes_and_clamped() {
        let params = params(-7.0, 7.0, 4, Mapping::Symmetric);
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

    #[test]
    #[should_panic(expected = "bits must be 2 to 8, got 9")]
    fn a_number_of_bits_out_of_range_panics() {
        params(0.0, 1.0, 9, Mapping::Symmetric);
    }
}
