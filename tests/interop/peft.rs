//! Adapter folders of this crate in peft, and folders of peft here.

use std::{collections::BTreeMap, fs, path::Path};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm, hf,
        peft::{load, save},
    },
    nn::{BitNetLm, BitNetLmConfig, GatedActivation, Projection, ProjectionBias},
    peft::{
        AdaLoraConfig, Ia3Config, LoraBias, LoraConfig, PTuningConfig, PeftConfig,
        PrefixTuningConfig, PromptTuningConfig, TargetModules,
    },
};
use burn::{
    module::{Initializer, Module, ModuleMapper, Param},
    nn::Linear,
    tensor::{Device, FloatDType, Int, Tensor, TensorData},
};
use safetensors::SafeTensors;

use super::python;
use crate::values::{Drawn, ROUNDING, assert_within, floats};

/// Models with the adapters: without biases, with all of them, and with the embedding table as the head.
const BASES: [&str; 3] = ["plain", "biased", "tied"];
/// Change of a logit below which an adapter would not be noticed.
const EFFECT: f32 = 0.05;

fn config(base: &str) -> BitNetLmConfig {
    let biased = base == "biased";
    BitNetLmConfig::new(64, 32, 2, 4, 48)
        .with_n_kv_heads(Some(2))
        .with_max_positions(32)
        .with_sub_norm(false)
        .with_activation(GatedActivation::Silu)
        .with_bias(ProjectionBias::new(biased, biased, biased))
        .with_tied_embeddings(base == "tied")
        // Logits of size 1.
        .with_initializer(Initializer::Normal {
            mean: 0.0,
            std: 0.1,
        })
}

/// Returns a model, the same for the same name.
fn model(base: &str) -> BitNetLm<Linear> {
    let lm: BitNetLm<Linear> = config(base).init(&Device::default().autodiff());
    lm.map(&mut Norms(Drawn::new(100, 0.1)))
}

/// Draws all values, and adds 1 to those of norms.
struct Norms(Drawn);

impl ModuleMapper for Norms {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let is_ones = floats(param.val().slice_dim(0, 0..1))
            .iter()
            .all(|v| *v == 1.0);
        let drawn = self.0.map_float(param);
        match is_ones {
            true => drawn.map(|value| (value + 1.0).detach().require_grad()),
            false => drawn,
        }
    }
}

/// Draws the values that train.
struct Trained(Drawn);

impl ModuleMapper for Trained {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match param.is_require_grad() {
            true => self.0.map_float(param),
            false => param,
        }
    }
}

fn prompts() -> Vec<Vec<i32>> {
    let prompt = |i: i32| (0..6).map(|j| (i * 37 + j * 11 + i * j) % 64).collect();
    (0..4).map(prompt).collect()
}

/// Returns the logits of all prompts, one after the other.
fn logits<P: Projection>(lm: &BitNetLm<P>) -> Vec<f32> {
    let one = |prompt: Vec<i32>| {
        let data = TensorData::new(prompt.clone(), [1, prompt.len()]);
        floats(lm.forward(Tensor::<2, Int>::from_data(
            data,
            &Device::default().autodiff(),
        )))
    };
    prompts().into_iter().flat_map(one).collect()
}

/// Adapters that this crate writes: their bases, and the deviation of their values.
fn ours() -> Vec<(&'static str, &'static str, PeftConfig, f32)> {
    let names = |names: &[&str]| TargetModules::names(names.iter().copied());
    let lora = || LoraConfig::new(4).with_alpha(6.0);
    let mut patterns = lora().with_targets(TargetModules::AllLinear);
    patterns.rank_pattern.insert("q_proj".to_string(), 2);
    let down = "layers.1.mlp.down_proj".to_string();
    patterns.rank_pattern.insert(down, 3);
    patterns.alpha_pattern.insert("k_proj".to_string(), 3.0);
    let mut layers = lora().with_targets(names(&["q_proj", "up_proj"]));
    layers.targets.layers_to_transform = Some(vec![1]);
    let rslora = lora().with_rslora();
    let dora = lora().with_dora().with_targets(TargetModules::AllLinear);
    let mut bias_all = lora();
    bias_all.bias = LoraBias::All;
    let mut bias_lora_only = lora().with_targets(names(&["o_proj", "gate_proj"]));
    bias_lora_only.bias = LoraBias::LoraOnly;
    let mut saved = lora();
    saved.modules_to_save = vec!["lm_head".to_string(), "model.norm".to_string()];
    let mut saved_embedding = lora();
    saved_embedding.modules_to_save = vec!["embed_tokens".to_string()];
    let adalora = AdaLoraConfig::new(9)
        .with_ranks(4, 2)
        .with_targets(TargetModules::AllLinear);
    let mut adalora_saved = adalora.clone();
    adalora_saved.modules_to_save = vec!["lm_head".to_string()];
    let ia3_saved = Ia3Config {
        modules_to_save: vec!["lm_head".to_string()],
        ..Default::default()
    };
    let mut with_head = PromptTuningConfig::new(3);
    with_head.modules_to_save = vec!["lm_head".to_string()];
    let prefix = PrefixTuningConfig::new(3);
    let p_tuning = PTuningConfig::new(3).with_encoder_hidden_size(6);
    vec![
        ("lora", "plain", patterns.into(), 0.1),
        ("lora_of_layers", "plain", layers.into(), 0.1),
        (
            "rslora",
            "plain",
            rslora
                .with_targets(TargetModules::Pattern(r".*\.(v|down)_proj".to_string()))
                .into(),
            0.1,
        ),
        ("dora", "biased", dora.into(), 0.1),
        ("bias_all", "biased", bias_all.into(), 0.1),
        ("bias_lora_only", "biased", bias_lora_only.into(), 0.1),
        ("saved", "plain", saved.into(), 0.1),
        ("saved_embedding", "tied", saved_embedding.into(), 0.1),
        (
            "ends",
            "plain",
            lora()
                .with_targets(names(&["embed_tokens", "lm_head", "q_proj"]))
                .into(),
            0.1,
        ),
        (
            "tied_end",
            "tied",
            lora()
                .with_targets(names(&["embed_tokens", "v_proj"]))
                .into(),
            0.1,
        ),
        ("adalora", "biased", adalora.clone().into(), 0.3),
        ("adalora_saved", "plain", adalora_saved.into(), 0.3),
        ("ia3", "biased", Ia3Config::default().into(), 0.8),
        ("ia3_saved", "plain", ia3_saved.into(), 0.2),
        ("prefix", "plain", prefix.clone().into(), 0.5),
        (
            "prefix_projected",
            "plain",
            prefix.with_projection(Some(6)).into(),
            0.5,
        ),
        ("p_tuning", "plain", p_tuning.into(), 0.5),
        ("prompt", "plain", PromptTuningConfig::new(3).into(), 0.5),
        ("prompt_with_head", "tied", with_head.into(), 0.2),
    ]
}

/// Writes the bases and the adapters of this crate. Returns the logits with each.
fn written(folder: &Path) -> BTreeMap<&'static str, Vec<f32>> {
    fs::write(
        folder.join("tokens.json"),
        serde_json::to_vec(&prompts()).unwrap(),
    )
    .unwrap();
    for base in BASES {
        let model = PretrainedLm::new(config(base), CausalLm::Full(model(base)));
        let options = hf::SaveOptions::new(hf::WeightForm::Float(FloatDType::F32));
        hf::save(folder.join("bases").join(base), &model, &options).unwrap();
    }
    let (mut bases, mut expected) = (BTreeMap::new(), BTreeMap::new());
    for (name, base, config, deviation) in ours() {
        let (lm, _) = model(base).with_adapter("default", &config).unwrap();
        let lm = lm.map(&mut Trained(Drawn::new(7, deviation)));
        save(folder.join("ours").join(name), &lm, "default", &config).unwrap();
        bases.insert(name, base);
        expected.insert(name, logits(&lm));
    }
    fs::write(
        folder.join("bases.json"),
        serde_json::to_vec(&bases).unwrap(),
    )
    .unwrap();
    expected
}

/// Asserts the same logits, and others than those of the base.
fn assert_same(ours: &[f32], theirs: &[f32], base: &[f32], name: &str) {
    let largest = theirs.iter().fold(1.0f32, |a, b| a.max(b.abs()));
    // Sums of up to 64 terms in another order, over two layers: at most about 300 roundings of logits of this size, if
    // all of them have the same sign.
    let bound = 300.0 * ROUNDING * f64::from(largest);
    let worst = assert_within(ours, theirs, |_| bound, name);
    let changes = theirs.iter().zip(base).map(|(a, b)| (a - b).abs());
    let effect = changes.fold(0.0, f32::max);
    println!(
        "{name}: {:.1}% of the bound, changes logits by {effect:.2}",
        100.0 * worst
    );
    assert!(effect > EFFECT, "{name}: {effect}");
}

#[test]
#[ignore = "needs Python with peft"]
fn adapters_have_the_same_logits_here_and_in_peft() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let ours = written(folder);
    python::run("peft_adapters.py", &[folder]);
    let file = folder.join("logits.safetensors");
    let base_logits = BASES.map(|base| (base, python::floats(&file, base)));
    let base_logits = BTreeMap::from(base_logits);
    for base in BASES {
        let bound = 300.0 * ROUNDING * 2.0;
        assert_within(&logits(&model(base)), &base_logits[base], |_| bound, base);
    }
    for (name, base, ..) in self::ours() {
        let theirs = python::floats(&file, &format!("ours.{name}"));
        assert_same(
            &ours[name],
            &theirs,
            &base_logits[base],
            &format!("ours, {name}"),
        );
    }
    let bytes = fs::read(&file).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let mut number = 0;
    for key in tensors.names() {
        let Some((name, base)) = key
            .strip_prefix("theirs.")
            .and_then(|key| key.split_once('.'))
        else {
            continue;
        };
        number += 1;
        let adapter = load(folder.join("theirs").join(name)).unwrap();
        assert_eq!(adapter.unknown_keys, [], "{name}");
        let lm = adapter.attach(model(base), "default");
        let lm = lm.unwrap_or_else(|error| panic!("{name}: {error}"));
        let theirs = python::floats(&file, key);
        assert_same(
            &logits(&lm),
            &theirs,
            &base_logits[base],
            &format!("theirs, {name}"),
        );
    }
    assert_eq!(number, 19);
}
