//! Folders of Hugging Face: written by transformers, and written by this crate and read back.

use std::{fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        hf::{Family, LoadOptions, SaveOptions, WeightForm, load, save},
    },
    nn::{BitNetLm, RopeScaling},
    quant::QatScheme,
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::Linear,
    tensor::{DType, Device, FloatDType, Tensor},
};

use super::models::*;
use crate::support::{
    oracle::{Oracle, data_path},
    values::*,
};

#[test]
fn folders_that_transformers_wrote_have_its_logits() {
    let device = Device::default();
    let cases = [
        ("i_tiny_bitnet", "i_bitnet_lm_io", "robust_1x8"),
        (
            "i_tiny_bitnet_packed",
            "i_bitnet_packed_io",
            "offline_robust_1x8",
        ),
    ];
    let oracle = Oracle::open("i_bitnet_lm_io");
    let tokens = oracle.case("robust_1x8").tokens("input_ids", &device);
    for (folder, file, case) in cases {
        let model = load(data_path(folder), &LoadOptions::new(), &device).unwrap();
        assert_eq!(model.eos_token_ids, [2]);
        let logits = floats(model.lm.forward(tokens.clone()));
        let expected = Oracle::open(file).case(case).floats("logits");
        // As in `oracle_lm`: no activation is near a tie.
        assert_within(&logits, &expected, |_| 1e-4, folder);
    }
}

#[test]
fn a_folder_of_our_own_has_the_same_logits_bit_for_bit() {
    for (sub_norm, tied) in [(true, true), (false, false)] {
        let model = trained(config(sub_norm, tied));
        let packed = packed(&model);
        let (trained, deployed) = (logits(&model), logits(&packed));
        for (model, form) in [
            (&model, F32),
            (&model, MULTIPLY),
            (&model, DIVIDE),
            (&packed, MULTIPLY),
            (&packed, DIVIDE),
        ] {
            let (_folder, loaded) = again(model, SaveOptions::new(form));
            assert_eq!(matches!(loaded.lm, CausalLm::Qat(_)), form == F32);
            let expected = if form == F32 { &trained } else { &deployed };
            assert_equal(&logits(&loaded), expected, &format!("{form:?}"));
        }
    }
}

#[test]
fn full_precision_and_every_choice_of_the_configuration_come_back() {
    let device = Device::default();
    let config = config(false, false)
        .with_rope_theta(1234.5)
        .with_rms_norm_epsilon(3e-6)
        .with_rope_scaling(Some(RopeScaling::Llama3 {
            factor: 4.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8,
        }));
    let lm: BitNetLm<Linear> = config.init(&device);
    let mut model = PretrainedLm::new(config, CausalLm::Full(lm));
    model.bos_token_id = Some(3);
    model.eos_token_ids = vec![4, 5];
    let (_folder, loaded) = again(&model, SaveOptions::new(F32));
    assert_equal(&logits(&loaded), &logits(&model), "logits");
    assert!(matches!(loaded.lm, CausalLm::Full(_)));
    assert_eq!(loaded.config.to_string(), model.config.to_string());
    assert_eq!(loaded.bos_token_id, Some(3));
    assert_eq!(loaded.eos_token_ids, [4, 5]);
}

#[test]
fn names_of_1bitllm_are_read_and_written() {
    let model = trained(config(true, true));
    let options = SaveOptions::new(F32).with_family(Some(Family::OneBitLlm));
    let (folder, loaded) = again(&model, options);
    let file = fs::read(folder.path().join("model.safetensors")).unwrap();
    let file = safetensors::SafeTensors::deserialize(&file).unwrap();
    assert!(
        file.tensor("model.layers.1.self_attn.inner_attn_ln.weight")
            .is_ok()
    );
    assert!(
        file.tensor("model.layers.1.mlp.ffn_layernorm.weight")
            .is_ok()
    );
    assert!(matches!(loaded.lm, CausalLm::Qat(_)));
    assert_equal(&logits(&loaded), &logits(&model), "logits");
}

#[test]
fn several_files_are_one_model_and_a_smaller_one_leaves_none_behind() {
    let device = Device::default();
    let model = trained(config(true, true));
    let (folder, loaded) = again(&model, SaveOptions::new(F32).with_max_shard_bytes(20_000));
    let files = |folder: &Path| {
        let entries = fs::read_dir(folder).unwrap();
        let mut names: Vec<String> = entries
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    };
    assert!(files(folder.path()).len() > 4, "{:?}", files(folder.path()));
    assert!(files(folder.path()).contains(&"model.safetensors.index.json".to_string()));
    assert_equal(&logits(&loaded), &logits(&model), "logits");

    let options = SaveOptions::new(F32);
    let error = save(folder.path(), &model, &options).unwrap_err();
    assert!(
        error.to_string().contains("exists and is not empty"),
        "{error}"
    );
    save(folder.path(), &model, &options.with_overwrite(true)).unwrap();
    assert_eq!(files(folder.path()), ["config.json", "model.safetensors"]);
    let loaded = load(folder.path(), &LoadOptions::new(), &device).unwrap();
    assert_equal(&logits(&loaded), &logits(&model), "overwritten");
}

#[test]
fn packed_models_in_several_files_are_equal_bit_for_bit() {
    let mut config = config(true, true);
    config.n_layers = 4;
    let model = trained(config);
    let CausalLm::Qat(lm) = &model.lm else {
        unreachable!("latent weights");
    };
    let deployed = lm.pack();
    let scales = deployed
        .projections()
        .map(|(_, p)| p.weight.scale().unwrap());
    let inexact = scales.filter(|gamma| 1.0 / (1.0 / gamma) != *gamma).count();
    assert!(
        inexact > 1,
        "{inexact} scales whose reciprocal is not exact"
    );
    let (folder, loaded) = again(&model, SaveOptions::new(DIVIDE).with_max_shard_bytes(4_000));
    assert!(folder.path().join("model.safetensors.index.json").exists());
    let deployed = logits(&packed(&model));
    assert_equal(&logits(&loaded), &deployed, "logits");
}

/// Types of all float parameters, except those set by schedules.
#[derive(Default)]
struct Types(Vec<DType>);

impl ModuleVisitor for Types {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if D > 1 || param.shape().num_elements() > 8 {
            self.0.push(param.val().dtype());
        }
    }
}

#[test]
fn the_type_of_the_file_is_kept_or_converted() {
    let device = Device::default();
    let model = trained(config(true, true));
    let folder = tempfile::tempdir().unwrap();
    let form = WeightForm::Float(FloatDType::BF16);
    save(folder.path(), &model, &SaveOptions::new(form)).unwrap();
    let kept = match device.supports_dtype(DType::BF16) {
        true => DType::BF16,
        false => DType::F32,
    };
    let asked = LoadOptions::new().with_dtype(Some(FloatDType::BF16));
    let asked = load(folder.path(), &asked, &device);
    assert_eq!(asked.is_ok(), kept == DType::BF16);
    for (dtype, expected) in [(None, kept), (Some(FloatDType::F32), DType::F32)] {
        let options = LoadOptions::new().with_dtype(dtype);
        let loaded = load(folder.path(), &options, &device).unwrap();
        let CausalLm::Qat(lm) = &loaded.lm else {
            panic!("{}", loaded.lm.form())
        };
        let mut types = Types::default();
        lm.visit(&mut types);
        assert!(types.0.len() > 20 && types.0.iter().all(|dtype| *dtype == expected));
        // Both compute; bf16 has 8 bits, which changes some codes.
        assert!(logits(&loaded).iter().all(|logit| logit.is_finite()));
    }
}

#[test]
fn a_llama_becomes_a_bitnet_with_norms_before_the_last_projections() {
    let device = Device::default();
    let config = config(false, true);
    let lm: BitNetLm<Linear> = config.init(&device);
    let lm = lm.insert_sub_norms(config.rms_norm_epsilon);
    let config = config.with_sub_norm(true);
    let model = PretrainedLm::new(config, CausalLm::Full(lm));
    let (_folder, loaded) = again(&model, SaveOptions::new(F32));
    assert_equal(&logits(&loaded), &logits(&model), "logits");
    let lm = loaded.into_qat(&QatScheme::b1_58()).unwrap();
    assert!(
        lm.projections()
            .all(|(_, projection)| projection.is_b1_58())
    );
    assert!(lm.model.layers[0].mlp.ffn_sub_norm.is_some());
}
