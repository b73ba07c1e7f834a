//! Adapters of the token embedding and the output head.

use bitnet_burn::{
    interop::hf::{SaveOptions, WeightForm},
    peft::{Combination, LoraConfig, LoraInit, MergeReport, TargetModules},
};

use burn::tensor::FloatDType;

use super::*;

#[test]
fn adapters_of_peft_have_its_logits_and_are_read_back() {
    for (base, name, modules) in [
        ("l_llama", "ends", 2),
        ("l_tied", "tied_ends", 1),
        ("l_tied", "tied_adapted_head", 1),
    ] {
        let (config, lm) = adapted(base, name);
        let products = [&lm.model.embed_products, &lm.head_products];
        let count: usize = products
            .iter()
            .map(|products| products.names().count())
            .sum();
        assert_eq!(count, modules);
        assert_eq!(lm.lm_head.is_none(), base == "l_tied");
        assert_logits(&lm, &values(&format!("{name}.logits")), name);
        let again = saved_and_loaded(&lm, "default", &config, model(base));
        assert_logits(&again, &logits(&lm), "saved and loaded");
        let (merged, report) = lm.clone().merge(None);
        assert_logits(&merged, &logits(&lm), "merged");
        assert!(loss(&report) < 1e-5, "{report}");
        // Merged, table and head are two.
        assert!(merged.lm_head.is_some());
        if base == "l_llama" {
            assert_logits(
                &merged,
                &values(&format!("{name}.merged")),
                "merged by peft",
            );
        }
        let base_logits = values(&format!("{base}.logits"));
        let resting = lm.clone().with_active_adapters(&[]).unwrap();
        assert_logits(&resting, &base_logits, "not active");
        assert_logits(
            &lm.clone().delete_adapter("default").unwrap(),
            &base_logits,
            "deleted",
        );
        assert_logits(&lm.into_base(), &base_logits, "removed");
    }
}

fn loss(report: &MergeReport) -> f64 {
    report.worst().map_or(0.0, |module| module.loss)
}

#[test]
fn tensors_have_the_names_of_peft_without_the_base() {
    let (config, lm) = adapted("l_llama", "ends");
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &lm, "default", &config).unwrap();
    let names = |folder: &std::path::Path| -> Vec<String> {
        let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
        let file = SafeTensors::deserialize(&bytes).unwrap();
        let names = file
            .names()
            .into_iter()
            .filter(|name| !name.contains("base_layer"));
        let mut names: Vec<String> = names.map(ToString::to_string).collect();
        names.sort();
        names
    };
    let of_peft = names(&data_path("l_adapter_ends"));
    assert_eq!(of_peft.len(), 8);
    assert_eq!(names(folder.path()), of_peft);
}

#[test]
fn ends_are_targets_by_name_alone_and_start_without_a_change() {
    let targets = |targets: TargetModules| {
        let config = LoraConfig::new(2).with_targets(targets).with_dropout(0.5);
        model("l_llama").with_adapter("default", config).unwrap()
    };
    let (_, report) = targets(TargetModules::AllLinear);
    assert_eq!(report.modules.len(), 14);
    for choice in [
        TargetModules::names(["embed_tokens", "lm_head"]),
        TargetModules::Pattern(r"lm_head|.*\.embed_tokens".to_string()),
    ] {
        let (lm, report) = targets(choice);
        let names: Vec<&str> = report.modules.iter().map(|m| m.name.as_str()).collect();
        assert_eq!(names, ["model.embed_tokens", "lm_head"]);
        assert_eq!(report.unmatched, [""; 0]);
        assert_equal(&logits(&lm), &logits(&model("l_llama")), "untrained");
    }
    let mut config = LoraConfig::new(2).with_targets(TargetModules::names(["lm_head"]));
    config.modules_to_save = vec!["lm_head".to_string()];
    let error = model("l_llama")
        .with_adapter("default", config)
        .unwrap_err();
    assert!(error.to_string().starts_with("target_modules"), "{error}");
}

#[test]
fn weighted_sums_and_several_adapters_of_the_ends() {
    let (_, lm) = adapted("l_llama", "ends");
    let config = LoraConfig::new(3).with_targets(TargetModules::names(["lm_head", "embed_tokens"]));
    let (lm, _) = lm.add_adapter("other", &config).unwrap();
    assert_logits(
        &lm,
        &values("l_llama.logits"),
        "the first rests, the second is untrained",
    );
    let both = lm
        .clone()
        .with_active_adapters(&["default", "other"])
        .unwrap();
    assert_logits(&both, &values("ends.logits"), "both");
    let weights = [("default", 1.0), ("other", -2.0)];
    let sum = lm.with_weighted_adapter("sum", &weights, Combination::Cat);
    let (lm, config) = sum.unwrap();
    assert_logits(&lm, &values("ends.logits"), "the sum with an untrained one");
    let again = saved_and_loaded(&lm, "sum", &config.into(), model("l_llama"));
    assert_logits(&again, &logits(&lm), "saved and loaded");
}

#[test]
fn what_the_ends_do_not_have_is_refused_by_name() {
    let error = |config: LoraConfig| {
        let config = config.with_targets(TargetModules::names(["lm_head"]));
        let adapted = model("l_llama").with_adapter("default", config);
        adapted.unwrap_err().to_string()
    };
    let dora = error(LoraConfig::new(2).with_dora());
    assert_eq!(dora, "lm_head: DoRA of it is not supported");
    let pissa = error(LoraConfig::new(2).with_init(LoraInit::Pissa));
    assert_eq!(pissa, "lm_head: init pissa of it is not supported");
}

#[test]
fn a_folder_of_a_model_does_not_lose_an_adapter_silently() {
    let (_, lm) = adapted("l_llama", "ends");
    let options = LoadOptions::new();
    let mut of_file = hf::load(data_path("l_llama"), &options, &Device::default()).unwrap();
    // The projections are those of the base, but table and head have their adapters.
    of_file.lm = CausalLm::Full(lm.map_projections(|_, linear| linear.base));
    let folder = tempfile::tempdir().unwrap();
    let options = SaveOptions::new(WeightForm::Float(FloatDType::F32));
    let error = hf::save(folder.path().join("new"), &of_file, &options).unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("model.embed_products.products.0.a"),
        "{error}"
    );
}
