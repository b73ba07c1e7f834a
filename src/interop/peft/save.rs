use std::{collections::BTreeMap, fs, io::Write, path::Path};

use burn::tensor::{DType, Tensor, TensorReadError};
use safetensors::{Dtype, tensor::TensorView};

use super::{CONFIG_FILE, MODEL_FILE, PREFIX, PeftFileError, beside, config_json, ends, ia3, lora};
use crate::{
    base::atomic_file,
    nn::BitNetLm,
    peft::{AdaptedLinear, Adapter, AdapterBase, LoraInit, PeftConfig},
};

/// Writes an adapter of a model as a folder that peft loads, with the values in `f32`. `config` is the configuration that
/// the adapter was added with; biases and modules that it trains as a whole are written, too. An adapter that was
/// subtracted from the weights (PiSSA, OLoRA) is written as a [plain one](crate::peft::Lora::into_plain) of twice the
/// rank, beside the original weights. One of [LoftQ](crate::peft::loftq) with one iteration stands beside the quantized
/// original; with more, a folder has no base for it.
///
/// # Errors
///
/// If the model has no adapter of this name, peft has no such method, a module that trains as a whole has parameters
/// that are unknown to peft, or a file cannot be written.
pub fn save<P: AdapterBase>(
    folder: impl AsRef<Path>,
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
    config: impl Into<PeftConfig>,
) -> Result<(), PeftFileError> {
    let (folder, config) = (folder.as_ref(), config.into());
    let path = folder.join(CONFIG_FILE);
    check_init(lm, name, &config).map_err(|reason| PeftFileError::file(&path, reason))?;
    let fields = config_json::write(&path, &config)?;
    let mut tensors = tensors(lm, name)?;
    if tensors.is_empty() {
        let reason = format!(
            "the model has no adapter {name:?}; it has {:?}",
            lm.adapter_names()
        );
        return Err(PeftFileError::file(path, reason));
    }
    beside::add(&mut tensors, lm, name, &config)?;
    fs::create_dir_all(folder).map_err(PeftFileError::io(folder))?;
    let model = folder.join(MODEL_FILE);
    let bytes = serialized(&tensors).map_err(|error| PeftFileError::file(&model, error))?;
    let written = atomic_file::write(&model, |file| file.write_all(&bytes));
    written.map_err(PeftFileError::io(&model))?;
    let text = format!("{fields:#}\n");
    let written = atomic_file::write(&path, |file| file.write_all(text.as_bytes()));
    written.map_err(PeftFileError::io(&path))
}

/// Checks that the configuration says of each adapter whether it was subtracted from the base.
fn check_init<P: AdapterBase>(
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
    config: &PeftConfig,
) -> Result<(), String> {
    let PeftConfig::Lora(config) = config else {
        return Ok(());
    };
    if let LoraInit::Loftq(iterations @ 2..) = config.init {
        return Err(format!(
            "the adapter belongs to a base that was quantized with it in {iterations} iterations of loftq, which a \
             folder does not hold: save the model as a record, or merged"
        ));
    }
    for (module, linear) in lm.projections() {
        let Some(Adapter::Lora(lora)) = linear.adapter(name) else {
            continue;
        };
        if lora.initial.is_some() != config.init.changes_base() {
            return Err(format!(
                "init is {}, but the adapter of {module} was {}subtracted from its base: save with the configuration \
                 that it was added with",
                config.init,
                if lora.initial.is_some() { "" } else { "not " },
            ));
        }
    }
    Ok(())
}

/// A tensor of a file: its shape and the bytes of its values.
pub(super) type Written = (Vec<usize>, Vec<u8>);

/// Returns the values of a tensor for a file, in `f32`.
pub(super) fn written<const D: usize>(tensor: Tensor<D>) -> Result<Written, TensorReadError> {
    let data = tensor.try_into_data_dtype(DType::F32)?;
    let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
    Ok((data.shape().to_vec(), bytes))
}

/// Tensors of a file, by name.
pub(super) struct Tensors<'a> {
    written: BTreeMap<String, Written>,
    /// Module whose tensors are added.
    module: &'a str,
}

impl Tensors<'_> {
    /// Adds a tensor of the module, in `f32`.
    pub(super) fn add<const D: usize>(
        &mut self,
        part: &str,
        tensor: Tensor<D>,
    ) -> Result<(), PeftFileError> {
        let name = format!("{PREFIX}{}.{part}", self.module);
        self.written.insert(name, written(tensor)?);
        Ok(())
    }
}

fn tensors<P: AdapterBase>(
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
) -> Result<BTreeMap<String, Written>, PeftFileError> {
    let mut written = BTreeMap::new();
    for (module, linear) in lm.projections() {
        let Some(adapter) = linear.adapter(name) else {
            continue;
        };
        let mut tensors = Tensors {
            written,
            module: &module,
        };
        match adapter {
            Adapter::Lora(adapter) => lora::add(&mut tensors, adapter)?,
            Adapter::Ia3(adapter) => ia3::add(&mut tensors, adapter)?,
            // Refused with its configuration.
            Adapter::BitFit(_) => {}
        }
        written = tensors.written;
    }
    ends::add(&mut written, lm, name)?;
    Ok(written)
}

fn serialized(
    tensors: &BTreeMap<String, Written>,
) -> Result<Vec<u8>, safetensors::SafeTensorError> {
    let views = tensors.iter().map(|(name, (shape, bytes))| {
        TensorView::new(Dtype::F32, shape.clone(), bytes).map(|view| (name, view))
    });
    let views: Vec<_> = views.collect::<Result<_, _>>()?;
    let metadata = [("format".to_string(), "pt".to_string())];
    safetensors::serialize(views, Some(metadata.into()))
}
