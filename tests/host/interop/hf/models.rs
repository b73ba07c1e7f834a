//! Models, and folders of them.

use std::{fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        hf::{HfError, LoadOptions, SaveOptions, ScaleConvention, WeightForm, load, save},
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation},
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, FloatDType, Int, Tensor},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::values::*;

pub const F32: WeightForm = WeightForm::Float(FloatDType::F32);
pub const MULTIPLY: WeightForm = WeightForm::Packed(ScaleConvention::Multiply);
pub const DIVIDE: WeightForm = WeightForm::Packed(ScaleConvention::Divide);

pub fn config(sub_norm: bool, tied_embeddings: bool) -> BitNetLmConfig {
    BitNetLmConfig::new(32, 32, 2, 4, 48)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16)
        .with_sub_norm(sub_norm)
        .with_tied_embeddings(tied_embeddings)
        .with_activation(GatedActivation::Silu)
}

/// Returns the architecture without norms before the last projections, and with a head of its own.
pub fn base() -> BitNetLmConfig {
    config(false, false)
}

pub fn full(config: &BitNetLmConfig) -> BitNetLm<Linear> {
    let lm: BitNetLm<Linear> = config.init(&Device::default());
    lm.map(&mut Drawn::new(5, 0.3))
}

pub fn qat(config: &BitNetLmConfig) -> BitNetLm {
    full(config).into_bitnet(&config.scheme)
}

pub fn model(config: &BitNetLmConfig, lm: CausalLm) -> PretrainedLm {
    let mut model = PretrainedLm::new(config.clone(), lm);
    model.bos_token_id = Some(3);
    model.eos_token_ids = vec![4, 5];
    model.pad_token_id = Some(6);
    model
}

/// Returns a model with latent weights.
pub fn trained(config: BitNetLmConfig) -> PretrainedLm {
    // Scales of about 0.12: only a mantissa over the root of 2 may have a reciprocal that is not exact.
    let lm: BitNetLm = config
        .init(&Device::default())
        .map(&mut Drawn::new(700, 0.15));
    PretrainedLm::new(config, CausalLm::Qat(lm))
}

/// Returns the deployed model; on some devices its sums have another order than in training.
pub fn packed(model: &PretrainedLm) -> PretrainedLm {
    let CausalLm::Qat(lm) = &model.lm else {
        panic!("{}", model.lm.form())
    };
    PretrainedLm::new(model.config.clone(), CausalLm::Packed(lm.pack()))
}

pub fn logits(model: &PretrainedLm) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], &Device::default());
    floats(model.lm.forward(tokens))
}

/// Writes a model into a new folder and reads it back.
pub fn again(model: &PretrainedLm, options: SaveOptions) -> (TempDir, PretrainedLm) {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), model, &options).unwrap();
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default()).unwrap();
    (folder, loaded)
}

pub fn json_of(folder: &Path, name: &str) -> Value {
    serde_json::from_slice(&fs::read(folder.join(name)).unwrap()).unwrap()
}

/// Changes a JSON file.
pub fn edit(folder: &Path, name: &str, change: impl FnOnce(&mut Value)) {
    let mut json = json_of(folder, name);
    change(&mut json);
    fs::write(folder.join(name), json.to_string()).unwrap();
}

pub fn load_error(folder: &Path) -> HfError {
    load(folder, &LoadOptions::new(), &Device::default()).unwrap_err()
}

pub fn assert_same(loaded: &PretrainedLm, model: &PretrainedLm, what: &str) {
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
