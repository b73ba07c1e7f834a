use std::path::Path;

use burn::tensor::FloatDType;

use super::{
    Family, HfError, SaveOptions, ScaleConvention, WeightForm,
    config_json::config_json,
    dtype::dtype_name,
    exact_scales::ExactScales,
    folder::NewFolder,
    quantization::QuantizationConfig,
    save_checks::{family, full_precision},
    saved_tensor::SavedTensor,
    shards::write_shards,
    tensors::SCALE_SUFFIX,
};
use crate::{
    interop::{
        CausalLm, PretrainedLm,
        architecture::{self, Parameter},
        parameters::{ModelValues, Values},
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
    let values = ModelValues::floats(&model.lm, &table);
    let mut values = values.map_err(HfError::unwritable)?;
    let (dtype, convention) = match form {
        WeightForm::Float(dtype) => (dtype, None),
        WeightForm::Packed(convention) => (FloatDType::F32, Some(convention)),
    };
    if convention.is_some() {
        check_latent(&model.lm, &table, &values)?;
        values = values.with_packed(&model.lm);
    }
    let (mut tensors, mut exact) = (Vec::new(), ExactScales::default());
    for parameter in &table {
        let name = family.tensor_name(parameter);
        match (values.take(parameter), convention) {
            (Some(Values::Floats(float)), _) => {
                let shape = parameter.shape.clone();
                tensors.push(SavedTensor::floats(name, shape, float, dtype));
            }
            (Some(Values::Packed(weight)), Some(convention)) => {
                tensors.extend(packed_tensors(parameter, weight, convention, &mut exact)?);
            }
            _ => {
                return Err(HfError::unwritable(format!(
                    "the model has no {name} as its configuration has it"
                )));
            }
        }
    }
    Ok((tensors, exact))
}

/// Refuses latent weights that have no scale.
fn check_latent(lm: &CausalLm, table: &[Parameter], values: &ModelValues) -> Result<(), HfError> {
    let is_latent = |p: &&Parameter| matches!(lm, CausalLm::Qat(_)) && p.is_projection();
    for parameter in table.iter().filter(is_latent) {
        // A packed weight has scales already.
        let Some(float) = values.float(parameter) else {
            continue;
        };
        if let Some(found) = float.first_not_finite()? {
            return Err(HfError::not_finite(&parameter.hf, found));
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
    let [d_output, _] = weight.dims();
    if !d_output.is_multiple_of(4) {
        let path = parameter.module();
        return Err(HfError::unwritable(format!(
            "{path} has {d_output} outputs, and transformers packs multiples of 4"
        )));
    }
    let gamma = weight.scale()?;
    let scale_name = format!("{name}{SCALE_SUFFIX}");
    if !gamma.is_finite() {
        return Err(HfError::not_finite(&scale_name, (0, gamma)));
    }
    exact.insert(&name, convention, gamma);
    let scale = SavedTensor::scale(scale_name, convention.weight_scale(gamma));
    Ok([SavedTensor::codes(name, weight), scale])
}
