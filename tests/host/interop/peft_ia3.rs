//! (IA)³ folders of peft: its logits and gradients, and ours are read back.

use std::fs;

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{self, LoadOptions},
        peft::{load, save},
    },
    nn::BitNetLm,
    peft::{AdaptedLinear, Adapter, Ia3, Ia3Config, TargetModules},
};
use burn::{
    nn::Linear,
    tensor::{Device, Tensor},
};

use crate::support::{
    oracle::{Oracle, data_path},
    values::*,
};

fn llama(device: &Device) -> BitNetLm<Linear> {
    let model = hf::load(data_path("g_tiny_llama"), &LoadOptions::new(), device).unwrap();
    match model.lm {
        CausalLm::Full(lm) => lm,
        other => panic!("{}", other.form()),
    }
}

/// Rounding of sums of up to 64 products in 2 layers, relative to the largest value.
fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let bound = 256.0 * ROUNDING * f64::from(largest);
    assert_within(actual, expected, |_| bound, what);
}

fn ia3(linear: &AdaptedLinear<Linear>) -> Option<&Ia3> {
    linear.adapter("default").map(|adapter| match adapter {
        Adapter::Ia3(ia3) => ia3,
        other => panic!("{other}"),
    })
}

#[test]
fn a_folder_of_peft_has_its_logits_and_gradients() {
    let oracle = Oracle::open("ia3_llama");
    let case = oracle.case("llama");
    let device = Device::default().autodiff();
    let adapter = load(data_path("g_adapter_ia3")).unwrap();
    assert_eq!(adapter.unknown_keys, []);
    let lm = adapter.attach(llama(&device), "default").unwrap();
    let tokens = case.tokens("input_ids", &device);
    let logits = lm.forward(tokens.clone());
    assert_close(&floats(logits.clone()), &case.floats("logits"), "logits");

    let upstream: Tensor<3> = case.tensor("grad_output", &device);
    let grads = (logits * upstream).sum().backward();
    let mut checked = 0;
    for (module, linear) in lm.projections() {
        let Some(ia3) = ia3(linear).filter(|_| module.contains("layers.1.")) else {
            continue;
        };
        assert_eq!(ia3.is_feed_forward, module.ends_with("down_proj"));
        let grad = floats(ia3.l.val().grad(&grads).unwrap());
        assert_close(&grad, &case.floats(&format!("grad.{module}")), &module);
        checked += 1;
    }
    assert_eq!(checked, 3);

    let (merged, _) = lm.merge(None);
    let of_merged = floats(merged.forward(tokens));
    assert_close(&of_merged, &case.floats("logits_merged"), "merged");
}

#[test]
fn a_written_folder_has_the_tensors_of_peft_and_is_read_back() {
    let device = Device::default();
    let adapter = load(data_path("g_adapter_ia3")).unwrap();
    let lm = adapter.attach(llama(&device), "default").unwrap();
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &lm, "default", &adapter.config).unwrap();
    let read = |folder: &std::path::Path| {
        let bytes = fs::read(folder.join("adapter_model.safetensors")).unwrap();
        let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        let tensors = file.tensors().into_iter();
        let mut tensors: Vec<_> = tensors
            .map(|(name, view)| (name, view.shape().to_vec(), view.data().to_vec()))
            .collect();
        tensors.sort();
        tensors
    };
    assert_eq!(read(folder.path()), read(&data_path("g_adapter_ia3")));
    assert_eq!(load(folder.path()).unwrap().config, adapter.config);
}

#[test]
fn factors_of_the_other_side_are_refused() {
    let mut adapter = load(data_path("g_adapter_ia3")).unwrap();
    let targets = TargetModules::names(["k_proj", "v_proj", "down_proj"]);
    let none = TargetModules::names([] as [&str; 0]);
    adapter.config = Ia3Config::new(targets, none).into();
    let error = adapter.attach(llama(&Device::default()), "default");
    let error = error.unwrap_err().to_string();
    let expected = "base_model.model.model.layers.0.mlp.down_proj.ia3_l: expected shape [32, 1], found [1, 48]";
    assert!(error.contains(expected), "{error}");
}
