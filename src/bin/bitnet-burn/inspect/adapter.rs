//! Adapters: folders of peft, and those in GGUF.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt, fs,
    path::Path,
};

use bitnet_burn::{
    interop::{
        gguf::{GgufError, GgufMetadata},
        peft,
    },
    peft::{LoraConfig, PeftConfig},
};
use serde::Serialize;
use serde_json::{Value, json};

use super::{
    Found, safetensors_file,
    tensor::{self, Tensor},
};
use crate::{
    adapter_file::{PEFT_CONFIG, PEFT_TENSORS},
    error::Failure,
};

/// Parts of names of tensors behind the module that they adapt.
const PARTS: [&str; 7] = [
    ".lora_A",
    ".lora_embedding_A",
    ".lora_a",
    ".ia3_l",
    ".lora_B",
    ".lora_embedding_B",
    ".lora_b",
];

/// Method, size and targets of an adapter.
#[derive(Serialize)]
pub struct Summary {
    /// Name of the method, as that of `finetune --peft`.
    method: &'static str,
    /// The method with its settings, in words.
    #[serde(skip)]
    words: String,
    /// Smallest and largest number of directions of a module.
    #[serde(skip_serializing_if = "Option::is_none")]
    ranks: Option<[usize; 2]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rank: Option<usize>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alpha: Option<f64>,
    /// Factor of the product of the rank.
    #[serde(skip_serializing_if = "Option::is_none")]
    scaling: Option<f64>,
    /// Last names of the adapted modules.
    targets: BTreeSet<String>,
    /// Number of adapted modules.
    modules: usize,
    /// Number of values.
    parameters: usize,
}

impl Summary {
    fn new(method: &'static str, words: String, tensors: &[Tensor]) -> Self {
        let modules: BTreeSet<&str> = tensors.iter().filter_map(module).collect();
        let ranks = tensors.iter().filter_map(rank);
        let ranks = ranks.clone().min().zip(ranks.max());
        let last = |module: &&str| module.rsplit('.').next().unwrap_or(module).to_string();
        Self {
            method,
            words,
            ranks: ranks.map(|(min, max)| [min, max]),
            rank: None,
            alpha: None,
            scaling: None,
            targets: modules.iter().map(last).collect(),
            modules: modules.len(),
            parameters: tensors
                .iter()
                .map(|t| t.shape.iter().product::<usize>())
                .sum(),
        }
    }

    fn with_scale(mut self, rank: usize, alpha: f64, scaling: f64) -> Self {
        self.rank = Some(rank);
        self.alpha = Some(alpha);
        self.scaling = Some(scaling);
        self
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.words)?;
        if let Some(scaling) = self.scaling {
            write!(f, "scale {scaling}, ")?;
        }
        match self.ranks {
            Some([min, max]) if Some(min) != self.rank || Some(max) != self.rank => {
                write!(f, "{min} to {max} directions in a module, ")?;
            }
            _ => {}
        }
        let parameters = self.parameters;
        match self.modules {
            0 => writeln!(f, "{parameters} parameters"),
            modules => {
                let targets: Vec<&str> = self.targets.iter().map(String::as_str).collect();
                let targets = targets.join(", ");
                writeln!(f, "{parameters} parameters in {modules} modules: {targets}")
            }
        }
    }
}

/// Returns the module that a tensor adapts.
fn module(tensor: &Tensor) -> Option<&str> {
    let found = PARTS.iter().find_map(|part| tensor.name.find(part));
    let module = &tensor.name[..found?];
    Some(module.strip_suffix(".weight").unwrap_or(module))
}

/// Returns the number of rows of a factor `A`.
fn rank(tensor: &Tensor) -> Option<usize> {
    let mut parts = PARTS[..3].iter();
    let is_a = parts.any(|part| tensor.name.contains(part));
    is_a.then(|| tensor.shape.first().copied())?
}

pub fn folder(path: &Path, values: bool) -> Result<Found, Failure> {
    let config_path = path.join(PEFT_CONFIG);
    let config = peft::load(path)?.config;
    let raw = fs::read(&config_path).map_err(Failure::io(&config_path))?;
    let raw: Value = serde_json::from_slice(&raw).unwrap_or(Value::Null);
    let mut metadata = BTreeMap::new();
    let file = path.join(PEFT_TENSORS);
    let tensors = safetensors_file::tensors(&file, values, None, &mut metadata)?;
    let summary = of_peft(&config, &tensors);
    Ok(Found {
        kind: "adapter folder of peft",
        text: format!("{summary}{}", tensor::text(&tensors)),
        json: json!({
            "adapter": summary,
            "config": raw,
            "metadata": metadata,
            "tensors": tensors,
        }),
    })
}

fn of_peft(config: &PeftConfig, tensors: &[Tensor]) -> Summary {
    let summary = |method| Summary::new(method, config.to_string(), tensors);
    match config {
        PeftConfig::Lora(lora) => {
            let root = match lora.use_rslora {
                true => (lora.rank as f64).sqrt(),
                false => lora.rank as f64,
            };
            summary(name(lora)).with_scale(lora.rank, lora.alpha, lora.alpha / root)
        }
        PeftConfig::AdaLora(lora) => {
            let rank = lora.init_r;
            summary("adalora").with_scale(rank, lora.alpha, lora.alpha / rank as f64)
        }
        PeftConfig::Ia3(_) => summary("ia3"),
        PeftConfig::BitFit(_) => summary("bitfit"),
        PeftConfig::PrefixTuning(_) => summary("prefix"),
        PeftConfig::PTuning(_) => summary("p-tuning"),
        PeftConfig::PromptTuning(_) => summary("prompt"),
    }
}

fn name(lora: &LoraConfig) -> &'static str {
    match (lora.use_dora, lora.use_rslora) {
        (true, _) => "dora",
        (false, true) => "rslora",
        (false, false) => "lora",
    }
}

/// Returns the summary of an adapter in GGUF, whose ranks are those of its tensors.
pub fn of_gguf(metadata: &GgufMetadata, tensors: &[Tensor]) -> Result<Summary, GgufError> {
    let alpha: Option<f32> = metadata.optional("adapter.lora.alpha")?;
    let architecture = metadata.optional::<&str>("general.architecture")?;
    let rank = tensors.iter().find_map(rank).unwrap_or(0);
    // llama.cpp takes no alpha for a scale of 1.
    let alpha = alpha.filter(|alpha| *alpha != 0.0);
    let alpha = alpha.map_or(rank as f64, f64::from);
    let words = format!(
        "LoRA of rank {rank}, alpha {alpha}, for the architecture {}",
        architecture.unwrap_or("that it does not name")
    );
    let scaling = alpha / rank.max(1) as f64;
    Ok(Summary::new("lora", words, tensors).with_scale(rank, alpha, scaling))
}
