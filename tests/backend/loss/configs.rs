//! Configurations of the losses in JSON: round trip, and rejection of invalid values.

use bitnet_burn::loss::*;
use burn::{module::ParamGroup, nn::loss::Reduction};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::json;

/// Asserts that the configuration is written as `expected` and read back unchanged.
#[track_caller]
fn check<C: Serialize + DeserializeOwned>(config: C, expected: serde_json::Value) {
    let written = serde_json::to_value(&config).unwrap();
    assert_eq!(written, expected);
    let read: C = serde_json::from_value(written).unwrap();
    assert_eq!(serde_json::to_value(read).unwrap(), expected);
}

#[test]
fn losses_are_written_and_read() {
    let config = CausalLmLoss::new()
        .with_ignore_index(None)
        .with_label_smoothing(0.1)
        .with_z_loss(1e-4)
        .with_reduction(Reduction::Sum);
    let expected = json!({
        "ignore_index": null, "label_smoothing": 0.1, "z_loss": 1e-4, "reduction": "Sum",
    });
    check(config, expected);
    let config = InfoNceLoss::new()
        .with_temperature(0.5)
        .with_normalize(false)
        .with_symmetric(true);
    let expected = json!({"temperature": 0.5, "normalize": false, "symmetric": true});
    check(config, expected);
}

#[test]
fn regularizers_are_written_and_read() {
    let cases = [
        (
            Regularizer::LevelDistance(LevelDistanceLoss::new().with_distance(Distance::Absolute)),
            json!({"level_distance": {"distance": "absolute"}}),
        ),
        (
            Regularizer::Kurtosis(KurtosisLoss::new()),
            json!({"kurtosis": {"target": 1.8}}),
        ),
        (Regularizer::L1, json!("l1")),
        (
            Regularizer::SparsityTarget(SparsityTargetLoss::new(0.5)),
            json!({"sparsity_target": {"target": 0.5, "temperature": 0.1}}),
        ),
        (
            Regularizer::ScaleDecay(ScaleDecayLoss::new()),
            json!({"scale_decay": {"coefficient": 1.0}}),
        ),
        (
            Regularizer::OscillationDampening,
            json!("oscillation_dampening"),
        ),
    ];
    for (regularizer, expected) in cases {
        check(regularizer.clone(), expected.clone());
        let config = WeightRegularizer::new(regularizer)
            .with_coefficient(0.5)
            .with_group(ParamGroup::from_path("head.weight"));
        let written = serde_json::to_value(&config).unwrap();
        assert_eq!(written["regularizer"], expected);
        assert_eq!(written["coefficient"], 0.5);
        check(config, written);
    }
}

#[test]
fn missing_fields_have_their_defaults() {
    let config: CausalLmLoss = serde_json::from_str("{}").unwrap();
    assert_eq!(config.ignore_index, Some(-100));
    let config: InfoNceLoss = serde_json::from_str(r#"{"symmetric": true}"#).unwrap();
    assert_eq!(config, InfoNceLoss::new().with_symmetric(true));
    let config: WeightRegularizer =
        serde_json::from_str(r#"{"regularizer": {"kurtosis": {}}}"#).unwrap();
    assert_eq!(
        config.regularizer,
        Regularizer::Kurtosis(KurtosisLoss::new())
    );
    assert_eq!(config.coefficient, 1.0);
}

#[test]
fn unknown_fields_and_values_out_of_range_are_refused() {
    fn error<C: DeserializeOwned + core::fmt::Debug>(json: &str) -> String {
        serde_json::from_str::<C>(json).unwrap_err().to_string()
    }
    let cases = [
        (
            error::<CausalLmLoss>(r#"{"smoothing": 1}"#),
            "unknown field `smoothing`",
        ),
        (
            error::<CausalLmLoss>(r#"{"label_smoothing": 2}"#),
            "in [0, 1], got 2",
        ),
        (
            error::<CausalLmLoss>(r#"{"z_loss": -1}"#),
            "zero or above and finite, got -1",
        ),
        (
            error::<InfoNceLoss>(r#"{"temperature": 0}"#),
            "positive and finite, got 0",
        ),
        (error::<SparsityTargetLoss>("{}"), "missing field `target`"),
        (
            error::<SparsityTargetLoss>(r#"{"target": -1}"#),
            "in [0, 1], got -1",
        ),
        (
            error::<KurtosisLoss>(r#"{"target": 0}"#),
            "positive and finite, got 0",
        ),
        (error::<Regularizer>(r#""l2""#), "unknown variant `l2`"),
        (
            error::<WeightRegularizer>(r#"{"regularizer": "l1", "coefficient": -2}"#),
            "zero or above and finite, got -2",
        ),
    ];
    for (error, expected) in cases {
        assert!(error.contains(expected), "{error}");
    }
}
