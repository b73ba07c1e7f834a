use std::{collections::BTreeMap, fs, io::Write, path::Path};

use safetensors::{Dtype, tensor::TensorView};

use super::{
    CONFIG_FILE, MODEL_FILE, PROMPT_TENSOR, PeftFileError, ada_lora, beside, config_json, ends,
    ia3, lora, prompts,
    tensors::{Tensors, Written, written},
};
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
    let config = ada_lora::with_kept(config, lm, name)?;
    let fields = config_json::write(&path, &config)?;
    let mut tensors = tensors(lm, name, &config)?;
    if tensors.is_empty() {
        let reason = format!(
            "the model has no adapter {name:?}; it has {:?}",
            lm.adapter_names()
        );
        return Err(PeftFileError::file(path, reason));
    }
    if let Some(mismatch) = prompts::mismatch(lm.prompt(name), &config) {
        return Err(PeftFileError::file(path, mismatch));
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

fn tensors<P: AdapterBase>(
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
    config: &PeftConfig,
) -> Result<BTreeMap<String, Written>, PeftFileError> {
    if let Some(prompt) = lm.prompt(name) {
        let values = written(prompts::values(prompt))?;
        return Ok([(PROMPT_TENSOR.to_string(), values)].into());
    }
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
            Adapter::AdaLora(adapter) => {
                let kept = ada_lora::kept(config, &module);
                ada_lora::add(&mut tensors, adapter, kept)?;
            }
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
