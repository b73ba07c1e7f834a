use std::{collections::BTreeMap, path::Path};

use burn::tensor::FloatDType;

use super::{
    Family, HfError, QuantizationConfig, SaveOptions, ScaleConvention, WeightForm,
    config_json::config_json,
    dtype::dtype_name,
    exact_scales::ExactScales,
    folder::NewFolder,
    save_checks::{family, full_precision},
    saved_tensor::SavedTensor,
    shards::write_shards,
    tensors::SCALE_SUFFIX,
};
use crate::{
    interop::{
        CausalLm, PretrainedLm,
        architecture::{self, Parameter},
        checks::{self, NotFinite},
        parameters::{self, FloatParameter},
    },
    qat::PackedWeight,
};

/// Writes a folder that transformers loads: `config.json` and safetensors files.
///
/// Models with norms before the last projections are written as `BitNetForCausalLM`, others as the first of
/// `LlamaForCausalLM`, `Qwen2ForCausalLM`, `Qwen3ForCausalLM` and `MistralForCausalLM` that has their parts.
/// [Loading](super::load) it gives the same logits, bit for bit, where the form
/// keeps the parameters, which f32 does, and packing does for quantized models.
///
/// Everything is written beside the folder first, so that a model that is there stays until the new one
/// is whole.
///
/// # Errors
///
/// If the folder has something in it and may not be overwritten, cannot be written, or the model cannot
/// be expressed in this form: weights in full precision are not packed, packed ones have no latent
/// weights any more, other programs know no quantizer but that of BitNet b1.58, and a weight that is NaN or
/// infinite is none.
pub fn save(
    folder: impl AsRef<Path>,
    model: &PretrainedLm,
    options: &SaveOptions,
) -> Result<(), HfError> {
    let folder = folder.as_ref();
    let full_precision = full_precision(&model.lm);
    let family = family(model, options, &full_precision)?;
    let new = NewFolder::create(folder, options.overwrite)?;
    let (tensors, exact) = tensors(model, family, options.form)?;
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
    new.write_json("config.json", &json)?;
    write_shards(&new, tensors, &exact, options.max_shard_bytes)?;
    if let Some(tokenizer) = &options.tokenizer {
        new.copy_tokenizer(tokenizer)?;
    }
    new.finish()
}

/// The tensors of a model in their order, and the scales that they do not tell.
fn tensors(
    model: &PretrainedLm,
    family: Family,
    form: WeightForm,
) -> Result<(Vec<SavedTensor>, ExactScales), HfError> {
    let table = architecture::parameters(&model.config);
    let floats = parameters::floats(&model.lm, &table);
    let mut floats = floats.map_err(HfError::unwritable)?;
    let dtype = match form {
        WeightForm::Float(dtype) => dtype,
        WeightForm::Packed(_) => FloatDType::F32,
    };
    let mut packed = match (form, &model.lm) {
        (WeightForm::Float(_), _) => BTreeMap::new(),
        (WeightForm::Packed(_), lm) => {
            check_latent(lm, &table, &floats)?;
            parameters::packed_weights(lm)
        }
    };
    let (mut tensors, mut exact) = (Vec::new(), ExactScales::default());
    for parameter in &table {
        let name = family.tensor_name(parameter);
        let weight = match parameter.is_projection() {
            true => packed.remove(parameter.module()),
            false => None,
        };
        if let (WeightForm::Packed(convention), Some(weight)) = (form, weight) {
            tensors.extend(packed_tensors(parameter, weight, convention, &mut exact)?);
            continue;
        }
        let float = floats.remove(&parameter.path);
        let float = float.filter(|float| float.shape == parameter.tensor_shape());
        let float = float.ok_or_else(|| missing(&name))?;
        let shape = parameter.shape.clone();
        tensors.push(SavedTensor::floats(name, shape, float, dtype));
    }
    Ok((tensors, exact))
}

fn missing(name: &str) -> HfError {
    HfError::unwritable(format!(
        "the model has no {name} as its configuration has it"
    ))
}

/// Refuses latent weights that have no scale.
fn check_latent(
    lm: &CausalLm,
    table: &[Parameter],
    floats: &BTreeMap<String, FloatParameter>,
) -> Result<(), HfError> {
    let is_latent = |p: &&Parameter| matches!(lm, CausalLm::Qat(_)) && p.is_projection();
    for parameter in table.iter().filter(is_latent) {
        // A packed weight has scales already.
        let Some(float) = floats.get(&parameter.path) else {
            continue;
        };
        if let Some((place, value)) = float.first_not_finite()? {
            let name = parameter.hf.clone();
            return Err(NotFinite { name, place, value }.into());
        }
    }
    Ok(())
}

/// Codes and scale of a packed weight.
fn packed_tensors(
    parameter: &Parameter,
    weight: PackedWeight,
    convention: ScaleConvention,
    exact: &mut ExactScales,
) -> Result<[SavedTensor; 2], HfError> {
    // Names of projections are those of transformers in all families.
    let name = parameter.hf.clone();
    let [d_output, d_input] = weight.dims();
    if !d_output.is_multiple_of(4) {
        let path = parameter.module();
        return Err(HfError::unwritable(format!(
            "{path} has {d_output} outputs, and transformers packs multiples of 4"
        )));
    }
    if parameter.shape != [d_output, d_input] {
        return Err(missing(&name));
    }
    let gamma = weight.scale()?;
    let scale_name = format!("{name}{SCALE_SUFFIX}");
    checks::check_finite(&scale_name, &[gamma])?;
    exact.insert(&name, convention, gamma);
    let scale = SavedTensor::scale(scale_name, convention.weight_scale(gamma));
    Ok([SavedTensor::codes(name, weight), scale])
}
