use super::distributions::{distributions, shuffled};
use crate::quant::calibration::Histogram;

/// Counts all values at once in bins of the width for the largest magnitude.
fn brute_force(values: &[f32], bins: usize) -> (f64, Vec<u64>) {
    let largest = values.iter().fold(0.0f64, |l, &v| l.max((v as f64).abs()));
    let mut width = 2.0f64.powi(-149) / (bins / 2) as f64;
    while largest >= width * (bins / 2) as f64 {
        width *= 2.0;
    }
    let mut counts = vec![0; bins];
    for &value in values {
        let mut bin = 0;
        while (bin as f64 + 1.0 - (bins / 2) as f64) * width <= value as f64 {
            bin += 1;
        }
        counts[bin] += 1;
    }
    (width, counts)
}

#[test]
fn counts_of_a_stream_are_those_of_all_its_values_at_once() {
    for (name, values) in distributions(600, 11) {
        for (bins, sample) in [(16, 7), (64, 100), (64, 600)] {
            let mut histogram = Histogram::new(bins);
            let counted: u64 = values.chunks(sample).map(|s| histogram.extend(s)).sum();
            let (width, counts) = brute_force(&values, bins);
            assert_eq!(histogram.width(), width, "{name}");
            assert_eq!(histogram.counts(), counts, "{name}, {bins} bins");
            assert_eq!((counted, histogram.total()), (600, 600));
        }
    }
}

#[test]
fn neither_order_nor_partition_of_the_stream_matters() {
    for (name, values) in distributions(500, 12) {
        let mut whole = Histogram::new(256);
        whole.extend(&values);
        let mut one_by_one = Histogram::new(256);
        for value in shuffled(&values, 1) {
            one_by_one.extend(&[value]);
        }
        assert_eq!(one_by_one, whole, "{name}");
        let (mut left, mut right) = (Histogram::new(256), Histogram::new(256));
        left.extend(&values[..120]);
        right.extend(&values[120..]);
        right.merge(&left);
        assert_eq!(right, whole, "{name}");
    }
}

#[test]
fn a_power_of_two_lies_in_a_bin_like_any_other_value() {
    for value in [1.0, -1.0, 2.0f32.powi(-149), f32::MAX, f32::MIN] {
        let mut histogram = Histogram::new(16);
        histogram.extend(&[value]);
        let bin = histogram.counts().iter().position(|&n| n == 1).unwrap();
        let value = value as f64;
        assert!(histogram.edge(bin) <= value && value < histogram.edge(bin + 1));
        assert_eq!(histogram.centres().collect::<Vec<_>>(), [(value, 1)]);
    }
}

#[test]
fn zeros_and_the_largest_values_share_a_histogram() {
    let mut histogram = Histogram::new(16);
    histogram.extend(&[0.0; 5]);
    assert_eq!(histogram.extremes(), Some((0.0, 0.0)));
    histogram.extend(&[f32::MAX, f32::MIN, 2.0f32.powi(-149)]);
    assert_eq!(histogram.counts()[8], 6);
    assert_eq!((histogram.counts()[0], histogram.counts()[15]), (1, 1));
    assert_eq!(histogram.extremes(), Some((f32::MIN, f32::MAX)));
}

#[test]
fn without_finite_values_it_stays_empty() {
    let mut histogram = Histogram::new(16);
    assert_eq!(histogram.extend(&[]), 0);
    assert_eq!(histogram.extend(&[f32::NAN, f32::INFINITY]), 0);
    assert_eq!(histogram, Histogram::new(16));
    assert_eq!(histogram.extremes(), None);
}

#[test]
fn json_round_trips_and_contradictions_are_refused() {
    let mut histogram = Histogram::new(16);
    for state in [histogram.clone(), {
        histogram.extend(&[0.1, -0.3, 1e-20]);
        histogram.clone()
    }] {
        let json = serde_json::to_string(&state).unwrap();
        assert_eq!(serde_json::from_str::<Histogram>(&json).unwrap(), state);
    }
    let json = serde_json::to_value(&histogram).unwrap();
    for (field, value, message) in [
        (
            "exponent",
            serde_json::json!(200),
            "an exponent that no f32 has",
        ),
        (
            "counts",
            serde_json::json!([1, 2]),
            "a power of two from 16",
        ),
        (
            "counts",
            serde_json::json!(vec![u64::MAX; 16]),
            "more counts than can be",
        ),
        (
            "counts",
            serde_json::json!(vec![0; 16]),
            "extremes outside of the counts",
        ),
        (
            "min",
            serde_json::json!(-0.9),
            "extremes outside of the counts",
        ),
        (
            "max",
            serde_json::json!(3.0),
            "extremes outside of the counts",
        ),
    ] {
        let mut json = json.clone();
        json[field] = value;
        let error = serde_json::from_value::<Histogram>(json).unwrap_err();
        assert!(error.to_string().contains(message), "{field}: {error}");
    }
}

#[test]
#[should_panic(expected = "a power of two from 16 to 65536, got 100")]
fn a_number_of_bins_out_of_range_panics() {
    Histogram::new(100);
}
