use super::{distributions::distributions, quantized};
use crate::quant::calibration::{Histogram, Mapping, ObserverConfig, Range, mse::MseSearch};

/// The search of an observer without further settings.
const DEFAULT: MseSearch = MseSearch {
    bits: 8,
    mapping: Mapping::Symmetric,
    candidates: 100,
};

fn histogram(values: &[f32], bins: usize) -> Histogram {
    let mut histogram = Histogram::new(bins);
    histogram.extend(values);
    histogram
}

/// Returns the root mean squared error of the values, by the definition.
fn rms(values: &[f32], min: f64, max: f64, config: &MseSearch) -> f64 {
    let eps = f32::EPSILON as f64;
    let quantized = |x: f64| match config.mapping {
        Mapping::Symmetric => {
            let half = 2f64.powi(config.bits as i32 - 1);
            let step = (min.abs().max(max.abs()) / (half - 1.0)).max(eps);
            (x / step).round_ties_even().clamp(-half, half - 1.0) * step
        }
        _ => {
            let largest = 2f64.powi(config.bits as i32) - 1.0;
            let step = ((max.max(0.0) - min.min(0.0)) / largest).max(eps);
            let zero = (-(min.min(0.0) / step).round_ties_even()).clamp(0.0, largest);
            let code = (x / step).round_ties_even() + zero;
            (code.clamp(0.0, largest) - zero) * step
        }
    };
    let error = |&v: &f32| (v as f64 - quantized(v as f64)).powi(2);
    (values.iter().map(error).sum::<f64>() / values.len() as f64).sqrt()
}

#[test]
fn the_range_found_is_as_good_as_the_best_of_the_values_within_a_bin() {
    for (name, values) in distributions(800, 31) {
        let histogram = histogram(&values, 1024);
        let (min, max) = histogram.extremes().unwrap();
        for (bits, mapping) in [
            (2, Mapping::Symmetric),
            (4, Mapping::Symmetric),
            (3, Mapping::Asymmetric),
            (8, Mapping::Asymmetric),
        ] {
            let config = MseSearch {
                bits,
                mapping,
                candidates: 40,
            };
            let range = config.range(&histogram).unwrap();
            let found = rms(
                &values,
                range.min()[0] as f64,
                range.max()[0] as f64,
                &config,
            );
            let best = (1..=40)
                .map(|i| i as f64 / 40.0)
                .map(|r| rms(&values, r * min as f64, r * max as f64, &config))
                .fold(f64::INFINITY, f64::min);
            // Twice half a bin, and bounds and steps rounded to f32, which moves each level by
            // at most 3 of 2^24 parts of the range.
            let rounding = 1e-6 * (min.abs() as f64).max(max.abs() as f64);
            let bound = best + histogram.width() + rounding;
            assert!(
                found <= bound,
                "{name}, {bits} bits, {mapping:?}: {found} > {bound}"
            );
        }
    }
}

#[test]
fn the_error_of_the_centres_is_that_of_the_values_within_half_a_bin() {
    for (name, values) in distributions(800, 32) {
        let histogram = histogram(&values, 512);
        let (min, max) = histogram.extremes().unwrap();
        let centres: Vec<_> = histogram.centres().collect();
        for candidate in 1..=10 {
            let config = MseSearch {
                bits: 4,
                mapping: Mapping::Symmetric,
                candidates: 10,
            };
            let ratio = candidate as f64 / 10.0;
            let clip = |bound: f32| vec![(ratio * bound as f64) as f32];
            let range = Range::new(clip(min), clip(max)).unwrap();
            let params = range.static_params(4, Mapping::Symmetric);
            let error =
                |&(c, count): &(f64, u64)| count as f64 * (c - quantized(&params, c)).powi(2);
            let squared_error: f64 = centres.iter().map(error).sum();
            let counted = (squared_error / values.len() as f64).sqrt();
            let exact = rms(
                &values,
                range.min()[0] as f64,
                range.max()[0] as f64,
                &config,
            );
            let rounding = 1e-6 * (min.abs() as f64).max(max.abs() as f64);
            let bound = histogram.width() / 2.0 + rounding;
            assert!(
                (counted - exact).abs() <= bound,
                "{name}, {candidate} of 10"
            );
        }
    }
}

#[test]
fn few_bits_clip_a_normal_distribution_and_many_hardly() {
    let values = &distributions(5000, 33)[0].1;
    let histogram = histogram(values, 4096);
    let clip = |bits| {
        let search = MseSearch { bits, ..DEFAULT };
        let range = search.range(&histogram).unwrap();
        range.max()[0] / histogram.extremes().unwrap().1
    };
    // The best step of a uniform quantizer with 3 levels is 1.22 standard deviations (Max
    // 1960), with the largest value of 5000 at about 3.7; -2 is a fourth level here.
    assert!((0.2..0.45).contains(&clip(2)), "{}", clip(2));
    assert!(clip(8) > 0.85, "{}", clip(8));
}

#[test]
fn a_constant_is_kept_whole() {
    let range = DEFAULT.range(&histogram(&[0.75; 9], 16)).unwrap();
    assert_eq!((range.min(), range.max()), (&[0.75][..], &[0.75][..]));
}

#[test]
fn numbers_out_of_range_are_refused_when_read() {
    for (json, message) in [
        (r#"{"bits": 1}"#, "bits must be 2 to 8, got 1"),
        (
            r#"{"candidates": 0}"#,
            "candidates must be 1 to 10000, got 0",
        ),
        (r#"{"bins": 100}"#, "bins must be a power of two"),
        (r#"{"mapping": "affine"}"#, "unknown variant `affine`"),
    ] {
        let json = format!(r#"{{"mse": {json}}}"#);
        let error = serde_json::from_str::<ObserverConfig>(&json).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
    }
}
