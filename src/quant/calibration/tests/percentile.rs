use super::distributions::distributions;
use crate::quant::calibration::{CalibrationError, Histogram, ObserverConfig, Range, percentile};

fn of(values: &[f32], percentile: f64, bins: usize) -> (Range, f64) {
    let mut histogram = Histogram::new(bins);
    histogram.extend(values);
    let range = percentile::range(percentile, &histogram);
    (range.unwrap(), histogram.width())
}

#[test]
fn bounds_are_those_of_the_sorted_values_within_a_bin() {
    for (name, values) in distributions(3000, 21) {
        let mut sorted = values.clone();
        sorted.sort_by(f32::total_cmp);
        for percentile in [51.0, 90.0, 99.0, 99.9, 99.99, 100.0] {
            let (range, width) = of(&values, percentile, 1024);
            let rank = (percentile / 100.0 * 3000.0f64).ceil() as usize;
            let (exact_max, exact_min) = (sorted[rank - 1] as f64, sorted[3000 - rank] as f64);
            let (min, max) = (range.min()[0] as f64, range.max()[0] as f64);
            let what = format!("{name}, {percentile}: [{min}, {max}]");
            assert!(exact_max <= max && max <= exact_max + width, "{what}");
            assert!(exact_min - width <= min && min <= exact_min, "{what}");
        }
    }
}

#[test]
fn all_percents_are_the_extremes_exactly() {
    for (name, values) in distributions(100, 22) {
        let range = of(&values, 100.0, 16).0;
        let min = values.iter().copied().fold(f32::MAX, f32::min);
        let max = values.iter().copied().fold(f32::MIN, f32::max);
        assert_eq!(
            (range.min(), range.max()),
            (&[min][..], &[max][..]),
            "{name}"
        );
    }
}

#[test]
fn one_outlier_in_ten_thousand_is_cut_off() {
    let mut values: Vec<f32> = (0..9999).map(|i| i as f32 / 9998.0).collect();
    values.push(8.0);
    let (range, width) = of(&values, 99.99, 4096);
    assert_eq!(width, 1.0 / 128.0);
    assert!((1.0..=1.0 + width as f32).contains(&range.max()[0]));
    assert_eq!(range.min(), [0.0]);
}

#[test]
fn percentiles_out_of_range_are_refused_when_read() {
    for percentile in ["50.0", "100.5", "-1.0"] {
        let json = format!(r#"{{"percentile": {{"percentile": {percentile}}}}}"#);
        let error = serde_json::from_str::<ObserverConfig>(&json).unwrap_err();
        assert!(
            error
                .to_string()
                .contains("percentile must be in (50, 100]")
        );
    }
    let empty = percentile::range(99.99, &Histogram::new(16));
    assert!(matches!(empty, Err(CalibrationError::NothingObserved)));
}
