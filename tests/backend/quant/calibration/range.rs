use bitnet_burn::quant::calibration::Range;

#[test]
fn bounds_that_are_no_range_are_refused_when_read() {
    for (json, message) in [
        (r#"{"min": [], "max": []}"#, "got 0 and 0"),
        (r#"{"min": [0.0], "max": [1.0, 2.0]}"#, "got 1 and 2"),
        (
            r#"{"min": [0.0, 2.0], "max": [1.0, 1.5]}"#,
            "channel 1 has [2, 1.5]",
        ),
        (r#"{"min": [null], "max": [1.0]}"#, "invalid type: null"),
        (r#"{"min": [-1e39], "max": [1.0]}"#, "out of range"),
        (
            r#"{"min": [0.0], "max": [1.0], "mean": 0.5}"#,
            "unknown field `mean`",
        ),
    ] {
        let error = serde_json::from_str::<Range>(json).unwrap_err();
        assert!(error.to_string().contains(message), "{json}: {error}");
    }
    assert!(Range::new(vec![f32::NAN], vec![1.0]).is_err());
    assert!(Range::new(vec![0.0], vec![f32::INFINITY]).is_err());
}
