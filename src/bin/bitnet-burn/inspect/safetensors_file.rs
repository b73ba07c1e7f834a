//! safetensors files, and folders of Hugging Face.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    path::{Path, PathBuf},
};

use bitnet_burn::interop::hf::{HfConfig, ScaleConvention};
use memmap2::Mmap;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde_json::{Value, json};

use super::{
    Found,
    tensor::{self, Tensor, Values},
};
use crate::error::Failure;

/// Suffix of the name of a packed weight's scale.
const SCALE_SUFFIX: &str = "_scale";

pub fn file(path: &Path, values: bool) -> Result<Found, Failure> {
    let mut metadata = BTreeMap::new();
    let tensors = tensors(path, values, None, &mut metadata)?;
    Ok(Found {
        kind: "safetensors",
        json: json!({"metadata": metadata, "tensors": tensors}),
        text: tensor::text(&tensors),
    })
}

pub fn folder(path: &Path, values: bool) -> Result<Found, Failure> {
    let config_path = path.join("config.json");
    let (mut json, mut text) = (json!({}), String::new());
    let mut convention = None;
    if config_path.is_file() {
        let config = HfConfig::read(&config_path)?;
        let bitnet = config.quantization.as_ref().and_then(|q| q.bitnet());
        convention = bitnet.and_then(|q| q.linear_class);
        let raw = fs::read(&config_path).map_err(Failure::io(&config_path))?;
        json["config"] = serde_json::from_slice(&raw).unwrap_or(Value::Null);
        let lm = &config.lm;
        text = format!(
            "{}, {} layers, d_model {}, d_ff {}, {} heads, {} key and value heads, {} tokens, {} positions, \
             {:?}, {}{}\n",
            config.family.architecture(),
            lm.n_layers,
            lm.d_model,
            lm.d_ff,
            lm.n_heads,
            lm.n_kv_heads.unwrap_or(lm.n_heads),
            lm.vocab_size,
            lm.max_positions,
            lm.activation,
            if lm.tied_embeddings { "tied" } else { "untied" },
            match &config.quantization {
                None => String::new(),
                Some(quantization) => format!(", quantized {quantization}"),
            }
        );
    }
    let mut metadata = BTreeMap::new();
    let mut all = Vec::new();
    for file in files(path)? {
        all.extend(tensors(&file, values, convention, &mut metadata)?);
    }
    let tokenizer = path.join("tokenizer.json").is_file();
    text += if tokenizer {
        "with a tokenizer\n"
    } else {
        "without a tokenizer\n"
    };
    text += &tensor::text(&all);
    json["tokenizer"] = tokenizer.into();
    json["metadata"] = json!(metadata);
    json["tensors"] = json!(all);
    Ok(Found {
        kind: "Hugging Face folder",
        json,
        text,
    })
}

fn files(folder: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = fs::read_dir(folder).map_err(Failure::io(folder))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let is_weights = |path: &PathBuf| path.extension().is_some_and(|name| name == "safetensors");
    let mut paths: Vec<PathBuf> = paths.filter(is_weights).collect();
    paths.sort();
    Ok(paths)
}

pub fn tensors(
    path: &Path,
    read: bool,
    convention: Option<ScaleConvention>,
    metadata: &mut BTreeMap<String, String>,
) -> Result<Vec<Tensor>, Failure> {
    let file = File::open(path).map_err(Failure::io(path))?;
    let length = file.metadata().map_err(Failure::io(path))?.len();
    let wrong = |reason: String| Failure::failed(format!("{}: {reason}", path.display()));
    if length == 0 {
        return Err(wrong(
            "expected a safetensors file, found an empty one".to_string(),
        ));
    }
    // SAFETY: the map is read-only, and its content is checked. As with every reader that maps files,
    // another program that truncates the file meanwhile ends this one.
    let map = unsafe { Mmap::map(&file) }.map_err(Failure::io(path))?;
    let wrong_file = |error: safetensors::SafeTensorError| {
        wrong(format!("expected a safetensors file, found {error}"))
    };
    let (_, header) = SafeTensors::read_metadata(&map).map_err(wrong_file)?;
    metadata.extend(header.metadata().clone().into_iter().flatten());
    let file = SafeTensors::deserialize(&map).map_err(wrong_file)?;
    let mut names = file.names();
    names.sort();
    let tensors = names.into_iter().map(|name| {
        let view = file.tensor(name).map_err(wrong_file)?;
        let values = match read {
            true => values(
                &view,
                file.tensor(&format!("{name}{SCALE_SUFFIX}")).ok(),
                convention,
            ),
            false => Values::Unknown {},
        };
        Ok(Tensor {
            name: name.to_string(),
            dtype: view.dtype().to_string(),
            shape: view.shape().to_vec(),
            bytes: view.data().len(),
            values,
        })
    });
    tensors.collect()
}

fn values(
    view: &TensorView<'_>,
    scale: Option<TensorView<'_>>,
    convention: Option<ScaleConvention>,
) -> Values {
    let is_matrix = view.shape().len() == 2;
    match (view.dtype(), scale) {
        // Four codes of 2 bits per byte, each one more than the weight.
        (Dtype::U8, Some(scale)) => {
            let codes = view
                .data()
                .iter()
                .flat_map(|byte| (0..4).map(move |slot| (byte >> (2 * slot) & 3) as i8 - 1));
            let scale = floats(&scale).and_then(|scale| scale.first().copied());
            let scale = scale.map(|scale| match convention {
                Some(ScaleConvention::Divide) => scale.recip(),
                _ => scale,
            });
            Values::of_codes(codes, scale)
        }
        _ => match floats(view) {
            Some(values) => Values::of_floats(&values, is_matrix),
            None => Values::Unknown {},
        },
    }
}

fn floats(view: &TensorView<'_>) -> Option<Vec<f32>> {
    let data = view.data();
    let halves = || {
        data.as_chunks::<2>()
            .0
            .iter()
            .map(|bytes| u16::from_le_bytes(*bytes))
    };
    Some(match view.dtype() {
        Dtype::F32 => {
            let words = data.as_chunks::<4>().0.iter();
            words.map(|bytes| f32::from_le_bytes(*bytes)).collect()
        }
        Dtype::F16 => halves()
            .map(|bits| half::f16::from_bits(bits).to_f32())
            .collect(),
        Dtype::BF16 => halves()
            .map(|bits| half::bf16::from_bits(bits).to_f32())
            .collect(),
        _ => return None,
    })
}
