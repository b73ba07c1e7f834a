use bitnet_burn::interop::hf::{HfConfig, LoadOptions, load};
use burn::tensor::Device;

use super::folder::{folder, one_file};

const NAMES: [&str; 6] = [
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "model.safetensors.index.json",
    "model-00001-of-00002.safetensors",
    "model-00002-of-00002.safetensors",
];

/// Reads a folder of transformers: configuration, safetensors, their index.
pub fn hf_folder(data: &[u8]) {
    let folder = folder(data, &NAMES);
    let _ = load(folder.path(), &LoadOptions::new(), &Device::default());
}

/// Reads a `config.json`, including `quantization_config`.
pub fn hf_config(data: &[u8]) {
    let folder = one_file("config.json", data);
    let _ = HfConfig::read(&folder.path().join("config.json"));
}
