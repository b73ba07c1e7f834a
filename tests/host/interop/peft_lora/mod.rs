//! LoRA of peft beside plain factors: models and adapters that `peft_lora.py` wrote, with its logits.

mod beside;
mod ends;
mod subtracted;
mod weighted;

use std::fs;

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{self, LoadOptions},
        peft::{load, save},
    },
    nn::{BitNetLm, Projection},
    peft::{AdaptedLinear, PeftConfig},
};
use burn::{
    nn::Linear,
    tensor::{Device, Int, Tensor},
};
use safetensors::SafeTensors;

use crate::support::{oracle::data_path, values::*};

/// Returns a model of the data.
fn model(name: &str) -> BitNetLm<Linear> {
    let model = hf::load(data_path(name), &LoadOptions::new(), &Device::default()).unwrap();
    match model.lm {
        CausalLm::Full(lm) => lm,
        other => panic!("{}", other.form()),
    }
}

/// Returns the configuration of an adapter of the data, and a model with it.
fn adapted(base: &str, name: &str) -> (PeftConfig, BitNetLm<AdaptedLinear<Linear>>) {
    let adapter = load(data_path(&format!("l_adapter_{name}"))).unwrap();
    assert_eq!(adapter.unknown_keys, []);
    let lm = adapter.attach(model(base), "default").unwrap();
    (adapter.config, lm)
}

/// Returns values that peft computed.
fn values(name: &str) -> Vec<f32> {
    let bytes = fs::read(data_path("l_peft.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let bytes = file.tensor(name).unwrap().data().chunks_exact(4);
    bytes
        .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
        .collect()
}

fn logits<P: Projection>(lm: &BitNetLm<P>) -> Vec<f32> {
    let tokens = [[5, 3, 17, 9, 0, 21], [2, 8, 11, 23, 4, 1]];
    floats(lm.forward(Tensor::<2, Int>::from_ints(tokens, &Device::default())))
}

/// Rounding of sums of up to 24 products in 2 layers, on logits of this size.
fn assert_logits<P: Projection>(lm: &BitNetLm<P>, expected: &[f32], what: &str) {
    let largest = expected.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    let bound = 128.0 * ROUNDING * f64::from(largest);
    assert_within(&logits(lm), expected, |_| bound, what);
}

/// Saves an adapter and returns the model `base` with it.
fn saved_and_loaded(
    lm: &BitNetLm<AdaptedLinear<Linear>>,
    name: &str,
    config: &PeftConfig,
    base: BitNetLm<Linear>,
) -> BitNetLm<AdaptedLinear<Linear>> {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), lm, name, config).unwrap();
    load(folder.path()).unwrap().attach(base, "again").unwrap()
}
