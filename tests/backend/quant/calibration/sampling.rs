use bitnet_burn::quant::calibration::SamplingPolicy;

#[test]
fn samples_are_so_many_and_so_far_apart() {
    let policy = SamplingPolicy::every(3).with_max_samples(4);
    let mut observed = Vec::new();
    for step in 0..100 {
        if policy.should_observe(step, observed.len() as u64) {
            observed.push(step);
        }
    }
    assert_eq!(observed, [0, 3, 6, 9]);
    assert!((0..100).all(|step| SamplingPolicy::default().should_observe(step, 1 << 40)));
}

#[test]
fn json_round_trips_and_a_distance_of_zero_is_refused() {
    let policy = SamplingPolicy::every(3).with_max_samples(4);
    let json = serde_json::to_string(&policy).unwrap();
    assert_eq!(json, r#"{"every":3,"max_samples":4}"#);
    assert_eq!(
        serde_json::from_str::<SamplingPolicy>(&json).unwrap(),
        policy
    );
    let default = serde_json::from_str::<SamplingPolicy>("{}").unwrap();
    assert_eq!(default, SamplingPolicy::default());
    let error = serde_json::from_str::<SamplingPolicy>(r#"{"every": 0}"#).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("between samples must be 1 or more, got 0")
    );
}
