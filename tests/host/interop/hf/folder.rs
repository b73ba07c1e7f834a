//! Folders of Hugging Face: written by transformers, and written by this crate and read back.

use std::{fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm, gguf,
        hf::{
            Family, HfError, LoadOptions, SaveOptions, ScaleConvention, TensorProblem, WeightForm,
            load, save,
        },
    },
    nn::{BitLinear, BitNetLm, BitNetLmConfig, GatedActivation, RopeScaling},
    qat::convert,
    quant::{QatScheme, TernaryConfig, WeightGranularity},
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::Linear,
    tensor::{DType, Device, FloatDType, Int, Tensor},
};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::support::{
    oracle::{Oracle, data_path},
    values::*,
};

const F32: WeightForm = WeightForm::Float(FloatDType::F32);
const MULTIPLY: WeightForm = WeightForm::Packed(ScaleConvention::Multiply);
const DIVIDE: WeightForm = WeightForm::Packed(ScaleConvention::Divide);

fn tokens(device: &Device) -> Tensor<2, Int> {
    Tensor::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], device)
}

fn config(sub_norm: bool, tied_embeddings: bool) -> BitNetLmConfig {
    BitNetLmConfig::new(32, 32, 2, 4, 48)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16)
        .with_sub_norm(sub_norm)
        .with_tied_embeddings(tied_embeddings)
        .with_activation(GatedActivation::Silu)
}

fn qat(config: BitNetLmConfig, device: &Device) -> PretrainedLm {
    // Scales of about 0.12: only a mantissa over the root of 2 may have a reciprocal that is not exact.
    let lm: BitNetLm = config.init(device).map(&mut Drawn::new(700, 0.15));
    PretrainedLm::new(config, CausalLm::Qat(lm))
}

/// Returns the deployed model; on some devices its sums have another order than in training.
fn packed(model: &PretrainedLm) -> PretrainedLm {
    let CausalLm::Qat(lm) = &model.lm else {
        panic!("{}", model.lm.form())
    };
    PretrainedLm::new(model.config.clone(), CausalLm::Packed(lm.pack()))
}

fn logits(model: &PretrainedLm, device: &Device) -> Vec<f32> {
    floats(model.lm.forward(tokens(device)))
}

/// Writes a model into a new folder and reads it back.
fn again(model: &PretrainedLm, options: SaveOptions) -> (TempDir, PretrainedLm) {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), model, &options).unwrap();
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default()).unwrap();
    (folder, loaded)
}

fn problems(error: HfError) -> Vec<TensorProblem> {
    match error {
        HfError::Tensors { problems, .. } => problems,
        other => panic!("{other}"),
    }
}

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
    let device = Device::default();
    for (sub_norm, tied) in [(true, true), (false, false)] {
        let model = qat(config(sub_norm, tied), &device);
        let packed = packed(&model);
        let (trained, deployed) = (logits(&model, &device), logits(&packed, &device));
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
            assert_equal(&logits(&loaded, &device), expected, &format!("{form:?}"));
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
    assert_equal(
        &logits(&loaded, &device),
        &logits(&model, &device),
        "logits",
    );
    assert!(matches!(loaded.lm, CausalLm::Full(_)));
    assert_eq!(loaded.config.to_string(), model.config.to_string());
    assert_eq!(loaded.bos_token_id, Some(3));
    assert_eq!(loaded.eos_token_ids, [4, 5]);
}

#[test]
fn names_of_1bitllm_are_read_and_written() {
    let device = Device::default();
    let model = qat(config(true, true), &device);
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
    assert_equal(
        &logits(&loaded, &device),
        &logits(&model, &device),
        "logits",
    );
}

#[test]
fn several_files_are_one_model_and_a_smaller_one_leaves_none_behind() {
    let device = Device::default();
    let model = qat(config(true, true), &device);
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
    assert_equal(
        &logits(&loaded, &device),
        &logits(&model, &device),
        "logits",
    );

    let options = SaveOptions::new(F32);
    let error = save(folder.path(), &model, &options).unwrap_err();
    assert!(
        error.to_string().contains("exists and is not empty"),
        "{error}"
    );
    save(folder.path(), &model, &options.with_overwrite(true)).unwrap();
    assert_eq!(files(folder.path()), ["config.json", "model.safetensors"]);
    let loaded = load(folder.path(), &LoadOptions::new(), &device).unwrap();
    assert_equal(
        &logits(&loaded, &device),
        &logits(&model, &device),
        "overwritten",
    );
}

#[test]
fn packed_models_in_several_files_are_equal_bit_for_bit() {
    let device = Device::default();
    let mut config = config(true, true);
    config.n_layers = 4;
    let model = qat(config, &device);
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
    let deployed = logits(&packed(&model), &device);
    assert_equal(&logits(&loaded, &device), &deployed, "logits");
}

#[test]
fn parameters_that_the_configuration_does_not_have_are_not_lost() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let mut model = qat(config(true, true), &device);
    model.config.sub_norm = false;
    let error = save(folder.path().join("hf"), &model, &SaveOptions::new(F32)).unwrap_err();
    let message = "the model has model.layers.0.self_attn.attn_sub_norm.gamma, which its \
                   configuration does not have";
    assert!(error.to_string().contains(message), "{error}");
    let options = gguf::SaveOptions::new(gguf::GgmlType::I2_S);
    let error = gguf::save(folder.path().join("model.gguf"), &model, &options).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn weights_that_only_packed_codes_have_are_not_written_as_zeros() {
    let device = Device::default();
    let model = qat(config(true, true), &device);
    let CausalLm::Qat(lm) = &model.lm else {
        unreachable!("latent weights");
    };
    let deployed = convert(lm)
        .unwrap()
        .load_into(model.config.init(&device))
        .unwrap();
    let deployed = PretrainedLm::new(model.config.clone(), CausalLm::Qat(deployed));
    let folder = tempfile::tempdir().unwrap();
    let error = save(
        folder.path().join("float"),
        &deployed,
        &SaveOptions::new(F32),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the model has no model.layers.0"),
        "{error}"
    );
    // As codes they are there.
    let (_, loaded) = again(&deployed, SaveOptions::new(MULTIPLY));
    let deployed = logits(&packed(&model), &device);
    assert_equal(&logits(&loaded, &device), &deployed, "logits");
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
    let model = qat(config(true, true), &device);
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
        assert!(
            logits(&loaded, &device)
                .iter()
                .all(|logit| logit.is_finite())
        );
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
    assert_equal(
        &logits(&loaded, &device),
        &logits(&model, &device),
        "logits",
    );
    let lm = loaded.into_qat(&QatScheme::b1_58()).unwrap();
    assert!(
        lm.projections()
            .all(|(_, projection)| projection.is_b1_58())
    );
    assert!(lm.model.layers[0].mlp.ffn_sub_norm.is_some());
}

/// Changes a JSON file.
fn edit(folder: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let path = folder.join(name);
    let mut json: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    change(&mut json);
    fs::write(path, json.to_string()).unwrap();
}

#[test]
fn packed_weights_without_a_word_on_their_scale_are_refused() {
    let device = Device::default();
    let model = qat(config(false, true), &device);
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &model, &SaveOptions::new(DIVIDE)).unwrap();
    edit(folder.path(), "config.json", |json| {
        let quantization = json["quantization_config"].as_object_mut().unwrap();
        quantization.remove("linear_class");
    });
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("say it with LoadOptions::with_scale_convention")
    );
    let options = LoadOptions::new().with_scale_convention(Some(ScaleConvention::Divide));
    let loaded = load(folder.path(), &options, &device).unwrap();
    assert_equal(
        &logits(&loaded, &device),
        &logits(&packed(&model), &device),
        "logits",
    );
}

#[test]
fn everything_wrong_with_the_tensors_is_in_one_error() {
    let device = Device::default();
    let model = qat(config(true, true), &device);
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &model, &SaveOptions::new(F32)).unwrap();
    edit(folder.path(), "config.json", |json| {
        json["intermediate_size"] = json!(64);
        json["num_hidden_layers"] = json!(1);
        json["tie_word_embeddings"] = json!(false);
    });
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    let text = error.to_string();
    let problems = problems(error);
    assert!(problems.contains(&TensorProblem::Missing {
        name: "lm_head.weight".to_string(),
        shape: vec![32, 32],
    }));
    assert!(problems.contains(&TensorProblem::Shape {
        name: "model.layers.0.mlp.down_proj.weight".to_string(),
        expected: vec![32, 64],
        found: vec![32, 48],
    }));
    assert!(problems.contains(&TensorProblem::Unexpected {
        name: "model.layers.1.input_layernorm.weight".to_string(),
    }));
    // Three projections and a norm of the wrong size, a layer of 11 tensors too many, no head.
    assert_eq!(problems.len(), 4 + 11 + 1, "{text}");
    assert!(
        text.contains("16 tensors are not as the configuration says"),
        "{text}"
    );
}

#[test]
fn tensors_of_another_type_are_named() {
    let device = Device::default();
    let (folder, _) = again(&qat(config(true, true), &device), SaveOptions::new(F32));
    let path = folder.path().join("model.safetensors");
    let file = fs::read(&path).unwrap();
    let (length, header) = safetensors::SafeTensors::read_metadata(&file).unwrap();
    let norm = header.info("model.norm.weight").unwrap();
    // As many bytes, of integers.
    let mut header = String::from_utf8(file[8..8 + length].to_vec()).unwrap();
    let shape = format!("{:?}", norm.shape).replace(' ', "");
    let name = "\"model.norm.weight\":{\"dtype\":\"";
    header = header.replace(
        &format!("{name}F32\",\"shape\":{shape}"),
        &format!("{name}I32\",\"shape\":{shape}"),
    );
    let bytes = [&file[..8], header.as_bytes(), &file[8 + length..]].concat();
    fs::write(&path, bytes).unwrap();
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    assert_eq!(
        problems(error),
        [TensorProblem::DType {
            name: "model.norm.weight".to_string(),
            expected: "F32, F16 or BF16",
            found: "I32".to_string(),
        }]
    );
}

#[test]
fn a_shard_that_lacks_its_tensors_and_one_outside_of_the_folder_are_refused() {
    let device = Device::default();
    let model = qat(config(true, true), &device);
    let options = SaveOptions::new(F32).with_max_shard_bytes(20_000);
    let (folder, _) = again(&model, options);
    const INDEX: &str = "model.safetensors.index.json";
    let of_shard = |shard: &str| {
        let shard = shard.to_string();
        move |json: &mut Value| json["weight_map"]["model.norm.weight"] = json!(shard)
    };
    let index = fs::read(folder.path().join(INDEX)).unwrap();
    let index: Value = serde_json::from_slice(&index).unwrap();
    let files = index["weight_map"].as_object().unwrap().values();
    let last = files.filter_map(Value::as_str).max().unwrap();
    edit(folder.path(), INDEX, of_shard(last));
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    assert!(error.to_string().contains("model.norm.weight"), "{error}");
    edit(folder.path(), INDEX, of_shard("../model.safetensors"));
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    assert!(
        error.to_string().contains("is no file of the folder"),
        "{error}"
    );
}

#[test]
fn saving_rejects_models_that_other_programs_cannot_compute() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let refused = |model: &PretrainedLm, options: SaveOptions| {
        let error = save(folder.path().join("new"), model, &options).unwrap_err();
        assert!(!folder.path().join("new").exists());
        error.to_string()
    };
    let per_channel = TernaryConfig::new(WeightGranularity::PerChannel);
    let per_channel = QatScheme::b1_58().with_weight(per_channel);
    let model = qat(config(true, true).with_scheme(per_channel), &device);
    assert!(refused(&model, SaveOptions::new(F32)).contains("is not quantized as BitNet b1.58"));

    let config = config(true, true);
    let full: BitNetLm<Linear> = config.init(&device);
    let full = PretrainedLm::new(config.clone(), CausalLm::Full(full));
    assert!(refused(&full, SaveOptions::new(MULTIPLY)).contains("cannot be packed"));
    let llama = SaveOptions::new(F32).with_family(Some(Family::Llama));
    assert!(refused(&full, llama).contains("LlamaForCausalLM is the other kind"));

    let packed = config.init::<BitLinear>(&device).pack();
    let packed = PretrainedLm::new(config, CausalLm::Packed(packed));
    assert!(refused(&packed, SaveOptions::new(F32)).contains("no latent weights any more"));
}

#[test]
fn sizes_without_weights_to_match_are_refused_before_they_take_memory() {
    let device = Device::default();
    let model = qat(config(true, true), &device);
    for (field, size, message) in [
        (
            "num_hidden_layers",
            1_000_000_000_000_u64,
            "and the files have 24 tensors",
        ),
        (
            "max_position_embeddings",
            1 << 50,
            "set LoadOptions::with_max_positions",
        ),
    ] {
        let (folder, _) = again(&model, SaveOptions::new(F32));
        edit(folder.path(), "config.json", |json| {
            json[field] = json!(size)
        });
        let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        if field == "max_position_embeddings" {
            let options = LoadOptions::new().with_max_positions(Some(16));
            load(folder.path(), &options, &device).unwrap();
        }
    }
}
