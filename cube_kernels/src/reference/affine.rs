use super::round_clamp;
use crate::{GradientRule, Groups, QuantRange};

/// Returns `clamp(round(x / step + zero_point), min, max)`.
pub fn affine_code(value: f32, step: f32, zero_point: f32, codes: QuantRange) -> f32 {
    round_clamp(value / step + zero_point, codes.min, codes.max)
}

/// Returns `Q(x) = (code - zero_point) * step`, with steps and zero points `[outer, inner]`.
pub fn affine_fake_quant(
    values: &[f32],
    steps: &[f32],
    zero_points: &[f32],
    groups: Groups,
    codes: QuantRange,
) -> Vec<f32> {
    let quantize = |(i, &value): (usize, &f32)| {
        let group = groups.scale_index(i);
        let (step, zero_point) = (steps[group], zero_points[group]);
        (affine_code(value, step, zero_point, codes) - zero_point) * step
    };
    values.iter().enumerate().map(quantize).collect()
}

/// Returns the factor of a rule for the value `v` in codes.
pub fn gradient_factor(v: f32, zero_point: f32, codes: QuantRange, rule: GradientRule) -> f32 {
    let QuantRange { min, max } = codes;
    if v.is_nan() {
        return 0.0;
    }
    match rule {
        GradientRule::Clipped { bound } => {
            let (low, high) = (bound * (min - zero_point), bound * (max - zero_point));
            f32::from(low <= v - zero_point && v - zero_point <= high)
        }
        GradientRule::Tanh { temperature } => {
            if v < min || v > max {
                return 0.0;
            }
            let threshold = v.floor().clamp(min, max - 1.0) + 0.5;
            let k = 1.0 / temperature;
            let slope = ((v - threshold) * k).tanh();
            k / (2.0 * (0.5 * k).tanh()) * (1.0 - slope * slope)
        }
        GradientRule::Sigmoid { temperature } => {
            let reach = GradientRule::SIGMOID_REACH * temperature;
            let mut sum = 0.0;
            let mut lower = min.max((v - reach).floor());
            while lower <= (max - 1.0).min(v + reach) {
                let decay = (-((v - (lower + 0.5)) / temperature).abs()).exp();
                sum += decay / ((1.0 + decay) * (1.0 + decay));
                lower += 1.0;
            }
            sum / temperature
        }
        GradientRule::StepSize => {
            if v < min {
                min
            } else if v > max {
                max
            } else {
                v.round_ties_even() - v
            }
        }
    }
}

/// Returns `grad * factor` of every value.
pub fn affine_gradient(
    values: &[f32],
    grads: &[f32],
    steps: &[f32],
    zero_points: &[f32],
    groups: Groups,
    codes: QuantRange,
    rule: GradientRule,
) -> Vec<f32> {
    let gradient = |(i, (&value, &grad)): (usize, (&f32, &f32))| {
        let group = groups.scale_index(i);
        let v = value / steps[group] + zero_points[group];
        grad * gradient_factor(v, zero_points[group], codes, rule)
    };
    values.iter().zip(grads).enumerate().map(gradient).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns the mean of a factor over a range of `v`, by the midpoint rule.
    fn mean(rule: GradientRule, from: f32, to: f32) -> f64 {
        const POINTS: usize = 100_000;
        let width = (to - from) as f64 / POINTS as f64;
        let at = |i| (from as f64 + (i as f64 + 0.5) * width) as f32;
        let factor = |i| gradient_factor(at(i), 0.0, QuantRange::TERNARY, rule) as f64;
        (0..POINTS).map(factor).sum::<f64>() / POINTS as f64
    }

    #[test]
    fn soft_steps_climb_from_level_to_level() {
        // The integral of a derivative is the difference of the levels. The smooth maximum error of
        // the rule is far below 1e-4 with this number of points.
        for temperature in [0.05, 0.3, 2.0] {
            let tanh = GradientRule::Tanh { temperature };
            for code in [-1.0, 0.0] {
                let climbed = mean(tanh, code, code + 1.0);
                assert!((climbed - 1.0).abs() < 1e-4, "{temperature}: {climbed}");
            }
        }
        for temperature in [0.05, 0.3] {
            let sigmoid = GradientRule::Sigmoid { temperature };
            let climbed = 20.0 * mean(sigmoid, -10.0, 10.0);
            assert!((climbed - 2.0).abs() < 1e-3, "{temperature}: {climbed}");
        }
    }

    #[test]
    fn a_wide_tanh_is_the_identity_inside_the_codes() {
        let rule = GradientRule::Tanh { temperature: 1e3 };
        let factor = |v| gradient_factor(v, 0.0, QuantRange::TERNARY, rule);
        assert!((factor(0.9) - 1.0).abs() < 1e-6);
        assert_eq!(factor(1.1), 0.0);
    }

    #[test]
    fn the_levels_of_an_affine_quantizer_contain_zero_exactly() {
        let codes = QuantRange::unsigned(8);
        let groups = Groups::per_tensor(4);
        let quantized = affine_fake_quant(&[0.0, -0.3, 0.7, 9.0], &[0.1], &[3.0], groups, codes);
        assert_eq!(quantized[0], 0.0);
        assert_eq!(quantized[1], -3.0 * 0.1);
        assert_eq!(quantized[3], 90.0 * 0.1);
    }

    #[test]
    fn a_nan_and_infinity_end_in_no_gradient_or_a_bounded_one() {
        for rule in [
            GradientRule::Clipped { bound: 1.0 },
            GradientRule::Tanh { temperature: 0.2 },
            GradientRule::Sigmoid { temperature: 0.2 },
        ] {
            for v in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 1e30] {
                assert_eq!(gradient_factor(v, 0.0, QuantRange::TERNARY, rule), 0.0);
            }
        }
    }
}
