//! Folders written by transformers, and folders of this crate loaded by transformers.

use std::{collections::BTreeSet, fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        hf::{LoadOptions, SaveOptions, ScaleConvention, WeightForm, load, save},
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, ProjectionBias, QkNorm, RopeScaling},
    qat::QuantControls,
};
use burn::{
    module::{Initializer, Module, ModuleMapper, Param},
    nn::Linear,
    tensor::{Device, FloatDType, Int, Tensor, TensorData},
};

use super::python;
use crate::values::{Drawn, floats};

/// Tolerance in full precision: logits of about 1 differ by the order of sums of up to 64 terms, over two
/// layers: at most about 300 roundings of 6e-8 each, if all of them have the same sign.
const EXACT: f32 = 2e-5;
/// Tolerance with 8-bit activations: such a difference moves a value next to a tie to the next code, a
/// step of 1/127 of its largest neighbor, and the logits with it. Most prompts have none. In transformers
/// alone, 1e-7 of noise in the weights moves a logit by up to 0.037.
const FLIPPED: f32 = 0.04;

fn tokens(prompts: &[Vec<i32>]) -> Tensor<2, Int> {
    let shape = [prompts.len(), prompts[0].len()];
    let data = TensorData::new(prompts.concat(), shape);
    Tensor::from_data(data, &Device::default())
}

/// Logits of all prompts, concatenated, as the scripts compute them.
fn logits(model: &PretrainedLm, prompts: &[Vec<i32>]) -> Vec<f32> {
    let one = |prompt: &Vec<i32>| {
        let logits = model.lm.forward(tokens(std::slice::from_ref(prompt)));
        logits.into_data().try_to_vec::<f32>().unwrap()
    };
    prompts.iter().flat_map(one).collect()
}

/// Compares the logits of each prompt.
fn assert_same(name: &str, quantized: bool, prompts: usize, ours: &[f32], theirs: &[f32]) {
    assert_eq!(ours.len(), theirs.len(), "{name}");
    let size = ours.len() / prompts;
    let errors = ours.chunks(size).zip(theirs.chunks(size)).map(|(a, b)| {
        let errors = a.iter().zip(b).map(|(a, b)| (a - b).abs());
        errors.fold(0.0, f32::max)
    });
    let errors: Vec<f32> = errors.collect();
    let largest = errors.iter().copied().fold(0.0, f32::max);
    let exact = errors.iter().filter(|error| **error <= EXACT).count();
    println!("{name}: {exact} of {prompts} prompts within {EXACT}, largest difference {largest:e}");
    match quantized {
        true => assert!(
            exact * 3 >= prompts * 2 && largest <= FLIPPED,
            "{name}: {errors:?}"
        ),
        false => assert!(exact == prompts, "{name}: {errors:?}"),
    }
}

fn prompts_of(folder: &Path) -> Vec<Vec<i32>> {
    serde_json::from_slice(&fs::read(folder.join("tokens.json")).unwrap()).unwrap()
}

#[test]
#[ignore = "needs Python with transformers"]
fn folders_of_transformers_have_its_logits_here() {
    let out = tempfile::tempdir().unwrap();
    python::run("transformers_models.py", &[out.path()]);
    for (name, form) in [
        ("llama_full", "full precision"),
        ("llama_rope", "full precision"),
        ("llama_sharded", "full precision"),
        ("bitnet_full", "full precision"),
        ("bitnet_online", "latent weights"),
        ("bitnet_multiply", "packed"),
        ("llama_divide", "packed"),
        ("qwen2", "full precision"),
        ("qwen2_online", "latent weights"),
        ("qwen2_divide", "packed"),
        ("qwen2_multiply", "packed"),
        ("qwen3", "full precision"),
        ("qwen3_tied", "full precision"),
        ("mistral", "full precision"),
        ("llama_biases", "full precision"),
        ("bitnet_biases", "latent weights"),
        ("llama_yarn", "full precision"),
        ("qwen3_yarn", "full precision"),
        ("llama_longrope", "full precision"),
        ("llama_older_rope", "full precision"),
        ("llama_another_head", "full precision"),
        ("bitnet_kept", "latent weights"),
    ] {
        let folder = out.path().join(name);
        let model = load(&folder, &LoadOptions::new(), &Device::default());
        let model = model.unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(model.lm.form(), form, "{name}");
        assert_eq!(model.unknown_keys, [], "{name}");
        let prompts = prompts_of(&folder);
        let theirs = python::floats(folder.join("logits.safetensors"), "logits");
        let quantized = form != "full precision";
        assert_same(
            name,
            quantized,
            prompts.len(),
            &logits(&model, &prompts),
            &theirs,
        );
    }
}

#[test]
#[ignore = "needs Python with transformers"]
fn folders_of_ours_have_the_same_logits_in_transformers() {
    let out = tempfile::tempdir().unwrap();
    let prompts: Vec<Vec<i32>> = (0..12)
        .map(|i| (0..6).map(|j| (i * 37 + j * 11 + i * j) % 64).collect())
        .collect();
    let float = WeightForm::Float(FloatDType::F32);
    let multiply = WeightForm::Packed(ScaleConvention::Multiply);
    let divide = WeightForm::Packed(ScaleConvention::Divide);
    let relu2 = GatedActivation::SquaredRelu;
    let mut folders = Vec::new();
    for (name, sub_norm, activation, quantized, form) in [
        ("bitnet-float", true, relu2, false, float),
        ("bitnet-online", true, relu2, true, float),
        (
            "bitnet-silu-online",
            true,
            GatedActivation::Silu,
            true,
            float,
        ),
        ("bitnet-multiply", true, relu2, true, multiply),
        ("bitnet-divide", true, relu2, true, divide),
        ("llama-float", false, GatedActivation::Silu, false, float),
        ("llama-online", false, GatedActivation::Silu, true, float),
        ("llama-divide", false, GatedActivation::Silu, true, divide),
        (
            "llama-multiply",
            false,
            GatedActivation::Silu,
            true,
            multiply,
        ),
    ] {
        let model = model(sub_norm, activation, quantized);
        let folder = out.path().join(name);
        // Several files for one of them.
        let shard = if name == "llama-online" {
            20_000
        } else {
            1 << 30
        };
        let options = SaveOptions::new(form).with_max_shard_bytes(shard);
        save(&folder, &model, &options).unwrap();
        fs::write(
            folder.join("tokens.json"),
            serde_json::to_vec(&prompts).unwrap(),
        )
        .unwrap();
        folders.push((name, quantized, folder, logits(&model, &prompts)));
    }
    for (name, config, kept, form) in variants() {
        let device = Device::default();
        device.seed(11);
        let full: BitNetLm<Linear> = config.init(&device);
        let full = full.map(&mut Biases(1));
        let quantized = kept.is_some();
        let lm = match kept {
            None => CausalLm::Full(full),
            Some(kept) => {
                let lm = full.into_bitnet(&config.scheme);
                for (_, projection) in lm.projections().filter(|(path, _)| path.ends_with(kept)) {
                    QuantControls::of(projection).set_excluded(true);
                }
                CausalLm::Qat(lm)
            }
        };
        let model = PretrainedLm::new(config, lm);
        let folder = out.path().join(name);
        save(&folder, &model, &SaveOptions::new(form)).unwrap();
        fs::write(
            folder.join("tokens.json"),
            serde_json::to_vec(&prompts).unwrap(),
        )
        .unwrap();
        folders.push((name, quantized, folder, logits(&model, &prompts)));
    }
    let file = out.path().join("logits.safetensors");
    let paths = folders.iter().map(|(_, _, folder, _)| folder.clone());
    let arguments: Vec<_> = [file.clone()].into_iter().chain(paths).collect();
    python::run("transformers_logits.py", &arguments);
    for (name, quantized, _, ours) in &folders {
        let theirs = python::floats(&file, name);
        assert_same(name, *quantized, prompts.len(), ours, &theirs);
    }
}

/// Draws the biases.
struct Biases(u64);

impl ModuleMapper for Biases {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        // Norms are ones.
        match D {
            1 if floats(param.val()).iter().any(|value| *value != 1.0) => {
                self.0 += 1;
                Drawn::new(self.0, 0.5).map_float(param)
            }
            _ => param,
        }
    }
}

/// Models of other families, and the suffixes of projections that stay in full precision where others are
/// quantized.
fn variants() -> Vec<(
    &'static str,
    BitNetLmConfig,
    Option<&'static str>,
    WeightForm,
)> {
    let base = || {
        BitNetLmConfig::new(64, 32, 2, 4, 64)
            .with_n_kv_heads(Some(2))
            .with_max_positions(16)
            .with_sub_norm(false)
            .with_activation(GatedActivation::Silu)
            .with_tied_embeddings(false)
            // Logits of size 1.
            .with_initializer(Initializer::Normal {
                mean: 0.0,
                std: 0.1,
            })
    };
    let yarn = RopeScaling::Yarn {
        factor: 2.0,
        original_max_positions: 8,
        beta_fast: 4.0,
        beta_slow: 1.0,
        truncate: false,
        attention_factor: None,
        mscale: None,
        mscale_all_dim: None,
    };
    let whole = ProjectionBias::new(true, true, true);
    let float = WeightForm::Float(FloatDType::F32);
    let packed = WeightForm::Packed(ScaleConvention::Multiply);
    vec![
        (
            "qwen2-float",
            base().with_bias(ProjectionBias::QKV),
            None,
            float,
        ),
        (
            "qwen3-float",
            base().with_qk_norm(QkNorm::PerHead).with_d_head(Some(12)),
            None,
            float,
        ),
        (
            "llama-biases-float",
            base().with_bias(whole).with_rope_scaling(Some(yarn)),
            None,
            float,
        ),
        (
            "bitnet-kept-online",
            base().with_sub_norm(true),
            Some("down_proj"),
            float,
        ),
        (
            "qwen2-biases-packed",
            base().with_bias(ProjectionBias::QKV),
            Some("no projection"),
            packed,
        ),
        (
            "llama-biases-packed",
            base().with_bias(whole),
            Some("o_proj"),
            packed,
        ),
        (
            "bitnet-kept-packed",
            base().with_sub_norm(true),
            Some("o_proj"),
            packed,
        ),
    ]
}

fn model(sub_norm: bool, activation: GatedActivation, quantized: bool) -> PretrainedLm {
    let device = Device::default();
    device.seed(7);
    let config = BitNetLmConfig::new(64, 32, 2, 4, 64)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16)
        .with_sub_norm(sub_norm)
        .with_activation(activation)
        .with_tied_embeddings(!sub_norm);
    let full: BitNetLm<Linear> = config.init(&device);
    let lm = match quantized {
        true => CausalLm::Qat(full.into_bitnet(&config.scheme)),
        false => CausalLm::Full(full),
    };
    let mut model = PretrainedLm::new(config, lm);
    model.bos_token_id = Some(1);
    model.eos_token_ids = vec![2];
    model
}

/// Writes and reads the checkpoint of transformers whose activations are not near ties: here quantization
/// cannot flip a code.
#[test]
#[ignore = "needs Python with transformers"]
fn a_checkpoint_without_ties_is_the_same_in_transformers_after_we_wrote_it() {
    let out = tempfile::tempdir().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let oracle = fs::read(data.join("i_bitnet_lm_io.safetensors")).unwrap();
    let oracle = safetensors::SafeTensors::deserialize(&oracle).unwrap();
    let ids = oracle.tensor("robust_1x8.input_ids").unwrap();
    let ids = ids.data().chunks_exact(8);
    let prompt: Vec<i32> = ids
        .map(|bytes| i64::from_le_bytes(bytes.try_into().unwrap()) as i32)
        .collect();
    let prompts = vec![prompt];
    let model = load(
        data.join("i_tiny_bitnet"),
        &LoadOptions::new(),
        &Device::default(),
    );
    let model = model.unwrap();
    let ours = logits(&model, &prompts);
    let file = out.path().join("logits.safetensors");
    let mut arguments = vec![file.clone()];
    for (name, form) in [
        ("master", WeightForm::Float(FloatDType::F32)),
        ("multiply", WeightForm::Packed(ScaleConvention::Multiply)),
        ("divide", WeightForm::Packed(ScaleConvention::Divide)),
    ] {
        let folder = out.path().join(name);
        save(&folder, &model, &SaveOptions::new(form)).unwrap();
        fs::write(
            folder.join("tokens.json"),
            serde_json::to_vec(&prompts).unwrap(),
        )
        .unwrap();
        arguments.push(folder);
    }
    python::run("transformers_logits.py", &arguments);
    for name in ["master", "multiply", "divide"] {
        assert_same(name, false, 1, &ours, &python::floats(&file, name));
    }
}

#[test]
#[ignore = "needs Python with safetensors"]
fn the_safetensors_package_reads_every_shard() {
    let out = tempfile::tempdir().unwrap();
    let model = model(true, GatedActivation::SquaredRelu, true);
    for (name, form) in [
        ("f32", WeightForm::Float(FloatDType::F32)),
        ("bf16", WeightForm::Float(FloatDType::BF16)),
        ("f16", WeightForm::Float(FloatDType::F16)),
        ("packed", WeightForm::Packed(ScaleConvention::Divide)),
    ] {
        let folder = out.path().join(name);
        let options = SaveOptions::new(form).with_max_shard_bytes(10_000);
        save(&folder, &model, &options).unwrap();
        let index = fs::read(folder.join("model.safetensors.index.json")).unwrap();
        let index: serde_json::Value = serde_json::from_slice(&index).unwrap();
        let weight_map = index["weight_map"].as_object().unwrap();
        let files: BTreeSet<&str> = weight_map
            .values()
            .filter_map(|file| file.as_str())
            .collect();
        assert!(files.len() > 1, "{name}");
        let paths: Vec<_> = files.iter().map(|file| folder.join(file)).collect();
        let read = python::run("safetensors_read.py", &paths);
        let read: serde_json::Value = serde_json::from_str(&read).unwrap();
        let tensors = |file: &str| read[file].as_object().unwrap().len();
        let found: usize = files.iter().map(|file| tensors(file)).sum();
        assert_eq!(found, weight_map.len(), "{name}");
        for (tensor, file) in weight_map {
            let theirs = &read[file.as_str().unwrap()][tensor];
            let bytes = fs::read(folder.join(file.as_str().unwrap())).unwrap();
            let ours = safetensors::SafeTensors::deserialize(&bytes).unwrap();
            let shape = serde_json::json!(ours.tensor(tensor).unwrap().shape());
            assert_eq!(theirs["shape"], shape, "{tensor}");
            assert!(theirs["sum"].as_f64().unwrap().is_finite(), "{tensor}");
        }
    }
}
