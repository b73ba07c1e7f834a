//! Weights that are no numbers are neither written nor read.

use std::fs;

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{HfError, SaveOptions, WeightForm, save},
    },
    nn::BitNetLm,
};
use burn::{
    module::Param,
    nn::Linear,
    tensor::{Device, FloatDType},
};

use super::models::*;
use crate::support::values::*;

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
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0]
                .to_string()
                .starts_with(&format!("{name}: value "))
        );
    }
}
