use bitnet_burn::quant::schedule::{
    LayerOrder, LayerwiseConfig, ProgressiveSchedule, ProgressiveShape,
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

fn whole(start: usize, end: usize) -> LayerwiseConfig {
    LayerwiseConfig::new(ProgressiveSchedule::new(ProgressiveShape::Linear, start, end).unwrap())
}

fn spans(config: &LayerwiseConfig, n: usize) -> Vec<(usize, usize)> {
    let names: Vec<String> = (0..n).map(|i| i.to_string()).collect();
    let schedule = config.init(&names).unwrap();
    let span = |(_, s): (&str, &ProgressiveSchedule)| (s.start(), s.end());
    schedule.layers().map(span).collect()
}

#[test]
fn without_overlap_layers_follow_each_other() {
    let config = whole(100, 400);
    assert_eq!(spans(&config, 3), [(100, 200), (200, 300), (300, 400)]);
    let config = config.with_order(LayerOrder::BackToFront);
    assert_eq!(spans(&config, 3), [(300, 400), (200, 300), (100, 200)]);
}

#[test]
fn half_an_overlap_starts_a_layer_in_the_middle_of_the_one_before() {
    let config = whole(0, 400).with_overlap(0.5);
    assert_eq!(spans(&config, 3), [(0, 200), (100, 300), (200, 400)]);
}

#[test]
fn with_full_overlap_or_one_layer_each_takes_the_whole() {
    assert_eq!(spans(&whole(3, 17).with_overlap(1.0), 4), [(3, 17); 4]);
    assert_eq!(spans(&whole(3, 17), 1), [(3, 17)]);
    assert_eq!(spans(&whole(5, 5), 3), [(5, 5); 3]);
    assert_eq!(spans(&whole(5, 9), 0), []);
}

#[test]
fn any_layers_fill_the_whole_in_their_order() {
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..300 {
        let start = rng.random_range(0..50);
        let end = start + rng.random_range(0..500);
        let overlap: f64 = rng.random();
        let n = rng.random_range(1..40);
        let config = whole(start, end).with_overlap(overlap);
        let spans = spans(&config, n);
        assert_eq!(spans[0].0, start);
        assert_eq!(spans[n - 1].1, end);
        let duration = (end - start) as f64 / (1.0 + (n - 1) as f64 * (1.0 - overlap));
        for (rank, &(first, last)) in spans.iter().enumerate() {
            assert!(first <= last);
            // Both ends are rounded down to a step.
            let exact = start as f64 + rank as f64 * (1.0 - overlap) * duration;
            assert!((first as f64 - exact).abs() < 1.0 + 1e-9, "{config:?}");
            assert!((last as f64 - exact - duration).abs() < 1.0 + 1e-9);
        }
        assert!(spans.is_sorted());
    }
}

#[test]
fn values_are_found_by_number_and_by_name() {
    let schedule = whole(0, 200).init(&["a", "b"]).unwrap();
    assert_eq!(schedule.value(50, 0), 0.5);
    assert_eq!(schedule.value_of(150, "b"), Some(0.5));
    assert_eq!(schedule.value_of(150, "c"), None);
}

#[test]
#[should_panic(expected = "the schedule has 1 layers, got the layer number 1")]
fn a_layer_number_out_of_range_panics_with_the_numbers() {
    whole(0, 1).init(&["a"]).unwrap().value(0, 1);
}

#[test]
fn json_round_trips_and_a_wrong_overlap_is_refused() {
    let config = whole(1, 2)
        .with_order(LayerOrder::BackToFront)
        .with_overlap(0.25);
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(
        serde_json::from_str::<LayerwiseConfig>(&json).unwrap(),
        config
    );
    let error = serde_json::from_str::<LayerwiseConfig>(r#"{"overlap": 1.5}"#).unwrap_err();
    assert!(
        error.to_string().contains("must be in [0, 1], got 1.5"),
        "{error}"
    );
    let error = whole(0, 1).with_overlap(f64::NAN).init(&["a"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the overlap of layers must be in [0, 1], got NaN"
    );
}
