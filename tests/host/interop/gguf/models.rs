//! Models in full precision, and files of them that are changed.

use std::path::Path;

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{
            GgmlType, GgufError, GgufMetadata, GgufReader, GgufShape, GgufValue, GgufWriter,
            LoadOptions, SaveOptions, encode, load, save,
        },
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation},
};
use burn::{
    nn::Linear,
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

pub fn config(sub_norm: bool) -> BitNetLmConfig {
    BitNetLmConfig::new(16, 32, 2, 4, 64)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16)
        .with_sub_norm(sub_norm)
        .with_activation(GatedActivation::Silu)
}

pub fn full(config: BitNetLmConfig) -> PretrainedLm {
    let lm: BitNetLm<Linear> = config.init(&Device::default());
    PretrainedLm::new(config, CausalLm::Full(lm))
}

pub fn logits(model: &PretrainedLm) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[5, 3, 1, 9, 0, 15, 2, 8]], &Device::default());
    floats(model.lm.forward(tokens))
}

/// Rewrites the file with other metadata and with the tensors returned by `tensor`.
pub fn rewritten(
    path: &Path,
    change: impl Fn(&mut GgufMetadata),
    tensor: impl Fn(&str, GgufShape, Vec<f32>) -> (GgmlType, Vec<u8>),
    options: &LoadOptions,
) -> Result<PretrainedLm, GgufError> {
    let reader = GgufReader::open(path).unwrap();
    let mut metadata = GgufMetadata::new();
    for (key, value) in reader.metadata().iter() {
        // Drops the keys that this crate writes for itself: they do not hold for a changed file.
        if !key.starts_with("bitnet_burn.") {
            metadata.insert(key, value.clone()).unwrap();
        }
    }
    change(&mut metadata);
    let mut writer = GgufWriter::new(metadata).unwrap();
    for old in reader.tensors() {
        let (ggml_type, bytes) = tensor(old.name(), old.shape(), old.decode().unwrap());
        writer
            .add_bytes(old.name(), ggml_type, old.shape(), bytes)
            .unwrap();
    }
    let changed = path.with_extension("changed");
    writer.write(&changed).unwrap();
    load(&changed, options, &Device::default())
}

pub fn as_it_is(name: &str, shape: GgufShape, values: Vec<f32>) -> (GgmlType, Vec<u8>) {
    let bytes = encode(name, GgmlType::F32, shape, &values).unwrap();
    (GgmlType::F32, bytes)
}

/// Loads a Llama model with other values of keys.
pub fn with_keys(keys: &[(&str, GgufValue)]) -> Result<PretrainedLm, GgufError> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let options = SaveOptions::new(GgmlType::F32);
    save(&path, &full(config(false)), &options).unwrap();
    let change = |metadata: &mut GgufMetadata| {
        for (key, value) in keys {
            metadata.replace(*key, value.clone()).unwrap();
        }
    };
    rewritten(&path, change, as_it_is, &LoadOptions::new())
}

/// Loads a Llama model with another value of a key.
pub fn with_key(key: &str, value: impl Into<GgufValue>) -> Result<PretrainedLm, GgufError> {
    with_keys(&[(key, value.into())])
}
