//! Models of every family, saved to folders and loaded, in every form.

use std::{fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        hf::{
            Family, HfError, LoadOptions, SaveOptions, ScaleConvention, TensorProblem, WeightForm,
            load, save,
        },
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, ProjectionBias, QkNorm, RopeScaling},
    qat::QuantControls,
};
use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{Device, FloatDType, Int, Tensor},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::values::*;

const F32: WeightForm = WeightForm::Float(FloatDType::F32);
const MULTIPLY: WeightForm = WeightForm::Packed(ScaleConvention::Multiply);
const DIVIDE: WeightForm = WeightForm::Packed(ScaleConvention::Divide);

fn base() -> BitNetLmConfig {
    BitNetLmConfig::new(32, 32, 2, 4, 48)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16)
        .with_activation(GatedActivation::Silu)
        .with_sub_norm(false)
        .with_tied_embeddings(false)
}

fn scalings() -> Vec<Option<RopeScaling>> {
    let yarn = |attention_factor, truncate| RopeScaling::Yarn {
        factor: 2.5,
        original_max_positions: 8,
        beta_fast: 4.0,
        beta_slow: 0.5,
        truncate,
        attention_factor,
        mscale: Some(0.7),
        mscale_all_dim: attention_factor,
    };
    vec![
        None,
        Some(RopeScaling::Linear { factor: 3.7 }),
        Some(RopeScaling::Llama3 {
            factor: 4.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8,
        }),
        Some(yarn(None, true)),
        Some(yarn(Some(1.3), false)),
        Some(RopeScaling::Longrope {
            short_factor: vec![1.0, 1.1, 1.3, 2.0],
            long_factor: vec![2.0, 3.0, 4.0, 5.0],
            original_max_positions: 16,
            attention_factor: 1.19,
        }),
    ]
}

/// A model of each family with all its options, and each position scaling once.
fn configs() -> Vec<(Family, BitNetLmConfig)> {
    let whole = ProjectionBias::new(true, true, true);
    let families = [
        (Family::BitNet, base().with_sub_norm(true)),
        (
            Family::BitNet,
            base()
                .with_sub_norm(true)
                .with_tied_embeddings(true)
                .with_bias(ProjectionBias::ATTENTION),
        ),
        (Family::Llama, base().with_tied_embeddings(true)),
        (Family::Llama, base().with_bias(whole).with_d_head(Some(12))),
        (Family::Mistral, base().with_d_head(Some(16))),
        (Family::Qwen2, base().with_bias(ProjectionBias::QKV)),
        (Family::Qwen3, base().with_qk_norm(QkNorm::PerHead)),
        (
            Family::Qwen3,
            base()
                .with_qk_norm(QkNorm::PerHead)
                .with_bias(ProjectionBias::ATTENTION)
                .with_d_head(Some(12)),
        ),
    ];
    let scaled = scalings()
        .into_iter()
        .map(|scaling| (Family::Llama, base().with_rope_scaling(scaling)));
    families.into_iter().chain(scaled).collect()
}

fn full(config: &BitNetLmConfig) -> BitNetLm<Linear> {
    let lm: BitNetLm<Linear> = config.init(&Device::default());
    lm.map(&mut Drawn::new(5, 0.3))
}

fn model(config: &BitNetLmConfig, lm: CausalLm) -> PretrainedLm {
    let mut model = PretrainedLm::new(config.clone(), lm);
    model.bos_token_id = Some(3);
    model.eos_token_ids = vec![4, 5];
    model.pad_token_id = Some(6);
    model
}

fn qat(config: &BitNetLmConfig) -> BitNetLm {
    full(config).into_bitnet(&config.scheme)
}

fn logits(model: &PretrainedLm) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], &Device::default());
    floats(model.lm.forward(tokens))
}

fn again(model: &PretrainedLm, options: SaveOptions) -> (TempDir, PretrainedLm) {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), model, &options).unwrap();
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default()).unwrap();
    (folder, loaded)
}

fn json_of(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

fn edit(folder: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let mut json = json_of(folder, name);
    change(&mut json);
    fs::write(folder.join(name), json.to_string()).unwrap();
}

fn load_error(folder: &Path) -> HfError {
    load(folder, &LoadOptions::new(), &Device::default()).unwrap_err()
}

fn assert_same(loaded: &PretrainedLm, model: &PretrainedLm, what: &str) {
    assert_equal(&logits(loaded), &logits(model), what);
    assert_eq!(
        loaded.config.to_string(),
        model.config.to_string(),
        "{what}"
    );
    assert_eq!(loaded.lm.form(), model.lm.form(), "{what}");
    assert_eq!(loaded.bos_token_id, Some(3), "{what}");
    assert_eq!(loaded.eos_token_ids, [4, 5], "{what}");
    assert_eq!(loaded.pad_token_id, Some(6), "{what}");
    assert_eq!(loaded.unknown_keys, [], "{what}");
}

#[test]
fn every_family_comes_back_in_every_form() {
    for (family, config) in configs() {
        let named = |form| SaveOptions::new(form).with_family(Some(family));
        let what = |form| format!("{family:?} {form:?} {config}");
        let float = model(&config, CausalLm::Full(full(&config)));
        let (folder, loaded) = again(&float, named(F32));
        assert_same(&loaded, &float, &what(F32));
        let json = json_of(folder.path(), "config.json");
        assert_eq!(json["architectures"], json!([family.architecture()]));
        assert_eq!(json["head_dim"], config.head_size());

        let latent = model(&config, CausalLm::Qat(qat(&config)));
        assert_same(&again(&latent, named(F32)).1, &latent, &what(F32));
        let packed = model(&config, CausalLm::Packed(qat(&config).pack()));
        for form in [MULTIPLY, DIVIDE] {
            assert_same(&again(&latent, named(form)).1, &packed, &what(form));
            assert_same(&again(&packed, named(form)).1, &packed, &what(form));
        }
    }
}

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

#[test]
fn a_head_in_the_file_wins_over_the_configuration() {
    let config = base();
    let own = model(&config, CausalLm::Full(full(&config)));
    let (folder, _) = again(&own, SaveOptions::new(F32));
    edit(folder.path(), "config.json", |json| {
        json["tie_word_embeddings"] = json!(true)
    });
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default()).unwrap();
    assert_same(&loaded, &own, "another head");

    // A head equal to the embedding table.
    let mut lm = full(&config);
    let table = lm.model.embed_tokens.weight.val();
    lm.lm_head.as_mut().unwrap().weight = Param::from_tensor(table.transpose());
    let (folder, _) = again(&model(&config, CausalLm::Full(lm)), SaveOptions::new(F32));
    edit(folder.path(), "config.json", |json| {
        json["tie_word_embeddings"] = json!(true)
    });
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default()).unwrap();
    assert!(loaded.config.tied_embeddings);
    let tied = base().with_tied_embeddings(true);
    let expected = model(&tied, CausalLm::Full(full(&tied)));
    assert_same(&loaded, &expected, "the same head");
}

/// Returns the model with one value of `up_proj` of the last layer changed.
fn with_value(lm: BitNetLm<Linear>, value: f32) -> BitNetLm<Linear> {
    lm.map_projections(|path, mut linear| {
        if path == "model.layers.1.mlp.up_proj" {
            let weight = linear.weight.val();
            let mut values = floats(weight.clone());
            values[7] = value;
            let shape = weight.dims();
            let dtype = burn::tensor::DType::F32;
            let weight = tensor(&values, shape, dtype, &Device::default());
            linear.weight = Param::from_tensor(weight);
        }
        linear
    })
}

#[test]
fn weights_that_are_no_numbers_are_not_written() {
    let config = base();
    let folder = tempfile::tempdir().unwrap();
    let new = folder.path().join("new");
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let lm = with_value(full(&config), value);
        let latent = lm.clone().into_bitnet(&config.scheme);
        for (lm, form) in [
            (CausalLm::Full(lm), F32),
            (CausalLm::Qat(latent.clone()), F32),
            (CausalLm::Qat(latent.clone()), MULTIPLY),
            (CausalLm::Qat(latent), DIVIDE),
        ] {
            let error = save(&new, &model(&config, lm), &SaveOptions::new(form)).unwrap_err();
            let error = error.to_string();
            assert!(
                error.contains("model.layers.1.mlp.up_proj.weight: value "),
                "{error}"
            );
            assert!(!new.exists());
        }
    }
    let large = model(&config, CausalLm::Full(with_value(full(&config), 1e6)));
    let half = SaveOptions::new(WeightForm::Float(FloatDType::F16));
    let error = save(&new, &large, &half).unwrap_err().to_string();
    assert!(
        error.contains("up_proj.weight: value ") && error.contains("F16"),
        "{error}"
    );
    assert_same(&again(&large, SaveOptions::new(F32)).1, &large, "F32");
}

#[test]
fn weights_that_are_no_numbers_are_not_read() {
    let config = base();
    for form in [
        F32,
        WeightForm::Float(FloatDType::BF16),
        WeightForm::Float(FloatDType::F16),
    ] {
        let (folder, _) = again(
            &model(&config, CausalLm::Full(full(&config))),
            SaveOptions::new(form),
        );
        let path = folder.path().join("model.safetensors");
        let mut file = fs::read(&path).unwrap();
        let (length, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
        let name = "model.layers.1.mlp.up_proj.weight";
        let start = 8 + length + header.info(name).unwrap().data_offsets.0;
        // All bits of the exponent of every type.
        file[start..start + 4].copy_from_slice(&[0, 0x7f, 0xff, 0x7f]);
        file[start + 2..start + 4].copy_from_slice(&[0x80, 0x7f]);
        fs::write(&path, file).unwrap();
        let error = load_error(folder.path());
        assert!(error.to_string().contains(name), "{error}");
        let HfError::Tensors { problems, .. } = error else {
            panic!("{error}")
        };
        assert!(matches!(&problems[..], [TensorProblem::Value { name: of, .. }] if of == name));
    }
}

#[test]
fn names_of_other_programs_are_refused_in_a_line() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Full(full(&config))),
        SaveOptions::new(F32),
    );
    let path = folder.path().join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let length = u64::from_le_bytes(file[..8].try_into().unwrap()) as usize;
    let header = String::from_utf8(file[8..8 + length].to_vec()).unwrap();
    for (prefix, found) in [
        ("\"", "found embed_tokens.weight"),
        ("\"transformer.", "found lm_head"),
    ] {
        let header = header.replace("\"model.", prefix);
        let bytes = [
            &(header.len() as u64).to_le_bytes()[..],
            header.as_bytes(),
            &file[8 + length..],
        ];
        fs::write(&path, bytes.concat()).unwrap();
        let error = load_error(folder.path()).to_string();
        assert!(
            error.contains("no tensor has a name of this architecture"),
            "{error}"
        );
        assert!(
            error.contains(found) && error.lines().count() == 1,
            "{error}"
        );
    }
}

#[test]
fn an_error_of_many_tensors_is_one_line() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Full(full(&config))),
        SaveOptions::new(F32),
    );
    edit(folder.path(), "config.json", |json| {
        json["attention_bias"] = json!(true)
    });
    let error = load_error(folder.path());
    let text = error.to_string();
    assert!(
        text.ends_with("; and 5 more") && text.lines().count() == 1,
        "{text}"
    );
    assert!(
        text.contains("8 tensors are not as the configuration says"),
        "{text}"
    );
    let HfError::Tensors { problems, .. } = error else {
        panic!("{text}")
    };
    assert_eq!(problems.len(), 8);
}

#[test]
fn a_head_of_a_size_without_weights_is_refused_before_it_takes_memory() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Full(full(&config))),
        SaveOptions::new(F32),
    );
    edit(folder.path(), "config.json", |json| {
        json["head_dim"] = json!(1_u64 << 40);
    });
    let error = load_error(folder.path()).to_string();
    assert!(error.contains("whose table takes"), "{error}");
}

#[test]
fn windows_and_long_positions_are_loaded_as_far_as_they_are_the_same() {
    let config = base();
    let (folder, _) = again(
        &model(&config, CausalLm::Full(full(&config))),
        SaveOptions::new(F32).with_family(Some(Family::Mistral)),
    );
    let expected = json_of(folder.path(), "config.json");
    assert_eq!(expected["sliding_window"], Value::Null);
    edit(folder.path(), "config.json", |json| {
        json["sliding_window"] = json!(12)
    });
    let error = load_error(folder.path()).to_string();
    assert!(error.contains("sliding_window is 12"), "{error}");
    let options = LoadOptions::new().with_max_positions(Some(12));
    load(folder.path(), &options, &Device::default()).unwrap();

    edit(folder.path(), "config.json", |json| {
        json["sliding_window"] = json!(16);
        json["rope_scaling"] = json!({"rope_type": "longrope", "short_factor": [1, 1, 1, 1],
            "long_factor": [2, 2, 2, 2], "original_max_position_embeddings": 8});
    });
    let error = load_error(folder.path()).to_string();
    assert!(
        error.contains("original_max_positions, 8, got 16"),
        "{error}"
    );
    let options = LoadOptions::new().with_max_positions(Some(8));
    let loaded = load(folder.path(), &options, &Device::default()).unwrap();
    // The factor is that of the positions of the file.
    let factor = (1.0 + 2f64.ln() / 8f64.ln()).sqrt();
    let scaling = loaded.config.rope_scaling.as_ref().unwrap();
    assert_eq!(scaling.attention_factor(), factor);
    let (_folder, once_more) = again(&loaded, SaveOptions::new(F32));
    assert_equal(&logits(&once_more), &logits(&loaded), "longrope");
}

#[test]
fn tokens_and_templates_beside_the_model_are_carried_along() {
    let config = base();
    let beside = tempfile::tempdir().unwrap();
    let files = [
        "special_tokens_map.json",
        "chat_template.jinja",
        "tokenizer_config.json",
    ];
    for name in files {
        fs::write(beside.path().join(name), name).unwrap();
    }
    let generation = json!({"eos_token_id": [5, 7, 4], "pad_token_id": 9});
    fs::write(
        beside.path().join("generation_config.json"),
        generation.to_string(),
    )
    .unwrap();
    let templates = beside.path().join("additional_chat_templates");
    fs::create_dir(&templates).unwrap();
    fs::write(templates.join("rag.jinja"), "rag").unwrap();

    let mut model = model(&config, CausalLm::Full(full(&config)));
    model.pad_token_id = None;
    let options = SaveOptions::new(F32).with_tokenizer(Some(beside.path().to_path_buf()));
    let (folder, loaded) = again(&model, options.clone());
    for name in files {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
    }
    let template = folder.path().join("additional_chat_templates/rag.jinja");
    assert_eq!(fs::read_to_string(template).unwrap(), "rag");
    assert_eq!(json_of(folder.path(), "generation_config.json"), generation);
    assert_eq!(loaded.eos_token_ids, [4, 5, 7]);
    assert_eq!(loaded.pad_token_id, Some(9));
    // Again into the same folder.
    save(folder.path(), &loaded, &options.with_overwrite(true)).unwrap();
    assert_eq!(
        json_of(folder.path(), "config.json")["eos_token_id"],
        json!([4, 5, 7])
    );
}
