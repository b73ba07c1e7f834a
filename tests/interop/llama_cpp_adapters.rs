//! LoRA adapters in llama.cpp.

use std::{fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{self, GgmlType},
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, Projection},
    peft::{LoraConfig, TargetModules},
    text::{Tokenizer, dataset::SHAKESPEARE},
};
use burn::{module::Module, tensor::Device};
use serde_json::{Value, json};

use super::{
    llama_cpp::{
        NEW_TOKENS, TIE, float_activations, is_greedy, log_probabilities, tokenizer_metadata,
    },
    python,
};
use crate::values::Drawn;

/// Types of the weights of the base, and the most that log-probabilities may differ on average: llama.cpp rounds inputs
/// of F16 to half precision, and those of TQ2_0 to 8 bits.
const TYPES: [(GgmlType, f64); 3] = [
    (GgmlType::F32, 1e-4),
    (GgmlType::F16, 1e-2),
    (GgmlType::TQ2_0, 0.1),
];

/// Returns the log-probability of each token of a text but the first.
fn of_text<P: Projection>(lm: &BitNetLm<P>, text: &[u32]) -> Vec<f64> {
    let of_next = log_probabilities(lm, text);
    let of_text = text[1..].iter().zip(&of_next);
    of_text
        .map(|(token, p)| f64::from(p[*token as usize]))
        .collect()
}

/// Returns the mean difference of log-probabilities.
fn difference(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum::<f64>() / a.len() as f64
}

/// Exports a model in each type and its adapter, and compares them with llama.cpp's results.
fn compare(sub_norm: bool, lora: &LoraConfig) {
    let device = Device::default();
    let tokenizer = Tokenizer::characters(SHAKESPEARE).unwrap();
    let ids = tokenizer.encode(SHAKESPEARE).unwrap();
    let vocab_size = tokenizer.vocab_size();
    let config = BitNetLmConfig::new(vocab_size, 256, 2, 4, 512)
        .with_n_kv_heads(Some(2))
        .with_max_positions(256)
        .with_sub_norm(sub_norm)
        .with_activation(GatedActivation::Silu);
    let lm: BitNetLm = config.init(&device);
    let (lm, _) = lm.with_adapter("default", lora).unwrap();
    let lm = lm.map(&mut Drawn::new(7, 0.3));
    let folder = tempfile::tempdir().unwrap();
    let adapter = folder.path().join("adapter.gguf");
    let options = gguf::SaveOptions::new(GgmlType::F16).with_scales_in_weights(true);
    gguf::save_adapter(&adapter, &lm, &config, "default", lora, &options).unwrap();
    let base = PretrainedLm::new(config.clone(), CausalLm::Qat(lm.into_base()));
    let paths = TYPES.map(|(t, _)| folder.path().join(format!("{t}.gguf")));
    for ((ggml_type, _), path) in TYPES.iter().zip(&paths) {
        let options = gguf::SaveOptions::new(*ggml_type)
            .with_scales_in_weights(true)
            .with_tokenizer(Some(tokenizer_metadata(&tokenizer, vocab_size)));
        gguf::save(path, &base, &options).unwrap();
    }
    let names = paths
        .each_ref()
        .map(|path| path.file_name().unwrap().to_str().unwrap());
    let prompts: Vec<&[u32]> = (0..4).map(|i| &ids[i * 500..i * 500 + 16]).collect();
    let text = &ids[3000..3000 + 65];
    let adapters: serde_json::Map<String, Value> = names
        .iter()
        .map(|name| (name.to_string(), json!(adapter)))
        .collect();
    let given = json!({
        "prompts": prompts, "new_tokens": NEW_TOKENS, "text": text, "vocabulary": vocab_size, "adapters": adapters,
    });
    let input = folder.path().join("input.json");
    fs::write(&input, given.to_string()).unwrap();
    let arguments: Vec<&Path> = [input.as_path()]
        .into_iter()
        .chain(paths.iter().map(|p| p.as_path()))
        .collect();
    let results: Value = serde_json::from_str(&python::run("llama_cpp.py", &arguments)).unwrap();

    let adapter = gguf::load_adapter(&adapter, &config).unwrap();
    for (((ggml_type, limit), path), name) in TYPES.iter().zip(&paths).zip(names) {
        let loaded = gguf::load(path, &gguf::LoadOptions::new(), &device).unwrap();
        let base = float_activations(loaded);
        let without = of_text(&base, text);
        let lm = adapter.attach(base, "default").unwrap();
        let ours = of_text(&lm, text);
        let theirs = results[name]["logprobs"].as_array().unwrap();
        let theirs: Vec<f64> = theirs.iter().map(|value| value.as_f64().unwrap()).collect();
        let (off, effect) = (difference(&ours, &theirs), difference(&ours, &without));
        println!(
            "{ggml_type}: log-probabilities differ by {off:.1e}, and by {effect:.2} without the adapter"
        );
        assert!(off < *limit && effect > 0.5, "{ggml_type}: {off}, {effect}");
        let greedy: Vec<Vec<u32>> =
            serde_json::from_value(results[name]["greedy"].clone()).unwrap();
        // Where log-probabilities are further off, so is what may be either token; the mean hides the worst of them.
        let tie = TIE.max(5.0 * off as f32);
        let same = prompts
            .iter()
            .zip(&greedy)
            .map(|(prompt, new)| is_greedy(&lm, prompt, new, (tie, tokenizer.eos())));
        let same: Vec<(bool, usize)> = same.collect();
        println!("{ggml_type}: greedy tokens that are the same: {same:?}");
        assert!(
            same.iter().all(|(explained, _)| *explained),
            "{ggml_type}: {same:?}"
        );
    }
}

#[test]
#[ignore = "needs Python with xllamacpp"]
fn llama_cpp_goes_on_as_a_llama_model_with_an_adapter_does() {
    compare(
        false,
        &LoraConfig::new(4).with_targets(TargetModules::AllLinear),
    );
    compare(
        false,
        &LoraConfig::new(8)
            .with_rslora()
            .with_targets(TargetModules::AllLinear),
    );
}

#[test]
#[ignore = "needs Python with xllamacpp"]
fn llama_cpp_goes_on_as_a_bitnet_model_with_an_adapter_does() {
    compare(
        true,
        &LoraConfig::new(4).with_targets(TargetModules::AllLinear),
    );
}
