use bitnet_burn::quant::calibration::{
    CalibrationError, Mapping, Observer, ObserverConfig, ObserverGranularity,
};

use super::distributions::{distributions, shuffled};

fn configs() -> Vec<ObserverConfig> {
    let granularity = ObserverGranularity::PerChannel;
    vec![
        ObserverConfig::min_max(),
        ObserverConfig::MinMax { granularity },
        ObserverConfig::ema_min_max(),
        ObserverConfig::EmaMinMax {
            momentum: 0.5,
            granularity,
        },
        ObserverConfig::Percentile {
            percentile: 90.0,
            bins: 64,
        },
        ObserverConfig::Histogram { bins: 64 },
        ObserverConfig::Mse {
            bits: 3,
            mapping: Mapping::Symmetric,
            candidates: 10,
            bins: 64,
        },
    ]
}

/// Returns whether the order of samples matters.
fn is_ordered(config: &ObserverConfig) -> bool {
    matches!(config, ObserverConfig::EmaMinMax { .. })
}

#[test]
fn min_max_is_the_smallest_and_largest_of_all_values_of_a_channel() {
    for (name, values) in distributions(300, 41) {
        let granularity = ObserverGranularity::PerChannel;
        let mut whole = ObserverConfig::min_max().init();
        let mut channels = ObserverConfig::MinMax { granularity }.init();
        for sample in values.chunks(30) {
            whole.observe_values(sample, 3);
            channels.observe_values(sample, 3);
        }
        let bounds = |channel: usize, step: usize| {
            let of = values[channel..].iter().step_by(step);
            let min = of.clone().copied().fold(f32::INFINITY, f32::min);
            (min, of.copied().fold(f32::NEG_INFINITY, f32::max))
        };
        let range = whole.range().unwrap();
        assert_eq!((range.min()[0], range.max()[0]), bounds(0, 1), "{name}");
        let range = channels.range().unwrap();
        assert_eq!(range.min().len(), 3);
        for channel in 0..3 {
            let found = (range.min()[channel], range.max()[channel]);
            assert_eq!(found, bounds(channel, 3), "{name}, channel {channel}");
        }
        assert_eq!(whole.num_samples(), 10);
    }
}

#[test]
fn moving_averages_are_the_weighted_sums_of_all_bounds() {
    for (name, values) in distributions(300, 42) {
        let momentum = 0.7f64;
        let mut observer = ObserverConfig::EmaMinMax {
            momentum,
            granularity: ObserverGranularity::PerTensor,
        }
        .init();
        values
            .chunks(30)
            .for_each(|s| observer.observe_values(s, 1));
        // The recurrence written out: the first bound has the weight m^(n-1), the i-th
        // (1-m) m^(n-i).
        let n = 10;
        let weight = |i: usize| match i {
            0 => momentum.powi(n - 1),
            _ => (1.0 - momentum) * momentum.powi(n - 1 - i as i32),
        };
        let sum = |bound: fn(f64, f64) -> f64| -> f64 {
            let bound_of = |sample: &[f32]| sample.iter().map(|&v| v as f64).reduce(bound).unwrap();
            let samples = values.chunks(30).enumerate();
            samples
                .map(|(i, sample)| weight(i) * bound_of(sample))
                .sum()
        };
        let range = observer.range().unwrap();
        for (found, exact) in [
            (range.min()[0], sum(f64::min)),
            (range.max()[0], sum(f64::max)),
        ] {
            // Rounding to f32 and to its subnormals; that of f64 is far smaller.
            let bound = exact.abs() / 2f64.powi(24) * 1.001 + 2f64.powi(-150) * 1.001;
            let error = (found as f64 - exact).abs();
            assert!(error <= bound, "{name}: {found}, expected {exact}");
        }
    }
}

#[test]
fn only_moving_averages_depend_on_the_order_of_samples() {
    for (name, values) in distributions(240, 43) {
        for config in configs() {
            let range = |samples: &mut dyn Iterator<Item = &[f32]>| {
                let mut observer = config.init();
                samples.for_each(|sample| observer.observe_values(sample, 2));
                observer.range().unwrap()
            };
            let forward = range(&mut values.chunks(24));
            let backward = range(&mut values.chunks(24).rev());
            let constant = values.iter().all(|v| *v == values[0]);
            let same = !is_ordered(&config) || constant;
            assert_eq!(forward == backward, same, "{name}, {config:?}");
        }
    }
}

#[test]
fn merged_observers_are_one_that_saw_both_streams() {
    for (name, values) in distributions(240, 44) {
        for config in configs() {
            let (mut left, mut right, mut both) = (config.init(), config.init(), config.init());
            let values = shuffled(&values, 9);
            for (i, sample) in values.chunks(24).enumerate() {
                both.observe_values(sample, 2);
                let part = if i < 3 { &mut left } else { &mut right };
                part.observe_values(sample, 2);
            }
            let mut merged = left.clone();
            let result = merged.merge(&right);
            if is_ordered(&config) {
                assert!(matches!(result, Err(CalibrationError::Merge(_))));
                assert_eq!(merged, left);
            } else {
                result.unwrap();
                assert_eq!(merged, both, "{name}, {config:?}");
                let mut with_none = both.clone();
                with_none.merge(&config.init()).unwrap();
                assert_eq!(with_none, both);
            }
        }
    }
}

#[test]
fn observers_that_differ_are_not_merged() {
    let granularity = ObserverGranularity::PerChannel;
    let mut observer = ObserverConfig::MinMax { granularity }.init();
    observer.observe_values(&[1.0, 2.0], 2);
    let mut other = observer.config().init();
    other.observe_values(&[1.0, 2.0, 3.0], 3);
    let error = observer.merge(&other).unwrap_err();
    assert!(error.to_string().contains("numbers of channels differ"));
    let other = ObserverConfig::min_max().init();
    let error = observer.merge(&other).unwrap_err();
    assert!(error.to_string().contains("configurations differ"));
}

#[test]
fn observation_goes_on_after_a_round_trip_of_the_state() {
    for (name, values) in distributions(240, 45) {
        for config in configs() {
            let mut whole = config.init();
            let mut interrupted = config.init();
            for sample in values.chunks(24) {
                let json = serde_json::to_string(&interrupted).unwrap();
                interrupted = serde_json::from_str(&json).unwrap();
                assert_eq!(interrupted, whole, "{name}, {config:?}");
                interrupted.observe_values(sample, 2);
                whole.observe_values(sample, 2);
            }
            assert_eq!(interrupted.range().unwrap(), whole.range().unwrap());
        }
    }
}

#[test]
fn values_that_are_not_finite_are_counted_and_refuse_a_range() {
    for config in configs() {
        let mut observer = config.init();
        observer.observe_values(&[f32::NAN, 1.0, -1.0, f32::INFINITY], 2);
        observer.observe_values(&[f32::NEG_INFINITY, f32::NAN], 2);
        observer.observe_values(&[0.5, 0.25], 2);
        assert_eq!((observer.num_samples(), observer.num_non_finite()), (3, 4));
        let error = observer.range().unwrap_err();
        assert_eq!(
            error.to_string(),
            "4 of 8 observed values are NaN or infinite"
        );
        // The state can still be saved.
        let json = serde_json::to_string(&observer).unwrap();
        assert_eq!(serde_json::from_str::<Observer>(&json).unwrap(), observer);
    }
}

#[test]
fn without_values_there_is_no_range() {
    for config in configs() {
        let mut observer = config.init();
        observer.observe_values(&[], 2);
        assert_eq!(observer.num_samples(), 0);
        let error = observer.range().unwrap_err();
        assert!(
            matches!(error, CalibrationError::NothingObserved),
            "{error}"
        );
    }
}

#[test]
fn a_stream_of_one_value_has_the_range_of_that_value() {
    for value in [0.0, 0.7, -3.0, f32::MAX, f32::MIN_POSITIVE, -1e-45] {
        for config in configs() {
            let mut observer = config.init();
            (0..5).for_each(|_| observer.observe_values(&[value; 4], 2));
            let range = observer.range().unwrap();
            // Reducing a bound below eps does not change the quantizer, so there are ties.
            assert!(
                range.min().iter().all(|&min| min == value),
                "{config:?}: {range:?}"
            );
            assert!(
                range.max().iter().all(|&max| max == value),
                "{config:?}: {range:?}"
            );
        }
    }
}

#[test]
#[should_panic(expected = "the observer has seen 2 channels before, got 3")]
fn another_number_of_channels_panics() {
    let granularity = ObserverGranularity::PerChannel;
    let mut observer = ObserverConfig::MinMax { granularity }.init();
    observer.observe_values(&[1.0, 2.0], 2);
    observer.observe_values(&[1.0, 2.0, 3.0], 3);
}

#[test]
fn a_state_that_contradicts_itself_is_refused() {
    let mut ema = ObserverConfig::ema_min_max().init();
    ema.observe_values(&[1.0, 2.0], 1);
    let mut counts = ObserverConfig::Histogram { bins: 16 }.init();
    counts.observe_values(&[1.0, 2.0], 1);
    let bounds = serde_json::json!({"ema_min_max": {"min": [1.0, 2.0], "max": [2.0, 2.0]}});
    let uneven = serde_json::json!({"ema_min_max": {"min": [1.0], "max": []}});
    let other = serde_json::json!({"min_max": {"min": [1.0], "max": [1.0]}});
    for (observer, field, value, message) in [
        (&ema, "statistics", bounds, "one range is configured"),
        (&ema, "statistics", uneven, "as many lower as upper"),
        (
            &ema,
            "statistics",
            other,
            "another observer than configured",
        ),
        (&ema, "samples", 0.into(), "bounds without samples"),
        (&counts, "finite", 3.into(), "not as many counts"),
        (&counts, "samples", 0.into(), "values without samples"),
        (
            &counts,
            "config",
            serde_json::json!({"histogram": {"bins": 32}}),
            "another number of bins",
        ),
    ] {
        let mut json = serde_json::to_value(observer).unwrap();
        json[field] = value;
        let error = serde_json::from_value::<Observer>(json).unwrap_err();
        assert!(error.to_string().contains(message), "{field}: {error}");
    }
}
