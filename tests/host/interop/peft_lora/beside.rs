//! Biases and whole modules that train beside adapters.

use std::collections::BTreeSet;

use bitnet_burn::{
    interop::peft::{load, save},
    nn::{BitLinear, BitNetLm, BitNetLmConfig},
    peft::{LoraConfig, TargetModules},
};
use burn::{module::Module, tensor::Device};

use super::*;

#[test]
fn biases_and_modules_of_peft_have_its_logits_and_are_read_back() {
    for (base, name) in [
        ("l_llama", "bias_all"),
        ("l_llama", "bias_lora_only"),
        ("l_tied", "tied_head"),
        ("l_tied", "tied_embedding"),
    ] {
        assert_logits(&model(base), &values(&format!("{base}.logits")), base);
        let (config, lm) = adapted(base, name);
        assert_logits(&lm, &values(&format!("{name}.logits")), name);
        let again = saved_and_loaded(&lm, "default", &config, model(base));
        assert_equal(&logits(&again), &logits(&lm), "saved and loaded");
        if base == "l_llama" {
            let (merged, _) = lm.merge(None);
            assert_logits(&merged, &values(&format!("{name}.merged")), "merged");
        }
    }
}

fn names_of_tensors(folder: &std::path::Path) -> BTreeSet<String> {
    let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    file.names().into_iter().map(ToString::to_string).collect()
}

#[test]
fn tensors_have_the_names_that_peft_gives_them() {
    for name in ["bias_all", "bias_lora_only"] {
        let (config, lm) = adapted("l_llama", name);
        let folder = tempfile::tempdir().unwrap();
        save(folder.path(), &lm, "default", &config).unwrap();
        let of_peft = names_of_tensors(&data_path(&format!("l_adapter_{name}")));
        assert_eq!(names_of_tensors(folder.path()), of_peft);
        assert_eq!(load(folder.path()).unwrap().config, config);
    }
}

#[test]
fn a_tied_model_gets_a_head_of_its_own_for_whole_modules_alone() {
    let (_, lm) = adapted("l_tied", "tied_embedding");
    let head = lm.lm_head.as_ref().expect("an own head");
    let table = floats(model("l_tied").model.embed_tokens.weight.val());
    assert_equal(
        &floats(head.weight.val().transpose()),
        &table,
        "the old table",
    );
    assert!(!head.weight.is_require_grad());
    let (lm, _) = model("l_tied")
        .with_adapter("default", LoraConfig::new(2))
        .unwrap();
    assert!(lm.lm_head.is_none());
}

#[test]
fn modules_of_quantized_layers_are_written_as_latent_weights_or_refused() {
    let config = BitNetLmConfig::new(24, 16, 1, 2, 20);
    let draw = |seed| -> BitNetLm<BitLinear> {
        config
            .init(&Device::default())
            .map(&mut Drawn::new(seed, 0.2))
    };
    let mut lora = LoraConfig::new(2).with_targets(TargetModules::names(["q_proj"]));
    lora.modules_to_save = vec!["mlp".to_string()];
    let (lm, _) = draw(1).with_adapter("default", &lora).unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &lm, "default", &lora).unwrap();
    let latent = "base_model.model.model.layers.0.mlp.up_proj.weight";
    assert!(names_of_tensors(folder.path()).contains(latent));
    let again = load(folder.path()).unwrap().attach(draw(2), "default");
    let up = |lm: &BitNetLm<_>| -> Vec<f32> {
        let projections: Vec<(String, &AdaptedLinear<BitLinear>)> = lm.projections().collect();
        let found = projections
            .iter()
            .find(|(name, _)| name.ends_with("up_proj"));
        floats(found.unwrap().1.base.weight.val())
    };
    assert_equal(&up(&again.unwrap()), &up(&lm), "latent weights");

    let error = draw(1).pack().with_adapter("default", &lora).unwrap_err();
    assert_eq!(
        error.to_string(),
        "modules_to_save: the weight of model.layers.0.mlp.gate_proj is packed here and does not train"
    );
}

#[test]
fn a_shared_adapter_of_table_and_head_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    for (modules, expected) in [("lm_head", true), ("norm", false)] {
        let json = format!(
            r#"{{"peft_type": "LORA", "target_modules": ["q_proj"], "modules_to_save": ["{modules}"],
            "ensure_weight_tying": true}}"#
        );
        fs::write(folder.path().join("adapter_config.json"), json).unwrap();
        let error = load(folder.path()).unwrap_err().to_string();
        assert_eq!(
            error.contains("ensure_weight_tying is true"),
            expected,
            "{error}"
        );
    }
}
