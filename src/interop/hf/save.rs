use std::{
    borrow::Cow,
    cell::RefCell,
    collections::{BTreeMap, HashMap},
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{FloatDType, TensorReadError};
use safetensors::{Dtype, View};
use serde_json::{Map, json};

use super::{
    Family, HfError, QuantizationConfig, ScaleConvention,
    checkpoint::{INDEX_FILE, SINGLE_FILE, ShardIndex},
    config_json::config_json,
    floats::{self, file_dtype},
    folder::NewFolder,
    packed_rows,
    tensors::{SCALE_SUFFIX, expected},
};
use crate::{
    interop::{CausalLm, PretrainedLm, parameters},
    nn::{BitLinear, BitNetLm, PackedBitLinear, Projection},
    qat::PackedWeight,
};

/// Entry of the `__metadata__` of our files: scales whose reciprocal is not exact, as the bits of an
/// f32 by the name of the weight.
pub(super) const EXACT_SCALES: &str = "bitnet_burn.gamma";

/// The form that weights are written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WeightForm {
    /// Floats: full precision, or latent weights to train on with.
    Float(FloatDType),
    /// Codes of 2 bits, four in a byte, and a scale.
    Packed(ScaleConvention),
}

/// How a folder is written.
#[derive(Debug, Clone, PartialEq)]
pub struct SaveOptions {
    /// Form of the weights.
    pub form: WeightForm,
    /// Names of architecture and tensors; `None` for those that transformers knows.
    pub family: Option<Family>,
    /// Bytes of tensors in a file, unless a single one has more.
    pub max_shard_bytes: usize,
    /// A folder whose tokenizer files are copied.
    pub tokenizer: Option<PathBuf>,
    /// Whether a model in the folder is replaced.
    pub overwrite: bool,
}

impl SaveOptions {
    /// A new folder with files of up to 5 GB, as transformers writes them.
    pub fn new(form: WeightForm) -> Self {
        Self {
            form,
            family: None,
            max_shard_bytes: 5_000_000_000,
            tokenizer: None,
            overwrite: false,
        }
    }

    /// Names of this family.
    pub fn with_family(mut self, family: Option<Family>) -> Self {
        self.family = family;
        self
    }

    /// Files of up to so many bytes of tensors.
    pub fn with_max_shard_bytes(mut self, bytes: usize) -> Self {
        self.max_shard_bytes = bytes;
        self
    }

    /// Copies the tokenizer files of a folder.
    pub fn with_tokenizer(mut self, folder: Option<PathBuf>) -> Self {
        self.tokenizer = folder;
        self
    }

    /// Whether a model in the folder is replaced.
    pub fn with_overwrite(mut self, overwrite: bool) -> Self {
        self.overwrite = overwrite;
        self
    }
}

/// Writes a folder that transformers loads: `config.json` and safetensors files.
///
/// Models with norms before the last projections are written as `BitNetForCausalLM`, others as the first of
/// `LlamaForCausalLM`, `Qwen2ForCausalLM`, `Qwen3ForCausalLM` and `MistralForCausalLM` that has their parts.
/// [Loading](super::load) it gives the same logits, bit for bit, where the form
/// keeps the parameters, which f32 does, and packing does for quantised models.
///
/// Everything is written beside the folder first, so that a model that is there stays until the new one
/// is whole.
///
/// # Errors
///
/// If the folder has something in it and may not be overwritten, cannot be written, or the model cannot
/// be expressed in this form: weights in full precision are not packed, packed ones have no latent
/// weights any more, other programs know no quantiser but that of BitNet b1.58, and a weight that is NaN or
/// infinite is none.
pub fn save(
    folder: impl AsRef<Path>,
    model: &PretrainedLm,
    options: &SaveOptions,
) -> Result<(), HfError> {
    let folder = folder.as_ref();
    let family = family(model, options)?;
    check_form(&model.lm, options.form)?;
    let full_precision = full_precision(&model.lm);
    if family == Family::OneBitLlm && !full_precision.is_empty() {
        let name = &full_precision[0];
        return Err(HfError::unwritable(format!(
            "folders of 1bitLLM have no word for projections in full precision, such as {name}: write the \
             model as BitNetForCausalLM"
        )));
    }
    let new = NewFolder::create(folder, options.overwrite)?;
    let packed = matches!(options.form, WeightForm::Packed(_));
    let mut entries = entries(model, family, options.form)?;
    let is_packed = |path: &str| packed && !full_precision.iter().any(|name| name == path);
    let expected = expected(&model.config, family, is_packed);
    let order: Vec<Entry> = expected
        .iter()
        .map(|tensor| {
            let entry = entries.remove(&tensor.name);
            entry
                .filter(|entry| entry.shape == tensor.shape)
                .ok_or_else(|| {
                    let name = &tensor.name;
                    HfError::unwritable(format!(
                        "the model has no {name} as its configuration has it"
                    ))
                })
        })
        .collect::<Result<_, _>>()?;
    let (dtype, quantization) = match (options.form, &model.lm) {
        (WeightForm::Packed(convention), _) => (
            FloatDType::F32,
            Some(QuantizationConfig::offline(convention, full_precision)),
        ),
        (WeightForm::Float(dtype), CausalLm::Qat(_)) => {
            (dtype, Some(QuantizationConfig::online(full_precision)))
        }
        (WeightForm::Float(dtype), _) => (dtype, None),
    };
    let json = config_json(model, family, dtype_name(dtype), quantization);
    write_json(&new.file("config.json"), &json)?;
    write_shards(&new, order, options)?;
    if let Some(tokenizer) = &options.tokenizer {
        new.copy_tokenizer(tokenizer)?;
    }
    new.finish()
}

fn dtype_name(dtype: FloatDType) -> &'static str {
    match dtype {
        FloatDType::F16 => "float16",
        FloatDType::BF16 => "bfloat16",
        _ => "float32",
    }
}

fn family(model: &PretrainedLm, options: &SaveOptions) -> Result<Family, HfError> {
    let family = options.family.unwrap_or(Family::for_config(&model.config));
    if let Some(problem) = family.problem(&model.config) {
        return Err(HfError::unwritable(problem));
    }
    if family == Family::OneBitLlm && matches!(options.form, WeightForm::Packed(_)) {
        return Err(HfError::unwritable(
            "folders of 1bitLLM hold latent weights: write packed ones as BitNetForCausalLM",
        ));
    }
    Ok(family)
}

fn check_form(lm: &CausalLm, form: WeightForm) -> Result<(), HfError> {
    match (lm, form) {
        (CausalLm::Full(_), WeightForm::Packed(_)) => Err(HfError::unwritable(
            "weights in full precision cannot be packed: make the model a BitNet model first \
             (BitNetLm::into_bitnet) and train it, or its outputs will be far off",
        )),
        (CausalLm::Packed(_), WeightForm::Float(_)) => Err(HfError::unwritable(
            "a packed model has no latent weights any more: programs that quantise again what was \
             unpacked take a smaller scale; write it packed",
        )),
        (CausalLm::Full(_), WeightForm::Float(_)) => Ok(()),
        (CausalLm::Qat(lm), _) => check_b1_58(lm, |p| p.is_b1_58() || p.is_full_precision()),
        (CausalLm::Packed(lm), _) => check_b1_58(lm, |p| p.is_b1_58() || p.is_full_precision()),
    }
}

/// The projections of a quantised model that stay in full precision.
fn full_precision(lm: &CausalLm) -> Vec<String> {
    match lm {
        CausalLm::Full(_) => Vec::new(),
        CausalLm::Qat(lm) => paths(lm, BitLinear::is_full_precision),
        CausalLm::Packed(lm) => paths(lm, PackedBitLinear::is_full_precision),
    }
}

fn paths<P: Projection>(lm: &BitNetLm<P>, are: impl Fn(&P) -> bool) -> Vec<String> {
    let projections = lm.projections().filter(|(_, projection)| are(projection));
    projections.map(|(path, _)| path).collect()
}

fn check_b1_58<P: Projection>(lm: &BitNetLm<P>, is: impl Fn(&P) -> bool) -> Result<(), HfError> {
    match lm.projections().find(|(_, projection)| !is(projection)) {
        Some((name, _)) => Err(HfError::unwritable(format!(
            "{name} is not quantised as BitNet b1.58 (one absmean scale, 8-bit inputs with a scale per \
             token, no rotation, quantised in full), which is all that transformers computes"
        ))),
        None => Ok(()),
    }
}

/// A tensor that is read when it is written.
struct Entry {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    values: Values,
    /// What went wrong, as the writer of the format takes no errors.
    error: RefCell<Option<HfError>>,
}

type ReadValues = Box<dyn Fn() -> Result<Vec<f32>, TensorReadError>>;

enum Values {
    Floats(ReadValues, FloatDType),
    Codes(Box<PackedWeight>),
    /// `weight_scale`, and the scale of the codes where the first does not tell.
    Scale(f32, Option<f32>),
}

impl Entry {
    fn new(name: &str, dtype: Dtype, shape: Vec<usize>, values: Values) -> Self {
        Self {
            name: name.to_string(),
            dtype,
            shape,
            values,
            error: RefCell::default(),
        }
    }

    fn num_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    fn bytes(&self) -> Result<Vec<u8>, HfError> {
        Ok(match &self.values {
            Values::Floats(read, dtype) => self.floats(&read()?, *dtype)?,
            Values::Codes(weight) => packed_rows::from_words(&weight.to_words()?, weight.dims()),
            Values::Scale(scale, _) => scale.to_le_bytes().to_vec(),
        })
    }

    /// Values as a file holds them, if it can.
    fn floats(&self, values: &[f32], dtype: FloatDType) -> Result<Vec<u8>, HfError> {
        parameters::check_finite(&self.name, values)?;
        let bytes = floats::write(values, dtype);
        match floats::first_not_finite(&bytes, dtype.into()) {
            Some(place) => Err(HfError::unwritable(format!(
                "{}: value {place} is {}, which {dtype:?} does not reach to: write it as F32",
                self.name, values[place]
            ))),
            None => Ok(bytes),
        }
    }
}

impl View for &Entry {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.bytes().unwrap_or_else(|error| {
            *self.error.borrow_mut() = Some(error);
            vec![0; self.num_bytes()]
        });
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.num_bytes()
    }
}

fn entries(
    model: &PretrainedLm,
    family: Family,
    form: WeightForm,
) -> Result<BTreeMap<String, Entry>, HfError> {
    let dtype = match form {
        WeightForm::Float(dtype) => dtype,
        WeightForm::Packed(_) => FloatDType::F32,
    };
    let floats = parameters::floats(&model.lm).into_iter();
    let floats = floats.map(|(path, parameter)| {
        let name = family.tensor_name(&path);
        let values = Values::Floats(parameter.read, dtype);
        let entry = Entry::new(&name, file_dtype(dtype), parameter.shape, values);
        (name, entry)
    });
    let mut entries: BTreeMap<String, Entry> = floats.collect();
    if let WeightForm::Packed(convention) = form {
        match &model.lm {
            CausalLm::Packed(lm) => add_packed(&mut entries, lm, convention)?,
            CausalLm::Qat(lm) => {
                check_latent(&entries)?;
                add_packed(&mut entries, &lm.pack(), convention)?;
            }
            CausalLm::Full(_) => unreachable!("refused before"),
        }
    }
    Ok(entries)
}

/// Refuses latent weights that have no scale.
fn check_latent(entries: &BTreeMap<String, Entry>) -> Result<(), HfError> {
    for entry in entries
        .values()
        .filter(|e| e.name.ends_with("_proj.weight"))
    {
        if let Values::Floats(read, _) = &entry.values {
            parameters::check_finite(&entry.name, &read()?)?;
        }
    }
    Ok(())
}

fn add_packed(
    entries: &mut BTreeMap<String, Entry>,
    lm: &BitNetLm<PackedBitLinear>,
    convention: ScaleConvention,
) -> Result<(), HfError> {
    let packed = lm.projections().filter(|(_, p)| !p.is_full_precision());
    for (path, projection) in packed {
        let weight = projection.weight.clone();
        let [d_output, d_input] = weight.dims();
        if !d_output.is_multiple_of(4) {
            return Err(HfError::unwritable(format!(
                "{path} has {d_output} outputs, and transformers packs multiples of 4"
            )));
        }
        let gamma = weight.scale()?;
        parameters::check_finite(&format!("{path}.weight{SCALE_SUFFIX}"), &[gamma])?;
        let scale = convention.weight_scale(gamma);
        let told = convention.gamma(scale) == gamma;
        let name = format!("{path}.weight");
        let shape = vec![d_output / 4, d_input];
        let codes = Entry::new(&name, Dtype::U8, shape, Values::Codes(Box::new(weight)));
        entries.insert(name.clone(), codes);
        let name = name + SCALE_SUFFIX;
        let scale = Values::Scale(scale, (!told).then_some(gamma));
        entries.insert(name.clone(), Entry::new(&name, Dtype::F32, vec![1], scale));
    }
    Ok(())
}

fn write_shards(
    new: &NewFolder,
    entries: Vec<Entry>,
    options: &SaveOptions,
) -> Result<(), HfError> {
    let total_size: usize = entries.iter().map(Entry::num_bytes).sum();
    let shards = shards(entries, options.max_shard_bytes);
    if let [shard] = shards.as_slice() {
        return write_shard(new, SINGLE_FILE, shard);
    }
    let mut weight_map = BTreeMap::new();
    for (i, shard) in shards.iter().enumerate() {
        let file = format!("model-{:05}-of-{:05}.safetensors", i + 1, shards.len());
        write_shard(new, &file, shard)?;
        let names = shard.iter().map(|entry| entry.name.clone());
        weight_map.extend(names.map(|name| (name, file.clone())));
    }
    let metadata = Map::from_iter([("total_size".to_string(), json!(total_size))]);
    let index = ShardIndex {
        metadata,
        weight_map,
    };
    write_json(&new.file(INDEX_FILE), &index)
}

/// Tensors in their order, cut where a file is full.
fn shards(entries: Vec<Entry>, max_bytes: usize) -> Vec<Vec<Entry>> {
    let mut shards = vec![Vec::new()];
    let mut bytes = 0;
    for entry in entries {
        let shard = shards.last_mut().expect("never empty");
        if bytes + entry.num_bytes() > max_bytes && !shard.is_empty() {
            bytes = 0;
            shards.push(Vec::new());
        }
        bytes += entry.num_bytes();
        shards.last_mut().expect("never empty").push(entry);
    }
    shards
}

fn write_shard(new: &NewFolder, name: &str, entries: &[Entry]) -> Result<(), HfError> {
    let path = new.file(name);
    let mut metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    let exact: Map<_, _> = entries
        .iter()
        .filter_map(|entry| match entry.values {
            Values::Scale(_, Some(gamma)) => {
                let weight = entry.name.trim_end_matches(SCALE_SUFFIX);
                Some((weight.to_string(), json!(gamma.to_bits())))
            }
            _ => None,
        })
        .collect();
    if !exact.is_empty() {
        metadata.insert(EXACT_SCALES.to_string(), json!(exact).to_string());
    }
    let views = entries.iter().map(|entry| (entry.name.as_str(), entry));
    safetensors::serialize_to_file(views, Some(metadata), &path)
        .map_err(|error| HfError::file(&path, error))?;
    if let Some(error) = entries.iter().find_map(|entry| entry.error.take()) {
        return Err(error);
    }
    // The writer makes its files for their owner alone.
    let of_config = new.file("config.json");
    let permissions = fs::metadata(&of_config).map(|metadata| metadata.permissions());
    permissions
        .and_then(|permissions| fs::set_permissions(&path, permissions))
        .map_err(HfError::io(&path))
}

fn write_json(path: &Path, value: &impl serde::Serialize) -> Result<(), HfError> {
    let mut json =
        serde_json::to_vec_pretty(value).map_err(|error| HfError::config(path, error))?;
    json.push(b'\n');
    fs::write(path, json).map_err(HfError::io(path))
}
