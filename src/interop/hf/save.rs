use std::path::Path;

use super::{
    Family, HfError, SaveOptions, ScaleConvention, WeightForm,
    config_json::config_json,
    dtype::dtype_name,
    exact_values::ExactValues,
    folder::NewFolder,
    four_bit,
    quantization::{BitNetQuantization, BitsAndBytesQuantization, QuantizationConfig},
    save_checks::{family, full_precision},
    saved_tensor::SavedTensor,
    scaled_bias,
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
/// keeps the parameters, which f32 does, and packing and 4 bits do for models that are quantized so.
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
    let quantization = quantization(&model.lm, options.form, full_precision);
    let dtype = options.form.dtype();
    let json = config_json(model, family, dtype_name(dtype), quantization);
    new.write_json("config.json", &json)?;
    write_shards(&new, tensors, &exact, options.max_shard_bytes)?;
    if let Some(tokenizer) = &options.tokenizer {
        new.copy_tokenizer(tokenizer)?;
    }
    new.finish()
}

/// Returns the entry of `config.json` for the weights.
fn quantization(
    lm: &CausalLm,
    form: WeightForm,
    full_precision: Vec<String>,
) -> Option<QuantizationConfig> {
    match (form, lm) {
        (WeightForm::Packed(convention), _) => {
            Some(BitNetQuantization::offline(convention, full_precision).into())
        }
        (WeightForm::FourBit { config, dtype }, _) => {
            Some(BitsAndBytesQuantization::new(config, dtype, full_precision).into())
        }
        (WeightForm::Float(_), CausalLm::Qat(_)) => {
            Some(BitNetQuantization::online(full_precision).into())
        }
        (WeightForm::Float(_), _) => None,
    }
}

/// The tensors of a model in their order, and the scales that they do not tell.
fn tensors(
    model: &PretrainedLm,
    family: Family,
    form: WeightForm,
) -> Result<(Vec<SavedTensor>, ExactValues), HfError> {
    let table = architecture::parameters(&model.config);
    let values = ModelValues::floats(&model.lm, &table);
    let mut values = values.map_err(HfError::unwritable)?;
    let dtype = form.dtype();
    match form {
        WeightForm::Float(_) => {}
        WeightForm::Packed(_) => {
            check_latent(&model.lm, &table, &values)?;
            values = values.with_packed(&model.lm);
        }
        WeightForm::FourBit { config, dtype } => {
            check_latent(&model.lm, &table, &values)?;
            values = values.with_four_bit(&model.lm, &config, dtype);
        }
    }
    let (mut tensors, mut exact) = (Vec::new(), ExactValues::default());
    for parameter in &table {
        let name = family.tensor_name(parameter);
        match (values.take(parameter), form) {
            (Some(Values::Floats(float)), _) => {
                let float = match scale_of_bias(parameter, &values, form)? {
                    Some(scale) => {
                        exact.insert_bias(&name, &float.values()?, scale);
                        float.map(move |bias| scaled_bias::for_file(bias, scale))
                    }
                    None => float,
                };
                let shape = parameter.shape.clone();
                tensors.push(SavedTensor::floats(name, shape, float, dtype));
            }
            (Some(Values::Packed(weight)), WeightForm::Packed(convention)) => {
                tensors.extend(packed_tensors(parameter, weight, convention, &mut exact)?);
            }
            (Some(Values::FourBit(weight)), WeightForm::FourBit { .. }) => {
                // As packed weights, under the names of transformers.
                tensors.extend(four_bit::saved_tensors(&parameter.hf, weight)?);
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

/// The scale that transformers multiplies a bias by, too.
fn scale_of_bias(
    parameter: &Parameter,
    values: &ModelValues,
    form: WeightForm,
) -> Result<Option<f32>, HfError> {
    let is_scaled = parameter.is_bias && form == WeightForm::Packed(ScaleConvention::Multiply);
    let weight = values.packed(parameter.module()).filter(|_| is_scaled);
    Ok(weight.map(PackedWeight::scale).transpose()?)
}

/// Refuses weights that have no scale.
fn check_latent(lm: &CausalLm, table: &[Parameter], values: &ModelValues) -> Result<(), HfError> {
    let has_floats = matches!(lm, CausalLm::Qat(_) | CausalLm::Full(_));
    let is_latent = |p: &&Parameter| has_floats && p.is_projection();
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
    exact: &mut ExactValues,
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
    exact.insert_scale(&name, convention, gamma);
    let scale = SavedTensor::scale(scale_name, convention.weight_scale(gamma));
    Ok([SavedTensor::codes(name, weight), scale])
}
