use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use burn::tensor::{FloatDType, TensorData};
use safetensors::{Dtype, SafeTensors};

use super::{
    CONFIG_FILE, MODEL_FILE, PROMPT_TENSOR, PeftFileError, ada_lora, beside, config_json, ends,
    fields, ia3, lora, prefix, prompts, reader::Reader, sizes,
};
use crate::{
    base::key_table::UnknownKey,
    interop::{
        floats::{self, Order},
        hf::TensorProblem,
        safetensors_header::check_header,
    },
    nn::{BitNetLm, Prompt},
    peft::{AdaptedLinear, Adapter, AdapterBase, End, PeftConfig, PeftError},
};

/// An adapter folder, or an [adapter of llama.cpp](crate::interop::gguf::load_adapter), that has been read.
#[derive(Debug, Clone)]
pub struct AdapterFolder {
    /// Its configuration.
    pub config: PeftConfig,
    /// Keys of the configuration that this crate does not know: they may ask for what it does not do.
    pub unknown_keys: Vec<UnknownKey>,
    /// Tensors by their names without the prefix, in `f32` and in the layout of files.
    tensors: BTreeMap<String, TensorData>,
    path: PathBuf,
    config_path: PathBuf,
}

/// Reads an adapter folder of peft.
///
/// # Errors
///
/// If a file cannot be read or is damaged, the configuration asks for what is not supported, or a value is not finite.
pub fn load(folder: impl AsRef<Path>) -> Result<AdapterFolder, PeftFileError> {
    let config_path = folder.as_ref().join(CONFIG_FILE);
    let text = fs::read(&config_path).map_err(PeftFileError::io(&config_path))?;
    let (config, unknown_keys) = config_json::read(&config_path, &text)?;
    let path = folder.as_ref().join(MODEL_FILE);
    let bytes = fs::read(&path).map_err(PeftFileError::io(&path))?;
    let prefix = prefix(&config);
    Ok(AdapterFolder {
        unknown_keys,
        tensors: tensors(&path, &bytes, prefix)?,
        config,
        path,
        config_path,
    })
}

/// Reads the tensors of a file, whose names begin with the prefix of peft.
fn tensors(
    path: &Path,
    bytes: &[u8],
    prefix: &str,
) -> Result<BTreeMap<String, TensorData>, PeftFileError> {
    check_header(bytes).map_err(|error| PeftFileError::file(path, error))?;
    let file = SafeTensors::deserialize(bytes).map_err(|error| PeftFileError::file(path, error))?;
    let (mut tensors, mut problems) = (BTreeMap::new(), Vec::new());
    for (name, view) in file.tensors() {
        let short = match name.as_str() {
            PROMPT_TENSOR => Some(PROMPT_TENSOR),
            name => name.strip_prefix(prefix),
        };
        let Some(short) = short else {
            let reason = format!("{name} does not begin with {prefix}");
            return Err(PeftFileError::file(path, reason));
        };
        let dtype = match view.dtype() {
            Dtype::F32 => FloatDType::F32,
            Dtype::F16 => FloatDType::F16,
            Dtype::BF16 => FloatDType::BF16,
            other => {
                let reason =
                    format!("{name} has the type {other}, supported are F32, F16 and BF16");
                return Err(PeftFileError::file(path, reason));
            }
        };
        let types = [dtype, FloatDType::F32];
        let data = floats::read(view.data(), types, Order::Kept, view.shape(), &|_| ());
        if let Some(place) = floats::first_not_finite(data.as_bytes(), data.dtype()) {
            let reason = format!("value {place} is not finite");
            let name = name.clone();
            problems.push(TensorProblem::Value { name, reason });
        }
        tensors.insert(short.to_string(), data);
    }
    match problems.is_empty() {
        true => Ok(tensors),
        false => Err(PeftFileError::tensors(path, problems)),
    }
}

impl AdapterFolder {
    /// Creates the adapter of another file, with its tensors in `f32` under the names of peft without the prefix.
    pub(in crate::interop) fn new(
        config: impl Into<PeftConfig>,
        unknown_keys: Vec<UnknownKey>,
        tensors: BTreeMap<String, TensorData>,
        path: &Path,
    ) -> Self {
        Self {
            config: config.into(),
            unknown_keys,
            tensors,
            path: path.to_path_buf(),
            config_path: path.to_path_buf(),
        }
    }

    /// Adds the adapter to a model, active and frozen but for training, under a name of its own. Biases and whole
    /// modules of the file replace those of the model.
    ///
    /// # Errors
    ///
    /// If the configuration targets no projection of the model or is of a model of another size, the model has a prompt
    /// already, or tensors are missing, left over, or of another shape.
    pub fn attach<P: AdapterBase>(
        &self,
        lm: BitNetLm<P>,
        name: &str,
    ) -> Result<BitNetLm<AdaptedLinear<P>>, PeftFileError> {
        self.add(lm.map_projections(|_, base| AdaptedLinear::new(base)), name)
    }

    /// Adds the adapter of a module to a projection, of a model other than [`BitNetLm`].
    ///
    /// # Errors
    ///
    /// If tensors of the module are missing, or of another shape.
    pub fn attach_projection<P: AdapterBase>(
        &self,
        module: &str,
        base: P,
        name: &str,
    ) -> Result<AdaptedLinear<P>, PeftFileError> {
        let mut reader = self.reader();
        let checked = sizes::check_module(&mut reader, &self.config, module, base.size());
        self.checked(&reader, checked)?;
        let device = base.devices().into_iter().next().unwrap_or_default();
        let adapted = self.config.adapt(module, base, name, &device);
        let mut linear = adapted.map_err(|source| self.invalid(source))?;
        linear.map_adapter(name, |adapter| {
            fill(&mut reader, &self.config, module, adapter)
        });
        match reader.problems.is_empty() {
            true => Ok(linear),
            false => Err(self.unfit(reader.problems)),
        }
    }

    /// Adds the adapter to a model that has others.
    ///
    /// # Errors
    ///
    /// As [`attach`](Self::attach), and if there is an adapter of this name.
    pub fn add<P: AdapterBase>(
        &self,
        lm: BitNetLm<AdaptedLinear<P>>,
        name: &str,
    ) -> Result<BitNetLm<AdaptedLinear<P>>, PeftFileError> {
        let mut reader = self.reader();
        let checked = sizes::check(&mut reader, &self.config, &lm);
        self.checked(&reader, checked)?;
        let (lm, report) = lm
            .add_adapter(name, prompts::folded(&self.config))
            .map_err(|source| self.invalid(source))?;
        let modules: Vec<&str> = report.modules.iter().map(|m| m.name.as_str()).collect();
        let mut lm = lm;
        if let Some(prompt) = lm.model.prompt.take_if(|prompt| prompt.name() == name) {
            lm.model.prompt = Some(fill_prompt(&mut reader, prompt));
        }
        let lm = lm.map_projections(|module, mut linear| {
            if modules.contains(&module) {
                linear.map_adapter(name, |adapter| {
                    fill(&mut reader, &self.config, module, adapter)
                });
            }
            linear
        });
        let mut lm = lm;
        for end in End::ALL {
            if let Some(product) = end.products_mut(&mut lm).get_mut(name) {
                ends::fill(&mut reader, end, product);
            }
        }
        let lm = ends::fill_bases(&mut reader, lm);
        let lm = beside::fill(&mut reader, lm, name, &self.config);
        let left = std::mem::take(&mut reader.tensors).into_keys();
        let unexpected = left.map(|name| TensorProblem::Unexpected {
            name: reader.in_file(&name),
        });
        let unexpected: Vec<_> = unexpected.collect();
        reader.problems.extend(unexpected);
        match reader.problems.is_empty() {
            true => Ok(lm),
            false => Err(self.unfit(reader.problems)),
        }
    }

    fn reader(&self) -> Reader {
        Reader {
            tensors: self.tensors.clone(),
            prefix: prefix(&self.config),
            problems: Vec::new(),
        }
    }

    /// Returns the result of the check of sizes.
    fn checked(
        &self,
        reader: &Reader,
        checked: Result<(), PeftError>,
    ) -> Result<(), PeftFileError> {
        checked.map_err(|source| self.invalid(source))?;
        match reader.problems.is_empty() {
            true => Ok(()),
            false => Err(self.unfit(reader.problems.clone())),
        }
    }

    /// Returns the error of a configuration that does not fit the model.
    fn invalid(&self, source: PeftError) -> PeftFileError {
        fields::invalid(&self.config_path, source)
    }

    /// Returns the error of tensors that do not fit the model.
    fn unfit(&self, problems: Vec<TensorProblem>) -> PeftFileError {
        PeftFileError::tensors(&self.path, problems)
    }
}

/// Replaces the values of an adapter.
fn fill(reader: &mut Reader, config: &PeftConfig, module: &str, adapter: Adapter) -> Adapter {
    match adapter {
        Adapter::Lora(adapter) => lora::fill(reader, module, adapter).into(),
        Adapter::AdaLora(adapter) => {
            let kept = ada_lora::kept(config, module);
            ada_lora::fill(reader, module, adapter, kept).into()
        }
        Adapter::Ia3(adapter) => ia3::fill(reader, module, adapter).into(),
        // No configuration that is read has it.
        Adapter::BitFit(adapter) => adapter.into(),
    }
}

/// Replaces the values of a prompt.
fn fill_prompt(reader: &mut Reader, prompt: Prompt) -> Prompt {
    let shape = [prompt.n_virtual(), prompt.d_values()];
    let device = prompt.embedding.device();
    match reader.take(PROMPT_TENSOR.to_string(), shape, &device) {
        Some(values) => prompt.with_values(values),
        None => prompt,
    }
}
