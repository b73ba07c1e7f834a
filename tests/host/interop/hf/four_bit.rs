//! Folders of 4-bit weights of bitsandbytes: those of transformers have its logits, and ours are their bytes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm, gguf,
        hf::{LoadOptions, SaveOptions, WeightForm, load, save},
    },
    nn::{BitNetLm, Linear4bit},
    quant::{FourBitConfig, FourBitType},
};
use burn::tensor::{Device, FloatDType, Int, Tensor};
use safetensors::SafeTensors;
use serde_json::json;

use super::models::*;
use crate::support::{oracle::data_path, values::*};

const NF4: WeightForm = WeightForm::FourBit {
    config: FourBitConfig {
        quant_type: FourBitType::Nf4,
        block_size: 64,
        double_quant: true,
    },
    dtype: FloatDType::F32,
};
const FP4: WeightForm = WeightForm::FourBit {
    config: FourBitConfig {
        quant_type: FourBitType::Fp4,
        block_size: 64,
        double_quant: false,
    },
    dtype: FloatDType::BF16,
};

/// Returns a folder that transformers wrote.
pub fn folder(name: &str) -> PathBuf {
    data_path("four_bit_llama").join(name)
}

fn read(folder: &Path, dtype: Option<FloatDType>) -> PretrainedLm {
    let options = LoadOptions::new().with_dtype(dtype);
    load(folder, &options, &Device::default()).unwrap()
}

fn projections(model: &PretrainedLm) -> &BitNetLm<Linear4bit> {
    match &model.lm {
        CausalLm::FourBit(lm) => lm,
        other => panic!("{}", other.form()),
    }
}

fn tokens() -> Tensor<2, Int> {
    let file = fs::read(folder("logits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let (tokens, _) = file.tensor("input_ids").unwrap().data().as_chunks::<8>();
    let tokens: Vec<i64> = tokens.iter().map(|b| i64::from_le_bytes(*b)).collect();
    Tensor::<1, Int>::from_ints(tokens.as_slice(), &Device::default()).reshape([2, 10])
}

/// Asserts the logits that PyTorch computes.
fn assert_logits(lm: &CausalLm, name: &str) {
    let file = fs::read(folder("logits.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let (expected, _) = file.tensor(name).unwrap().data().as_chunks::<4>();
    let expected: Vec<f32> = expected.iter().map(|b| f32::from_le_bytes(*b)).collect();
    let largest = expected.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    // Rounding of sums of up to 64 products in 2 layers, on logits of this size.
    let bound = 128.0 * ROUNDING * f64::from(largest);
    assert_within(&floats(lm.forward(tokens())), &expected, |_| bound, name);
}

#[test]
fn folders_of_transformers_have_its_logits() {
    for name in ["nf4", "fp4"] {
        let model = read(&folder(name), Some(FloatDType::F32));
        assert_eq!(model.unknown_keys, []);
        assert_logits(&model.lm, name);
        assert_logits(&model.lm.dequantize(), name);
    }
}

#[test]
fn a_folder_is_written_again_in_the_bytes_of_transformers() {
    for (name, form) in [("nf4", NF4), ("fp4", FP4)] {
        let model = read(&folder(name), None);
        let (new, loaded) = again(&model, SaveOptions::new(form));
        let [ours, theirs] = [new.path(), &folder(name)]
            .map(|folder| fs::read(folder.join("model.safetensors")).unwrap());
        assert!(ours == theirs, "{name}");
        let [mut ours, mut theirs] =
            [new.path(), &folder(name)].map(|folder| json_of(folder, "config.json"));
        for json in [&mut ours, &mut theirs] {
            // A pattern there, and the modules that it matches here.
            let skipped = json["quantization_config"]["llm_int8_skip_modules"].take();
            assert_eq!(skipped.is_null(), name == "nf4");
        }
        assert_eq!(ours["quantization_config"], theirs["quantization_config"]);
        assert_equal(&logits(&loaded), &logits(&model), name);
    }
}

#[test]
fn layers_that_transformers_skips_are_in_full_precision() {
    let model = read(&folder("fp4"), None);
    for (path, projection) in projections(&model).projections() {
        let skipped = path.starts_with("model.layers.1.mlp");
        assert_eq!(projection.is_full_precision(), skipped, "{path}");
    }
    let (new, _) = again(&model, SaveOptions::new(FP4));
    let json = json_of(new.path(), "config.json");
    let skipped = &json["quantization_config"]["llm_int8_skip_modules"];
    let modules = ["lm_head", "gate_proj", "up_proj", "down_proj"];
    let modules = modules.map(|name| match name {
        "lm_head" => name.to_string(),
        name => format!("model.layers.1.mlp.{name}"),
    });
    assert_eq!(*skipped, json!(modules));
}

/// Returns the tensors of a folder by name.
fn tensors(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let file = fs::read(folder.join("model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let mut tensors: Vec<(String, Vec<u8>)> = (file.tensors().into_iter())
        .map(|(name, view)| (name, view.data().to_vec()))
        .collect();
    tensors.sort();
    tensors
}

#[test]
fn a_model_in_full_precision_is_quantized_as_in_transformers() {
    let model = read(&data_path("g_tiny_llama"), None);
    for (name, form) in [("nf4", NF4), ("fp4", FP4)] {
        let new = tempfile::tempdir().unwrap();
        save(new.path(), &model, &SaveOptions::new(form)).unwrap();
        let [ours, theirs] = [new.path(), &folder(name)].map(tensors);
        let in_both =
            |(name, _): &&(String, Vec<u8>)| !name.contains("layers.1.mlp") || form == NF4;
        let [ours, theirs] =
            [&ours, &theirs].map(|tensors| tensors.iter().filter(in_both).collect::<Vec<_>>());
        assert!(ours == theirs, "{name}");
    }
}

#[test]
fn every_form_of_4_bits_is_read_as_it_is_written() {
    for quant_type in [FourBitType::Nf4, FourBitType::Fp4] {
        for double_quant in [false, true] {
            let config = FourBitConfig::new(quant_type)
                .with_block_size(128)
                .with_double_quant(double_quant);
            let lm = full(&base()).into_four_bit(&config);
            let model = model(&base(), CausalLm::FourBit(lm));
            let form = WeightForm::FourBit {
                config,
                dtype: FloatDType::F32,
            };
            let (folder, loaded) = again(&model, SaveOptions::new(form));
            assert_same(&loaded, &model, &config.to_string());
            for ((_, ours), (_, theirs)) in
                (projections(&loaded).projections()).zip(projections(&model).projections())
            {
                assert_eq!(ours.weight.config(), &config);
                let [ours, theirs] = [ours, theirs].map(|p| p.weight.to_bytes().unwrap());
                assert_equal(&ours, &theirs, "codes");
            }
            assert!(folder.path().join("config.json").is_file());
        }
    }
}

#[test]
fn models_are_not_written_in_a_form_that_they_do_not_have() {
    let new = tempfile::tempdir().unwrap();
    let refused = |model: &PretrainedLm, form| {
        let path = new.path().join("new");
        let error = save(&path, model, &SaveOptions::new(form)).unwrap_err();
        assert!(!path.exists());
        error.to_string()
    };
    let model = read(&folder("nf4"), None);
    for form in [F32, MULTIPLY] {
        assert!(refused(&model, form).contains("CausalLm::dequantize"));
    }
    assert!(refused(&model, FP4).contains(
        "model.layers.0.self_attn.q_proj is nf4 in blocks of 64, double quantized, not fp4 in blocks of 64"
    ));
    let latent = trained(base());
    assert!(refused(&latent, NF4).contains("is another one in 4 bits"));
    let path = new.path().join("model.gguf");
    let options = gguf::SaveOptions::new(gguf::GgmlType::F16);
    let error = gguf::save(&path, &model, &options).unwrap_err().to_string();
    assert!(error.contains("dequantize the model first"), "{error}");
    // Dequantized, it is a model in full precision.
    let dequantized = PretrainedLm::new(model.config.clone(), model.lm.dequantize());
    save(
        new.path().join("float"),
        &dequantized,
        &SaveOptions::new(F32),
    )
    .unwrap();
}
