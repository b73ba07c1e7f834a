use bitnet_burn::{
    interop::{gguf, peft},
    nn::{BitNetLm, BitNetLmConfig},
};
use burn::tensor::Device;

use super::folder::{folder, one_file};

const NAMES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];
const GGUF: &str = "adapter.gguf";

/// Model of the adapters that are read.
pub fn model() -> BitNetLmConfig {
    BitNetLmConfig::new(12, 8, 1, 2, 12)
        .with_n_kv_heads(Some(1))
        .with_max_positions(16)
        .with_sub_norm(false)
        .with_tied_embeddings(false)
}

/// Reads an adapter folder of peft, and adds its adapter to a model if it fits.
pub fn peft_folder(data: &[u8]) {
    let folder = folder(data, &NAMES);
    if let Ok(adapter) = peft::load(folder.path()) {
        attach(&adapter);
    }
}

/// Reads an adapter of llama.cpp, and adds it to a model.
pub fn gguf_adapter(data: &[u8]) {
    let folder = one_file(GGUF, data);
    if let Ok(adapter) = gguf::load_adapter(folder.path().join(GGUF), &model()) {
        attach(&adapter);
    }
}

fn attach(adapter: &peft::AdapterFolder) {
    adapter.config.validate().expect("checked when it was read");
    let lm: BitNetLm = model().init(&Device::default());
    if let Ok(lm) = adapter.attach(lm, "default") {
        assert!(lm.adapter_names().contains("default"));
    }
}
