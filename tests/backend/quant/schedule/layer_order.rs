use bitnet_burn::quant::schedule::LayerOrder;

const LAYERS: [&str; 4] = ["a", "b", "c", "d"];

fn explicit(names: &[&str]) -> LayerOrder {
    LayerOrder::Explicit {
        names: names.iter().map(|name| name.to_string()).collect(),
    }
}

fn sensitivity(scores: &[(&str, f64)]) -> LayerOrder {
    let scores = scores
        .iter()
        .map(|(name, score)| (name.to_string(), *score));
    LayerOrder::Sensitivity {
        scores: scores.collect(),
    }
}

#[test]
fn each_order_ranks_the_layers_as_it_says() {
    let scores = [("a", 0.5), ("b", -1.0), ("c", 0.5), ("d", 0.0)];
    for (order, ranks) in [
        (LayerOrder::FrontToBack, [0, 1, 2, 3]),
        (LayerOrder::BackToFront, [3, 2, 1, 0]),
        (sensitivity(&scores), [2, 0, 3, 1]),
        (explicit(&["c", "a", "d", "b"]), [1, 3, 0, 2]),
    ] {
        assert_eq!(order.ranks(&LAYERS).unwrap(), ranks, "{order:?}");
    }
    assert!(
        LayerOrder::BackToFront
            .ranks::<&str>(&[])
            .unwrap()
            .is_empty()
    );
}

#[test]
fn layers_of_equal_sensitivity_go_from_front_to_back() {
    let order = sensitivity(&[("a", 0.0), ("b", -0.0), ("c", 0.0), ("d", -0.0)]);
    assert_eq!(order.ranks(&LAYERS).unwrap(), [0, 1, 2, 3]);
}

#[test]
fn names_that_do_not_fit_are_all_listed() {
    let error = explicit(&["x", "a", "c", "a", "y"])
        .ranks(&LAYERS)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the order of layers does not name each layer once; unknown: x, y; missing: b, d; \
         repeated: a"
    );
    let error = sensitivity(&[("a", 0.0), ("b", 1.0), ("d", 0.0)])
        .ranks(&LAYERS)
        .unwrap_err();
    assert!(error.to_string().ends_with("once; missing: c"), "{error}");
}

#[test]
fn a_score_that_is_no_number_is_refused() {
    let scores = [("a", 0.0), ("b", f64::NAN), ("c", 0.0), ("d", 1.0)];
    let error = sensitivity(&scores).ranks(&LAYERS).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the sensitivity of layer b is no finite number: NaN"
    );
}

#[test]
fn layers_of_one_name_are_refused() {
    let error = LayerOrder::FrontToBack.ranks(&["a", "b", "a"]).unwrap_err();
    assert_eq!(error.to_string(), "more than one layer has the name a");
}

#[test]
fn json_round_trips() {
    let order = sensitivity(&[("a", 0.5), ("b", 1e-7)]);
    let json = serde_json::to_string(&order).unwrap();
    assert_eq!(json, r#"{"sensitivity":{"scores":{"a":0.5,"b":1e-7}}}"#);
    assert_eq!(serde_json::from_str::<LayerOrder>(&json).unwrap(), order);
}
