//! Weighted sums of adapters, against peft and the sum of the products.

use bitnet_burn::peft::{Combination, Lora, LoraConfig};

use super::*;

const WEIGHTS: [(&str, f64); 2] = [("one", 0.7), ("two", -1.5)];

/// Returns a model with the two adapters that peft combined.
fn both() -> BitNetLm<AdaptedLinear<Linear>> {
    let folder = |name| load(data_path(&format!("l_adapter_{name}"))).unwrap();
    let lm = folder("one").attach(model("l_llama"), "one").unwrap();
    folder("two").add(lm, "two").unwrap()
}

fn lora<'a>(linear: &'a AdaptedLinear<Linear>, name: &str) -> Option<&'a Lora> {
    linear.adapter(name)?.as_lora()
}

#[test]
fn combinations_have_the_logits_of_peft_and_are_saved_as_plain_adapters() {
    for (name, combination, rank) in [
        ("cat", Combination::Cat, 4),
        ("linear", Combination::Linear, 2),
    ] {
        let (lm, config) = both()
            .with_weighted_adapter("sum", &WEIGHTS, combination)
            .unwrap();
        assert_logits(&lm, &values(&format!("weighted_{name}.logits")), name);
        assert_eq!((config.rank, config.alpha), (rank, rank as f64));
        let again = saved_and_loaded(&lm, "sum", &config.into(), model("l_llama"));
        assert_logits(&again, &logits(&lm), "saved and loaded");
    }
}

#[test]
fn cat_is_the_sum_of_the_products() {
    let (lm, _) = both()
        .with_weighted_adapter("sum", &WEIGHTS, Combination::Cat)
        .unwrap();
    for (module, linear) in lm.projections() {
        let parts = WEIGHTS.iter().filter_map(|(name, weight)| {
            let product = lora(linear, name)?.delta();
            Some(product * *weight)
        });
        let expected = parts.reduce(|sum, part| sum + part);
        let found = lora(linear, "sum").map(Lora::delta);
        assert_eq!(found.is_some(), expected.is_some(), "{module}");
        if let (Some(found), Some(expected)) = (found, expected) {
            // Sums of 4 products of values below 1, in another order.
            assert_within(
                &floats(found),
                &floats(expected),
                |_| 16.0 * ROUNDING,
                &module,
            );
        }
    }
}

#[test]
fn what_has_no_sum_is_refused_by_name() {
    let error = |lm: BitNetLm<AdaptedLinear<Linear>>, adapters: &[(&str, f64)]| {
        let sum = lm.with_weighted_adapter("sum", adapters, Combination::Linear);
        sum.unwrap_err().to_string()
    };
    assert!(error(both(), &[("three", 1.0)]).contains(r#"no adapter "three""#));
    assert!(error(both(), &[]).starts_with("adapters must be 1 or more"));
    assert!(error(both(), &[("one", f64::NAN)]).starts_with("the weight of one must be finite"));
    let twice = error(both(), &[("one", 1.0), ("one", 1.0)]);
    assert!(
        twice.starts_with("adapters must be different, got one"),
        "{twice}"
    );
    let add = |config: LoraConfig| both().add_adapter("other", config).unwrap().0;
    let ranks = error(add(LoraConfig::new(3)), &[("one", 1.0), ("other", 1.0)]);
    assert_eq!(
        ranks,
        "model.layers.0.self_attn.q_proj: ranks 2 and 3 have no linear combination: choose cat"
    );
    let norms = error(add(LoraConfig::new(2).with_dora()), &[("other", 1.0)]);
    assert!(norms.contains("other is a DoRA adapter"), "{norms}");
}
