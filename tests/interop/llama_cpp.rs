//! GGUF files in llama.cpp, and in the `gguf` package.

use std::{fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{
            self, GgmlType, GgufMetadata, GgufReader, GgufWriter,
            tokenizer::{self, SpecialIds, TokenizerOptions},
        },
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, PackedBitLinear, Projection},
    optim::clip_grad_norm,
    text::{Tokenizer, dataset::SHAKESPEARE},
};
use burn::{
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Int, Tensor, TensorData, activation::log_softmax},
};
use serde_json::{Value, json};

use super::python;

const CONTEXT: usize = 64;
const BATCH: usize = 8;
const STEPS: usize = 150;
/// Number of tokens of a greedy continuation.
pub const NEW_TOKENS: usize = 64;
/// Logit difference below which a program that multiplies in half precision may choose either token.
pub const TIE: f32 = 0.05;

fn tokens(tokens: &[u32], shape: [usize; 2], device: &Device) -> Tensor<2, Int> {
    let tokens: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
    Tensor::from_data(TensorData::new(tokens, shape), device)
}

/// Trains a SiLU model for a few steps.
fn train(sub_norm: bool, text: &[u32], vocab_size: usize) -> PretrainedLm {
    let device = Device::default().autodiff();
    device.seed(1);
    let config = BitNetLmConfig::new(vocab_size, 256, 2, 4, 512)
        .with_n_kv_heads(Some(2))
        .with_max_positions(256)
        .with_sub_norm(sub_norm)
        .with_activation(GatedActivation::Silu);
    let mut lm: BitNetLm = config.init(&device);
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
    for step in 0..STEPS {
        let windows: Vec<&[u32]> = (0..BATCH)
            .map(|i| {
                let start = (step * BATCH + i) * 7919 % (text.len() - CONTEXT - 1);
                &text[start..start + CONTEXT + 1]
            })
            .collect();
        let part = |from: usize| {
            let part: Vec<u32> = windows
                .iter()
                .flat_map(|w| &w[from..from + CONTEXT])
                .copied()
                .collect();
            tokens(&part, [BATCH, CONTEXT], &device)
        };
        let logits = lm.forward(part(0)).reshape([BATCH * CONTEXT, vocab_size]);
        let targets = part(1).reshape([BATCH * CONTEXT]);
        let loss = CrossEntropyLossConfig::new()
            .init(&device)
            .forward(logits, targets);
        let grads = GradientsParams::from_grads(loss.backward(), &lm);
        let (grads, _) = clip_grad_norm(&lm, grads, 1.0);
        lm = optimizer.step(2e-3, lm, grads);
        if step + 1 == STEPS {
            println!("loss after {STEPS} steps: {:.3}", loss.into_scalar::<f32>());
        }
    }
    PretrainedLm::new(config, CausalLm::Qat(lm.valid()))
}

/// Returns the model with its activations in float, as llama.cpp computes them.
pub fn float_activations(model: PretrainedLm) -> BitNetLm<PackedBitLinear> {
    let CausalLm::Packed(lm) = model.lm else {
        panic!("{}", model.lm.form())
    };
    lm.map_projections(|_, mut projection| {
        projection.input_quant = None;
        projection
    })
}

/// Returns the log-probabilities of the next token, after each token.
pub fn log_probabilities<P: Projection>(lm: &BitNetLm<P>, ids: &[u32]) -> Vec<Vec<f32>> {
    let device = Device::default();
    let logits = lm.forward(tokens(ids, [1, ids.len()], &device));
    let [_, positions, vocab_size] = logits.dims();
    let values = log_softmax(logits, 2).reshape([positions, vocab_size]);
    let values = values.into_data().try_to_vec::<f32>().unwrap();
    values.chunks(vocab_size).map(<[f32]>::to_vec).collect()
}

/// Returns the likeliest token but `end`, and the difference of its logit and the next.
fn best(log_probabilities: &[f32], end: Option<u32>) -> (u32, f32) {
    let tokens = 0..log_probabilities.len();
    let mut order: Vec<usize> = tokens.filter(|token| Some(*token as u32) != end).collect();
    order.sort_by(|a, b| log_probabilities[*b].total_cmp(&log_probabilities[*a]));
    (
        order[0] as u32,
        log_probabilities[order[0]] - log_probabilities[order[1]],
    )
}

/// Returns whether a continuation is greedy up to the first tie, a difference of logits below `tie`, and its number
/// of greedy tokens. The token that ends a text is not chosen.
pub fn is_greedy<P: Projection>(
    lm: &BitNetLm<P>,
    prompt: &[u32],
    new: &[u32],
    (tie, end): (f32, Option<u32>),
) -> (bool, usize) {
    let ids = [prompt, new].concat();
    let steps = log_probabilities(lm, &ids);
    for (i, token) in new.iter().enumerate() {
        let (expected, gap) = best(&steps[prompt.len() + i - 1], end);
        if expected != *token {
            println!("token {i}: expected {expected}, found {token}, gap {gap}");
            return (gap < tie, i);
        }
    }
    (true, new.len())
}

fn perplexity(logprobs: impl ExactSizeIterator<Item = f64>) -> f64 {
    let n = logprobs.len() as f64;
    (-logprobs.sum::<f64>() / n).exp()
}

pub fn tokenizer_metadata(tokenizer: &Tokenizer, vocab_size: usize) -> GgufMetadata {
    let config = Value::Object(tokenizer.config().clone());
    let ids = SpecialIds {
        eos: tokenizer.eos(),
        ..Default::default()
    };
    let options = TokenizerOptions::new(vocab_size).with_special_ids(ids);
    tokenizer::to_metadata(&tokenizer.json().unwrap(), Some(&config), &options).unwrap()
}

/// Exports a trained model in each type and compares it with llama.cpp's results.
fn compare(sub_norm: bool) {
    let tokenizer = Tokenizer::characters(SHAKESPEARE).unwrap();
    let ids = tokenizer.encode(SHAKESPEARE).unwrap();
    let (train_ids, valid_ids) = ids.split_at(ids.len() * 9 / 10);
    let vocab_size = tokenizer.vocab_size();
    let model = train(sub_norm, train_ids, vocab_size);
    let folder = tempfile::tempdir().unwrap();
    let types = [
        GgmlType::F32,
        GgmlType::F16,
        GgmlType::TQ2_0,
        GgmlType::TQ1_0,
    ];
    let paths = types.map(|t| folder.path().join(format!("{t}.gguf")));
    for (ggml_type, path) in types.iter().zip(&paths) {
        let options = gguf::SaveOptions::new(*ggml_type)
            .with_tokenizer(Some(tokenizer_metadata(&tokenizer, vocab_size)));
        gguf::save(path, &model, &options).unwrap();
    }
    let prompts: Vec<&[u32]> = (0..4).map(|i| &valid_ids[i * 500..i * 500 + 16]).collect();
    let text = &valid_ids[3000..3000 + 97];
    let input = folder.path().join("input.json");
    let given = json!({
        "prompts": prompts, "new_tokens": NEW_TOKENS, "text": text, "vocabulary": vocab_size,
    });
    fs::write(&input, given.to_string()).unwrap();
    let arguments: Vec<&Path> = [input.as_path()]
        .into_iter()
        .chain(paths.iter().map(|p| p.as_path()))
        .collect();
    let results: Value = serde_json::from_str(&python::run("llama_cpp.py", &arguments)).unwrap();

    for (ggml_type, path) in types.iter().zip(&paths) {
        let loaded = gguf::load(path, &gguf::LoadOptions::new(), &Device::default()).unwrap();
        let lm = float_activations(loaded);
        let ours = log_probabilities(&lm, text);
        let ours = text[1..]
            .iter()
            .zip(&ours)
            .map(|(token, p)| f64::from(p[*token as usize]));
        let result = &results[path.file_name().unwrap().to_str().unwrap()];
        let theirs = result["logprobs"].as_array().unwrap();
        let theirs = theirs.iter().map(|value| value.as_f64().unwrap());
        let (ours, theirs) = (perplexity(ours), perplexity(theirs));
        let off = 100.0 * (theirs / ours - 1.0);
        println!("{ggml_type}: perplexity {ours:.4} here, {theirs:.4} in llama.cpp, {off:+.3} %");
        let limit = if ggml_type.is_ternary() { 2.0 } else { 0.5 };
        assert!(off.abs() < limit, "{ggml_type}: {off} %");

        let greedy: Vec<Vec<u32>> = serde_json::from_value(result["greedy"].clone()).unwrap();
        if !ggml_type.is_ternary() {
            let same = prompts.iter().zip(&greedy).map(|(prompt, new)| {
                assert_eq!(new.len(), NEW_TOKENS);
                is_greedy(&lm, prompt, new, (TIE, tokenizer.eos()))
            });
            let same: Vec<(bool, usize)> = same.collect();
            println!("{ggml_type}: greedy tokens that are the same: {same:?}");
            let whole = same
                .iter()
                .filter(|(_, tokens)| *tokens == NEW_TOKENS)
                .count();
            assert!(
                same.iter().all(|(explained, _)| *explained) && whole >= 3,
                "{same:?}"
            );
        }
    }
}

#[test]
#[ignore = "needs Python with xllamacpp"]
fn llama_cpp_goes_on_as_a_bitnet_model_does() {
    compare(true);
}

#[test]
#[ignore = "needs Python with xllamacpp"]
fn llama_cpp_goes_on_as_a_llama_model_does() {
    compare(false);
}

#[test]
#[ignore = "needs Python with gguf"]
fn the_gguf_package_reads_every_file() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = Tokenizer::characters("to be, or not").unwrap();
    for sub_norm in [true, false] {
        let config = BitNetLmConfig::new(tokenizer.vocab_size(), 256, 1, 4, 256)
            .with_max_positions(16)
            .with_sub_norm(sub_norm)
            .with_activation(GatedActivation::Silu);
        let lm: BitNetLm = config.init(&Device::default());
        let model = PretrainedLm::new(config, CausalLm::Qat(lm));
        for ggml_type in [
            GgmlType::F32,
            GgmlType::F16,
            GgmlType::BF16,
            GgmlType::Q8_0,
            GgmlType::TQ1_0,
            GgmlType::TQ2_0,
        ] {
            let path = folder.path().join(format!("{sub_norm}-{ggml_type}.gguf"));
            let metadata = tokenizer_metadata(&tokenizer, tokenizer.vocab_size());
            let options = gguf::SaveOptions::new(ggml_type).with_tokenizer(Some(metadata));
            gguf::save(&path, &model, &options).unwrap();
            let values = "--values".as_ref();
            let read = python::run("gguf_read.py", &[path.as_os_str(), values]);
            let read: Value = serde_json::from_str(&read).unwrap();
            let reader = GgufReader::open(&path).unwrap();
            let theirs = read["tensors"].as_array().unwrap();
            assert_eq!(theirs.len(), reader.tensors().len());
            for tensor in theirs {
                let ours = reader.tensor(tensor["name"].as_str().unwrap()).unwrap();
                assert_eq!(tensor["type"], ours.ggml_type().to_string());
                let shape: Vec<usize> = serde_json::from_value(tensor["shape"].clone()).unwrap();
                assert_eq!(shape, ours.shape().row_major());
                let values: Vec<f32> = serde_json::from_value(tensor["values"].clone()).unwrap();
                assert!(values == ours.decode().unwrap(), "{}", ours.name());
            }
        }
    }
}

#[test]
#[ignore = "needs Python with gguf"]
fn blocks_of_random_bytes_decode_as_in_the_gguf_package() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("blocks.safetensors");
    let seed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    let seed = seed.unwrap().as_secs().to_string();
    println!("seed {seed}");
    python::run("../data/gguf_blocks.py", &[path.as_os_str(), seed.as_ref()]);
    let bytes = fs::read(&path).unwrap();
    let file = safetensors::SafeTensors::deserialize(&bytes).unwrap();
    let types: Vec<GgmlType> = (0..64)
        .filter_map(GgmlType::from_id)
        .filter(|ggml_type| file.tensor(&format!("{ggml_type}.bytes")).is_ok())
        .collect();
    assert_eq!(types.len(), 12);
    for ggml_type in types {
        let blocks = file.tensor(&format!("{ggml_type}.bytes")).unwrap();
        let theirs = python::floats(&path, &format!("{ggml_type}.values"));
        let shape = gguf::GgufShape::from_row_major(&[1, theirs.len()]).unwrap();
        let mut writer = GgufWriter::new(GgufMetadata::new()).unwrap();
        writer
            .add_bytes("w", ggml_type, shape, blocks.data())
            .unwrap();
        let file = writer.to_bytes().unwrap();
        let reader = GgufReader::from_bytes(file, &gguf::LoadOptions::new()).unwrap();
        let ours = reader.tensor("w").unwrap().decode().unwrap();
        for (ours, theirs) in ours.iter().zip(&theirs) {
            let same = ours.to_bits() == theirs.to_bits() || (ours.is_nan() && theirs.is_nan());
            assert!(same, "{ggml_type}: {ours} for {theirs}");
        }
    }
}

#[test]
#[ignore = "needs Python with xllamacpp and tokenizers"]
fn llama_cpp_has_the_tokens_of_the_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    // With characters of several bytes, which merges build from them.
    let text = format!("{SHAKESPEARE}0123456789 I've DON'T two spaces Gebäck 🦙 日本語");
    let tokenizer = Tokenizer::characters(&text).unwrap();
    let vocab_size = tokenizer.vocab_size();
    let config = BitNetLmConfig::new(vocab_size, 256, 1, 4, 256)
        .with_max_positions(64)
        .with_activation(GatedActivation::Silu);
    let lm: BitNetLm = config.init(&Device::default());
    let model = PretrainedLm::new(config, CausalLm::Qat(lm));
    let path = folder.path().join("model.gguf");
    let options = gguf::SaveOptions::new(GgmlType::TQ2_0)
        .with_tokenizer(Some(tokenizer_metadata(&tokenizer, vocab_size)));
    gguf::save(&path, &model, &options).unwrap();
    tokenizer.save(folder.path()).unwrap();
    let file = folder.path().join("text.txt");
    fs::write(&file, &text).unwrap();
    // It fails where a piece of the text differs.
    let json = folder.path().join("tokenizer.json");
    println!("{}", python::run("gguf_tokenize.py", &[path, json, file]));
}
