//! BitFit and files: peft has none, and models are saved with the merged biases or not at all.

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm, gguf,
        hf::{self, LoadOptions, SaveOptions, WeightForm},
        peft::{self, PeftFileError},
    },
    nn::{BitNetLm, ProjectionBias},
    peft::{Adapter, BitFit, BitFitConfig, TargetModules},
};
use burn::{
    nn::Linear,
    tensor::{DType, Device, FloatDType, Int, Tensor},
};

use crate::support::{oracle::data_path, values::*};

fn llama() -> (PretrainedLm, BitNetLm<Linear>) {
    let device = Device::default();
    let model = hf::load(data_path("g_tiny_llama"), &LoadOptions::new(), &device).unwrap();
    match &model.lm {
        CausalLm::Full(lm) => {
            let lm = lm.clone();
            (model, lm)
        }
        other => panic!("{}", other.form()),
    }
}

/// Returns the model with merged differences, and its logits beside the weights.
fn merged(targets: TargetModules) -> (PretrainedLm, Vec<f32>) {
    let (model, lm) = llama();
    let config = BitFitConfig::new(targets);
    let (lm, _) = lm.with_adapter("default", config).unwrap();
    let mut seed = 1;
    let lm = lm.map_projections(|_, mut linear| {
        for adapter in &mut linear.adapters {
            let size = linear.base.weight.dims()[1];
            seed += 1;
            let difference = tensor(&normal(size, seed), [size], DType::F32, &Device::default());
            *adapter = Adapter::BitFit(BitFit::new(difference));
        }
        linear
    });
    let beside = floats(lm.forward(tokens()));
    let (lm, _) = lm.merge(None);
    (PretrainedLm::new(model.config, CausalLm::Full(lm)), beside)
}

fn tokens() -> Tensor<2, Int> {
    Tensor::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], &Device::default())
}

fn f32_form() -> SaveOptions {
    SaveOptions::new(WeightForm::Float(FloatDType::F32))
}

fn f32_type() -> gguf::SaveOptions {
    gguf::SaveOptions::new(gguf::GgmlType::F32)
}

#[test]
fn biases_that_the_configuration_does_not_have_are_not_lost() {
    let (model, _) = merged(TargetModules::names(["q_proj"]));
    let folder = tempfile::tempdir().unwrap();
    let message =
        "the model has model.layers.0.self_attn.q_proj.bias, which its configuration does not have";
    let error = hf::save(folder.path().join("hf"), &model, &f32_form()).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
    let error = gguf::save(folder.path().join("gguf"), &model, &f32_type()).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn biases_of_the_configuration_that_the_model_does_not_have_are_missed() {
    let (mut model, _) = merged(TargetModules::names(["q_proj"]));
    model.config = model.config.with_bias(ProjectionBias::QKV);
    let folder = tempfile::tempdir().unwrap();
    let message =
        "the model has no model.layers.0.self_attn.k_proj.bias as its configuration has it";
    let error = hf::save(folder.path().join("hf"), &model, &f32_form()).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
    let error = gguf::save(folder.path().join("gguf"), &model, &f32_type()).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn merged_biases_are_saved_where_the_architecture_has_them() {
    let qkv = TargetModules::names(["q_proj", "k_proj", "v_proj"]);
    for (targets, bias) in [
        (
            TargetModules::AllLinear,
            ProjectionBias::new(true, true, true),
        ),
        (qkv, ProjectionBias::QKV),
    ] {
        let (mut model, beside) = merged(targets);
        model.config = model.config.with_bias(bias);
        let logits = floats(model.lm.forward(tokens()));
        // The base has no biases, so that both sums are the same.
        assert_equal(&logits, &beside, "merged");
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hf");
        hf::save(&path, &model, &f32_form()).unwrap();
        let loaded = hf::load(&path, &LoadOptions::new(), &Device::default()).unwrap();
        assert_eq!(loaded.config.bias, bias);
        assert_equal(&floats(loaded.lm.forward(tokens())), &logits, "folder");
        let path = folder.path().join("model.gguf");
        gguf::save(&path, &model, &f32_type()).unwrap();
        let loaded = gguf::load(&path, &gguf::LoadOptions::new(), &Device::default()).unwrap();
        assert_eq!(loaded.config.bias, bias);
        assert_equal(&floats(loaded.lm.forward(tokens())), &logits, "GGUF");
    }
}

#[test]
fn projections_beside_the_targets_get_biases_of_zero_to_be_saved() {
    let targets = TargetModules::names(["q_proj", "up_proj"]);
    let config = BitFitConfig::new(targets.clone());
    let (mut model, lm) = llama();
    let needed = config.biases(&lm).unwrap();
    assert_eq!(needed, ProjectionBias::new(true, false, true));
    // No file has biases of queries, keys and values without that of the output, and of the feed-forward blocks.
    let bias = hf::place_for_biases(&model.config, needed).unwrap();
    assert_eq!(bias, ProjectionBias::new(true, true, true));
    let (merged, beside) = merged(targets);
    let CausalLm::Full(lm) = merged.lm else {
        panic!("{}", merged.lm.form());
    };
    model.lm = CausalLm::Full(lm.with_biases(bias));
    model.config.bias = bias;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hf");
    hf::save(&path, &model, &f32_form()).unwrap();
    let loaded = hf::load(&path, &LoadOptions::new(), &Device::default()).unwrap();
    assert_eq!(loaded.config.bias, bias);
    assert_equal(&floats(loaded.lm.forward(tokens())), &beside, "folder");
}

#[test]
fn peft_has_no_bitfit() {
    let config = BitFitConfig::default();
    let (_, lm) = llama();
    let (lm, _) = lm.with_adapter("default", &config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let error = peft::save(folder.path(), &lm, "default", config).unwrap_err();
    assert!(matches!(error, PeftFileError::NotInPeft { .. }), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}
