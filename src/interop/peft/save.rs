use std::{collections::BTreeMap, fs, io::Write, path::Path};

use burn::tensor::{DType, Tensor};
use safetensors::{Dtype, tensor::TensorView};

use super::{CONFIG_FILE, MODEL_FILE, PREFIX, PeftFileError, config_json};
use crate::{
    base::atomic_file,
    nn::BitNetLm,
    peft::{AdaptedLinear, AdapterBase, LoraBias, LoraConfig},
};

/// Writes an adapter of a model as a folder that peft loads, with the values in `f32`.
///
/// # Errors
///
/// If the model has no adapter of this name, the configuration trains modules beside it, which are not written yet, or a
/// file cannot be written.
pub fn save<P: AdapterBase>(
    folder: impl AsRef<Path>,
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
    config: &LoraConfig,
) -> Result<(), PeftFileError> {
    let folder = folder.as_ref();
    let path = folder.join(CONFIG_FILE);
    if config.bias != LoraBias::None || !config.modules_to_save.is_empty() {
        let reason = "biases and modules_to_save are not written: save the model merged, or train the adapter alone";
        return Err(PeftFileError::file(path, reason));
    }
    let tensors = tensors(lm, name)?;
    if tensors.is_empty() {
        let reason = format!(
            "the model has no adapter {name:?}; it has {:?}",
            lm.adapter_names()
        );
        return Err(PeftFileError::file(path, reason));
    }
    fs::create_dir_all(folder).map_err(PeftFileError::io(folder))?;
    let model = folder.join(MODEL_FILE);
    let bytes = serialized(&tensors).map_err(|error| PeftFileError::file(&model, error))?;
    let written = atomic_file::write(&model, |file| file.write_all(&bytes));
    written.map_err(PeftFileError::io(&model))?;
    let text = format!("{:#}\n", config_json::write(config));
    let written = atomic_file::write(&path, |file| file.write_all(text.as_bytes()));
    written.map_err(PeftFileError::io(&path))
}

/// A tensor of a file: its shape and the bytes of its values.
type Written = (Vec<usize>, Vec<u8>);

fn tensors<P: AdapterBase>(
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
) -> Result<BTreeMap<String, Written>, PeftFileError> {
    let mut tensors = BTreeMap::new();
    for (module, linear) in lm.projections() {
        let Some(lora) = linear.adapter(name) else {
            continue;
        };
        let mut add =
            |part: &str, written| tensors.insert(format!("{PREFIX}{module}.{part}"), written);
        add("lora_A.weight", written(lora.a.val().transpose())?);
        add("lora_B.weight", written(lora.b.val().transpose())?);
        if let Some(magnitude) = &lora.magnitude {
            add("lora_magnitude_vector", written(magnitude.val())?);
        }
    }
    Ok(tensors)
}

fn written<const D: usize>(tensor: Tensor<D>) -> Result<Written, PeftFileError> {
    let data = tensor.try_into_data_dtype(DType::F32)?;
    let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
    Ok((data.shape().to_vec(), bytes))
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
