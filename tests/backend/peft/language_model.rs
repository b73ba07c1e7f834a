//! Adapters in a language model, on float, latent and packed bases.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm},
    peft::{
        AdaptedLinear, Adapter, AdapterBase, LoraBias, LoraConfig, LoraInit, PeftError,
        TargetModules, Targets,
    },
    quant::{WeightGranularity, WeightQuantizer},
};
use burn::{module::Module, nn::Linear, tensor::Tensor};

use super::models::*;
use crate::support::values::*;

fn all_linear(rank: usize) -> LoraConfig {
    LoraConfig::new(rank).with_targets(TargetModules::AllLinear)
}

#[test]
fn a_new_adapter_with_dropout_changes_nothing() {
    let lm = lm::<Linear>();
    let before = logits(&lm);
    let config = all_linear(4).with_dropout(0.5);
    let (adapted, report) = lm.with_adapter("default", config).unwrap();
    assert_eq!(report.modules.len(), 14);
    assert_equal(&logits(&adapted), &before, "a new adapter");
}

#[test]
fn dropout_of_a_new_adapter_acts_in_training() {
    let dropouts = |lm: &BitNetLm<AdaptedLinear<Linear>>| {
        let loras = lm.projections().filter_map(|(_, p)| {
            let adapter = p.adapter("default").and_then(Adapter::as_lora);
            adapter.map(|lora| lora.dropout.training.is_enabled())
        });
        loras.collect::<Vec<_>>()
    };
    let config = all_linear(4).with_dropout(0.5);
    let (adapted, _) = lm::<Linear>().with_adapter("default", config).unwrap();
    assert_eq!(dropouts(&adapted), [true; 14]);
    assert_eq!(dropouts(&adapted.valid()), [false; 14]);
    assert_eq!(dropouts(&adapted.valid().train()), [true; 14]);
}

#[test]
fn biases_and_whole_modules_train_where_the_configuration_says_so() {
    let mut config = all_linear(2);
    config.modules_to_save = vec!["lm_head".to_string(), "classifier".to_string()];
    config.bias = LoraBias::All;
    let (lm, report) = lm::<Linear>().with_adapter("default", &config).unwrap();
    assert_eq!(report.unmatched, ["classifier"]);
    assert!(
        report.to_string().contains("classifier matches nothing"),
        "{report}"
    );
    let trains = trained(&lm);
    assert!(trains.contains(&"lm_head.weight".to_string()), "{trains:?}");
    assert_eq!(trains.len(), 29);
}

#[test]
fn merging_into_codes_tells_what_it_loses() {
    let packed = lm::<BitLinear>().pack().train();
    let (lm, _) = packed.with_adapter("default", all_linear(4)).unwrap();
    let lm = perturbed(lm, 30);
    let (_, coarse) = lm.clone().merge(None);
    let groups = WeightQuantizer::ternary(WeightGranularity::PerGroup { group_size: 4 });
    let (merged, fine) = lm.clone().merge(Some(&groups));
    let mean = |report: &bitnet_burn::peft::MergeReport| {
        report.modules.iter().map(|m| m.loss).sum::<f64>() / report.modules.len() as f64
    };
    assert!(mean(&coarse) > 0.1, "{coarse}");
    assert!(mean(&fine) < mean(&coarse), "{fine} against {coarse}");
    let (lm, _) = in_four_bit(self::lm())
        .with_adapter("default", all_linear(4))
        .unwrap();
    let (_, of_nf4) = perturbed(lm, 30).merge(None);
    assert!(mean(&of_nf4) > 0.0 && mean(&of_nf4) < 1.0, "{of_nf4}");
    assert!(logits(&merged).iter().all(|v| v.is_finite()));
}

#[test]
fn adapters_are_added_chosen_and_deleted_by_name() {
    let base = lm::<Linear>();
    let of_base = logits(&base);
    let (lm, _) = base.with_adapter("one", all_linear(4)).unwrap();
    let lm = perturbed(lm, 40);
    let of_one = logits(&lm);
    let (lm, report) = lm.add_adapter("two", LoraConfig::new(2)).unwrap();
    assert_eq!(report.modules.len(), 4, "{report}");
    assert_equal(&logits(&lm), &of_base, "two is untrained, and one rests");
    let trains = trained(&lm);
    assert!(
        trains.iter().all(|path| path.contains(".adapters.1.")),
        "{trains:?}"
    );

    let lm = lm.with_active_adapters(&["one", "two"]).unwrap();
    assert_equal(&logits(&lm), &of_one, "one with the untrained two");
    let error = lm.clone().with_active_adapters(&["three"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the model has no adapter "three"; it has ["one", "two"]"#
    );
    let error = lm.clone().add_adapter("one", all_linear(4)).unwrap_err();
    assert!(matches!(error, PeftError::Exists { .. }), "{error}");
    let lm = lm.delete_adapter("one").unwrap();
    assert_equal(&logits(&lm), &of_base, "one is deleted");
    assert_eq!(lm.adapter_names().len(), 1);
}

#[test]
fn inits_of_the_weight_keep_the_model_and_refuse_codes() {
    for init in [LoraInit::Pissa, LoraInit::Olora] {
        let lm = lm::<Linear>();
        let before = logits(&lm);
        let config = all_linear(4).with_init(init);
        let (adapted, _) = lm.with_adapter("default", &config).unwrap();
        let bound = |i: usize| 4096.0 * ROUNDING * f64::from(before[i].abs().max(1.0));
        assert_within(&logits(&adapted), &before, bound, "W - s A B + s A B");
        // PiSSA takes the largest singular values out of the weight; OLoRA multiplies its part by `s`.
        let norm = |weight: Tensor<2>| weight.square().sum().into_scalar::<f32>();
        let smaller = |(_, p): (String, &AdaptedLinear<Linear>)| {
            norm(p.base.dense_weight()) < norm(p.dense_weight())
        };
        assert!(init == LoraInit::Olora || adapted.projections().all(smaller));

        let packed = self::lm::<BitLinear>().pack().train();
        let error = packed.with_adapter("default", &config).unwrap_err();
        assert!(
            error.to_string().contains("which is packed here"),
            "{error}"
        );
    }
}

#[test]
fn targets_that_match_nothing_are_an_error_that_lists_the_modules() {
    let config = LoraConfig::new(2).with_targets(TargetModules::names(["query"]));
    let error = lm::<Linear>().with_adapter("default", &config).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"target_modules ["query"] match no projection of the model, which has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"#
    );
    let mut targets = Targets::from(TargetModules::names(["q_proj", "query"]));
    targets.layers_to_transform = Some(vec![1]);
    let (_, report) = lm::<Linear>()
        .with_adapter("default", LoraConfig::new(2).with_targets(targets))
        .unwrap();
    assert_eq!(report.unmatched, ["query"]);
    assert_eq!(report.modules[0].name, "model.layers.1.self_attn.q_proj");
    assert_eq!(report.modules.len(), 1);
}
