//! Projections of quantized models that stay in full precision, and models that are not quantized.

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{Family, LoadOptions, SaveOptions, load, save},
    },
    nn::ProjectionBias,
    qat::QuantControls,
};
use burn::tensor::Device;
use serde_json::{Value, json};

use super::models::*;
use crate::support::values::*;

#[test]
fn projections_in_full_precision_stay_so_in_every_form() {
    const KEPT: [&str; 2] = [
        "model.layers.0.mlp.down_proj",
        "model.layers.1.self_attn.o_proj",
    ];
    let config = base()
        .with_sub_norm(true)
        .with_bias(ProjectionBias::ATTENTION);
    let lm = qat(&config);
    for (path, projection) in lm.projections() {
        if KEPT.contains(&path.as_str()) {
            QuantControls::of(projection).set_excluded(true);
            assert!(projection.is_full_precision() && !projection.is_b1_58());
        }
    }
    let latent = model(&config, CausalLm::Qat(lm.clone()));
    let packed = model(&config, CausalLm::Packed(lm.pack()));
    assert_ne!(
        logits(&latent),
        logits(&model(&config, CausalLm::Qat(qat(&config))))
    );
    assert_equal(&logits(&packed), &logits(&latent), "packed");
    for (model, form, expected) in [
        (&latent, F32, &latent),
        (&latent, MULTIPLY, &packed),
        (&packed, DIVIDE, &packed),
    ] {
        let (folder, loaded) = again(model, SaveOptions::new(form));
        assert_same(&loaded, expected, &format!("{form:?}"));
        let json = json_of(folder.path(), "config.json");
        let kept = &json["quantization_config"]["modules_to_not_convert"];
        assert_eq!(*kept, json!(["lm_head", KEPT[0], KEPT[1]]));
        // Again, from the loaded model.
        let (_folder, loaded) = again(&loaded, SaveOptions::new(form));
        assert_same(&loaded, expected, "twice");
    }
    let folder = tempfile::tempdir().unwrap();
    let options = SaveOptions::new(F32).with_family(Some(Family::OneBitLlm));
    let plain = model(
        &base().with_sub_norm(true),
        CausalLm::Qat(qat(&base().with_sub_norm(true))),
    );
    let CausalLm::Qat(lm) = &plain.lm else {
        unreachable!()
    };
    let (_, first) = lm.projections().next().unwrap();
    QuantControls::of(first).set_excluded(true);
    let error = save(folder.path().join("new"), &plain, &options).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("model.layers.0.self_attn.q_proj"),
        "{error}"
    );
}

#[test]
fn a_list_without_the_head_is_refused() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Qat(qat(&config))),
        SaveOptions::new(F32),
    );
    let with_list = |list: Value| {
        edit(folder.path(), "config.json", |json| {
            json["quantization_config"]["modules_to_not_convert"] = list;
        });
        load(folder.path(), &LoadOptions::new(), &Device::default()).map_err(|e| e.to_string())
    };
    assert!(
        with_list(json!(["down_proj"]))
            .unwrap_err()
            .contains("a list with lm_head")
    );
    assert!(
        with_list(json!(["lm_head", "("]))
            .unwrap_err()
            .contains("modules_to_not_convert is (")
    );
    assert!(with_list(json!(null)).is_ok());
    let loaded = with_list(json!(["lm_head", r"model\.layers\.\d+\.mlp"])).unwrap();
    let CausalLm::Qat(lm) = &loaded.lm else {
        unreachable!()
    };
    let kept = lm
        .projections()
        .filter(|(_, p)| p.is_full_precision())
        .count();
    assert_eq!(kept, 6);
}

#[test]
fn floats_with_a_config_of_offline_quantization_are_refused() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Qat(qat(&config))),
        SaveOptions::new(F32),
    );
    for mode in [json!("offline"), json!(null)] {
        edit(folder.path(), "config.json", |json| {
            json["quantization_config"]["quantization_mode"] = mode;
        });
        let error = load_error(folder.path()).to_string();
        assert!(
            error.contains("quantization_config.quantization_mode is"),
            "{error}"
        );
    }
}
