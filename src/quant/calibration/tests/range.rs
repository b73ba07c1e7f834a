use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::quant::calibration::Range;

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

#[test]
fn any_float_survives_the_json() {
    let mut rng = StdRng::seed_from_u64(51);
    let floats = (0..20_000).map(|_| f32::from_bits(rng.random()));
    let floats: Vec<f32> = floats.filter(|v| v.is_finite()).collect();
    let range = Range::new(floats.clone(), floats.clone()).unwrap();
    let json = serde_json::to_string(&range).unwrap();
    let read: Range = serde_json::from_str(&json).unwrap();
    let equal = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
    assert!(read.min().iter().zip(&floats).all(equal));
    assert!(read.max().iter().zip(&floats).all(equal));
}
