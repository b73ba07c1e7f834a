use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::quantized;
use crate::quant::calibration::{Mapping, Range, StaticParams};

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
            assert_eq!(quantized(&params, 0.0), 0.0);
            // The step may be rounded down by half a unit, the zero point is off by half a
            // step, and rounding to a code by another half.
            for bound in [min.min(0.0), 0.0, max.max(0.0)] {
                let error = (quantized(&params, bound as f64) - bound as f64).abs();
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
#[should_panic(expected = "bits must be 2 to 8, got 9")]
fn a_number_of_bits_out_of_range_panics() {
    params(0.0, 1.0, 9, Mapping::Symmetric);
}
