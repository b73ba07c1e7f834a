//! The tensors of a model.

use super::{
    Architecture, GgmlType, GgufError, GgufShape, GgufWriter, SaveOptions, TernaryScales,
    block::unstorable,
    encode, encode_ternary,
    error::BoxedError,
    rope::{self, WrittenScaling},
};
use crate::{
    interop::{
        PretrainedLm,
        architecture::{self, Parameter, Role},
        checks,
        parameters::{FloatParameter, ModelValues, Values},
    },
    ops::packing::unpack_rows,
    qat::PackedWeight,
};

/// Adds the parameters of a model, which are read and encoded when they are written.
pub(super) fn add_tensors(
    writer: &mut GgufWriter<'_>,
    model: &PretrainedLm,
    architecture: Architecture,
    options: &SaveOptions,
) -> Result<(), GgufError> {
    let table = architecture::parameters(&model.config);
    let values = ModelValues::floats(&model.lm, &table);
    let mut values = values.map_err(GgufError::model)?.with_packed(&model.lm);
    for parameter in table {
        match values.take(&parameter) {
            Some(Values::Packed(weight)) => {
                add_packed(writer, parameter, weight, architecture, options)?;
            }
            Some(Values::Floats(float)) => {
                add_float(writer, parameter, float, architecture, options)?;
            }
            Some(Values::FourBit(_)) | None => {
                return Err(GgufError::model(format!(
                    "the model has no {} as its configuration has it",
                    parameter.path
                )));
            }
        }
    }
    if let Some(factors) = WrittenScaling::of(&model.config).factors {
        let shape = shape(rope::FACTORS, &[factors.len()])?;
        let bytes = encode(rope::FACTORS, GgmlType::F32, shape, &factors)?;
        writer.add_bytes(rope::FACTORS, GgmlType::F32, shape, bytes)?;
    }
    Ok(())
}

/// Adds floats: norms and biases as F32, as llama.cpp has them.
fn add_float(
    writer: &mut GgufWriter<'_>,
    parameter: Parameter,
    float: FloatParameter,
    architecture: Architecture,
    options: &SaveOptions,
) -> Result<(), GgufError> {
    let ggml_type = match parameter.role {
        Role::Embedding | Role::Head => options.embeddings(),
        _ if parameter.is_projection() => options.weights,
        _ => GgmlType::F32,
    };
    let name = parameter.gguf.clone();
    let shape = shape(&name, &parameter.shape)?;
    writer.add(name.clone(), ggml_type, shape, move || {
        let values = architecture.permute_rope_heads(&parameter, float.values()?);
        check_finite(&name, ggml_type, &values)?;
        Ok(encode(&name, ggml_type, shape, &values)?.into())
    })
}

/// Adds codes and their scale: beside them for `bitnet`, unless asked otherwise, else in the blocks.
fn add_packed(
    writer: &mut GgufWriter<'_>,
    parameter: Parameter,
    weight: PackedWeight,
    architecture: Architecture,
    options: &SaveOptions,
) -> Result<(), GgufError> {
    let ggml_type = options.weights;
    let name = parameter.gguf.clone();
    let gamma = weight.scale().map_err(|source| GgufError::Producer {
        tensor: "a packed weight".to_string(),
        source: Box::new(source),
    })?;
    check_finite(&name, GgmlType::F32, &[gamma])?;
    let beside = options.has_scales_beside(architecture);
    if beside {
        let scale = parameter.gguf_scale();
        let shape = shape(&scale, &[1])?;
        writer.add_bytes(scale, GgmlType::F32, shape, gamma.to_le_bytes().to_vec())?;
    }
    let scale = if beside { 1.0 } else { gamma };
    let shape = shape(&name, &parameter.shape)?;
    writer.add(name.clone(), ggml_type, shape, move || {
        let codes = unpack_rows(&weight.to_words()?, parameter.row_len());
        let codes = architecture.permute_rope_heads(&parameter, codes);
        Ok(encoded_codes(&name, ggml_type, shape, &codes, scale)?.into())
    })
}

fn encoded_codes(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    codes: &[i8],
    scale: f32,
) -> Result<Vec<u8>, BoxedError> {
    Ok(match ggml_type.is_ternary() {
        true => encode_ternary(name, ggml_type, shape, codes, TernaryScales::Tensor(scale))?,
        false => {
            let values: Vec<f32> = codes.iter().map(|t| f32::from(*t) * scale).collect();
            encode(name, ggml_type, shape, &values)?
        }
    })
}

/// Refuses what a training that went wrong has left, of which a program makes nothing but NaN.
pub(super) fn check_finite(
    name: &str,
    ggml_type: GgmlType,
    values: &[f32],
) -> Result<(), GgufError> {
    match checks::first_not_finite(values) {
        None => Ok(()),
        Some((index, value)) => Err(unstorable(name, ggml_type, index, value)),
    }
}

fn shape(name: &str, sizes: &[usize]) -> Result<GgufShape, GgufError> {
    let found = || sizes.iter().rev().map(|size| *size as u64).collect();
    GgufShape::from_row_major(sizes).ok_or_else(|| GgufError::Shape {
        tensor: name.to_string(),
        found: found(),
    })
}
