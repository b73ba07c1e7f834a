use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use burn::tensor::TensorData;
use serde_json::Value;

use super::{
    Architecture, GgufError, GgufReader, GgufTensor,
    adapter::{ADAPTER, ALPHA_KEY, Factor, KEYS, LORA, TYPE_KEY},
    json_value,
    scalar::shortest,
    tensor_problems::TensorProblems,
};
use crate::{
    base::key_table::UnknownKey,
    interop::{
        architecture::{self, Parameter},
        checks,
        peft::AdapterFolder,
    },
    nn::BitNetLmConfig,
    peft::{LoraConfig, TargetModules},
};

/// Reads a LoRA adapter of llama.cpp, as that of a folder of peft: it is
/// [attached](AdapterFolder::attach) to a language model in the same way. `model` is the architecture of that.
///
/// The configuration has the ranks of the tensors, and names the modules that have some.
///
/// # Errors
///
/// If the file cannot be read or is damaged, is no LoRA adapter of the architecture, is one that is active behind some
/// tokens alone, or tensors are missing, of another shape, not finite, or none of a projection.
///
/// # Example
///
/// ```no_run
/// use bitnet_burn::interop::{CausalLm, gguf, peft};
/// use burn::tensor::Device;
///
/// let model = gguf::load("model.gguf", &gguf::LoadOptions::new(), &Device::default())?;
/// let adapter = gguf::load_adapter("adapter.gguf", &model.config)?;
/// if let CausalLm::Packed(lm) = model.lm {
///     let lm = adapter.attach(lm, "default")?;
///     peft::save("adapter", &lm, "default", &adapter.config)?;
/// }
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn load_adapter(
    path: impl AsRef<Path>,
    model: &BitNetLmConfig,
) -> Result<AdapterFolder, GgufError> {
    let path = path.as_ref();
    let reader = GgufReader::open(path)?;
    read(&reader, model, path).map_err(|error| error.in_file(path))
}

fn read(
    reader: &GgufReader,
    model: &BitNetLmConfig,
    path: &Path,
) -> Result<AdapterFolder, GgufError> {
    let architecture = check_kind(reader, model)?;
    let unknown_keys = check_keys(reader)?;
    let alpha: Option<f32> = reader.metadata().optional(ALPHA_KEY)?;
    let table = architecture::parameters(model);
    let ranks = ranks(reader, &table)?;
    let mut tensors = BTreeMap::new();
    for (weight, rank) in &ranks {
        for factor in Factor::BOTH {
            let data = data(reader, architecture, weight, *rank, factor)?;
            tensors.insert(factor.peft(weight), data);
        }
    }
    let config = config(&table, &ranks, alpha)?;
    Ok(AdapterFolder::new(config, unknown_keys, tensors, path))
}

/// Refuses files of another kind, and adapters of another architecture.
fn check_kind(reader: &GgufReader, model: &BitNetLmConfig) -> Result<Architecture, GgufError> {
    let metadata = reader.metadata();
    for (key, expected) in [("general.type", ADAPTER), (TYPE_KEY, LORA)] {
        let found: &str = metadata.required(key)?;
        if found != expected {
            return Err(GgufError::unsupported(key, found, expected));
        }
    }
    let key = "general.architecture";
    let found: &str = metadata.required(key)?;
    let architecture = Architecture::for_config(model);
    match Architecture::of(found) == Some(architecture) {
        true => Ok(architecture),
        false => {
            let supported = format!("that of the model, {}", architecture.name());
            Err(GgufError::unsupported(key, found, supported))
        }
    }
}

/// Returns the keys that nobody knows.
fn check_keys(reader: &GgufReader) -> Result<Vec<UnknownKey>, GgufError> {
    const PREFIX: &str = "adapter.";
    let values: Vec<(&str, Value)> = (reader.metadata().iter())
        .filter_map(|(key, value)| Some((key.strip_prefix(PREFIX)?, json_value::one(value))))
        .collect();
    let values = values.iter().map(|(key, value)| (*key, value));
    let mut unknown = KEYS.check("GGUF", values).map_err(|refused| {
        let key = format!("{PREFIX}{}", refused.key);
        GgufError::unsupported(key, refused.found, refused.supported)
    })?;
    for unknown in &mut unknown {
        unknown.key.insert_str(0, PREFIX);
    }
    Ok(unknown)
}

/// The weights that have an adapter, with its rank.
fn ranks<'a>(
    reader: &GgufReader,
    table: &'a [Parameter],
) -> Result<Vec<(&'a Parameter, usize)>, GgufError> {
    let mut problems = TensorProblems::default();
    let (mut ranks, mut known) = (Vec::new(), BTreeSet::new());
    for weight in table.iter().filter(|p| p.is_projection()) {
        let names = Factor::BOTH.map(|factor| factor.gguf(weight));
        let found = names.each_ref().map(|name| reader.tensor(name).ok());
        if let [None, None] = found {
            continue;
        }
        // The first is there for the rank of both.
        let rank = found[0].map_or(1, |a| a.shape().rows() as usize);
        for ((factor, name), tensor) in Factor::BOTH.iter().zip(&names).zip(found) {
            let expected = factor.shape(weight, rank);
            if let Some(problem) = problem(tensor, expected) {
                problems.add(name, problem);
            }
        }
        known.extend(names);
        ranks.push((weight, rank));
    }
    for tensor in reader.tensors().filter(|t| !known.contains(t.name())) {
        problems.add(
            tensor.name(),
            "no factor of a projection of the model".to_string(),
        );
    }
    problems.into_result()?;
    match ranks.is_empty() {
        false => Ok(ranks),
        true => Err(GgufError::model("the adapter has no tensors")),
    }
}

/// Returns the problem with the shape or the type of a factor.
fn problem(tensor: Option<GgufTensor<'_>>, [rows, row_len]: [usize; 2]) -> Option<String> {
    let expected = [rows, row_len];
    let Some(tensor) = tensor else {
        return Some(format!("missing, expected {expected:?}"));
    };
    let shape = tensor.shape();
    if [shape.rows(), shape.row_len()] != expected.map(|size| size as u64) {
        let found = shape.row_major();
        return Some(format!("expected shape {expected:?}, found {found:?}"));
    }
    let ggml_type = tensor.ggml_type();
    (!ggml_type.is_decoded()).then(|| format!("the type {ggml_type} is not read here"))
}

/// The values of a factor in the layout of peft.
fn data(
    reader: &GgufReader,
    architecture: Architecture,
    weight: &Parameter,
    rank: usize,
    factor: Factor,
) -> Result<TensorData, GgufError> {
    let tensor = reader.tensor(&factor.gguf(weight))?;
    let values = tensor.decode()?;
    if let Some((index, value)) = checks::first_not_finite(&values) {
        let name = tensor.name();
        return Err(GgufError::model(format!(
            "{name}: number {index} is {value}"
        )));
    }
    let values = match factor {
        Factor::A => values,
        Factor::B => architecture.unpermute_rope_heads(weight, values),
    };
    Ok(TensorData::new(values, factor.shape(weight, rank)))
}

/// The configuration that gives the adapters of these ranks.
fn config(
    table: &[Parameter],
    ranks: &[(&Parameter, usize)],
    alpha: Option<f32>,
) -> Result<LoraConfig, GgufError> {
    let rank = ranks[0].1;
    // llama.cpp takes no alpha for a factor of 1.
    let alpha = alpha.filter(|alpha| *alpha != 0.0).map(shortest);
    let mut config = LoraConfig::new(rank)
        .with_alpha(alpha.unwrap_or(rank as f64))
        .with_targets(targets(table, ranks));
    for (weight, other) in ranks.iter().filter(|(_, other)| *other != rank) {
        let module = weight.module().to_string();
        if alpha.is_none() {
            config.alpha_pattern.insert(module.clone(), *other as f64);
        }
        config.rank_pattern.insert(module, *other);
    }
    let checked = config.validate();
    checked.map_err(|error| GgufError::model(format!("key `{ALPHA_KEY}`: {error}")))?;
    Ok(config)
}

/// The modules of the weights: by their last names, where all of a name have an adapter, and else by whole ones.
fn targets(table: &[Parameter], ranks: &[(&Parameter, usize)]) -> TargetModules {
    let modules: BTreeSet<&str> = ranks.iter().map(|(weight, _)| weight.module()).collect();
    let last = |module: &str| module.rsplit('.').next().unwrap_or(module).to_string();
    let names: BTreeSet<String> = modules.iter().map(|module| last(module)).collect();
    let is_there = |weight: &Parameter| {
        !names.contains(&last(weight.module())) || modules.contains(weight.module())
    };
    match table.iter().filter(|p| p.is_projection()).all(is_there) {
        true => TargetModules::names(names),
        false => TargetModules::names(modules),
    }
}
