//! The tensors of a model.

use bitnet_burn_kernels::packing::unpack_rows;

use super::{
    Architecture, BoxedError, GgmlType, GgufError, GgufShape, GgufWriter, SaveOptions,
    TernaryScales,
    block::unstorable,
    encode, encode_ternary,
    rope::{self, WrittenScaling},
};
use crate::{
    interop::{
        CausalLm, PretrainedLm,
        architecture::{self, Parameter, Role},
        parameters::{self, FloatParameter},
    },
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
    let floats = parameters::floats(&model.lm, &table);
    let mut floats = floats.map_err(GgufError::model)?;
    let mut packed = parameters::packed_weights(&model.lm);
    for parameter in table {
        let missing = || {
            let path = &parameter.path;
            GgufError::model(format!(
                "the model has no {path} as its configuration has it"
            ))
        };
        if parameter.is_projection() && !matches!(model.lm, CausalLm::Full(_)) {
            let weight = packed.remove(parameter.module());
            let weight = weight.filter(|weight| weight.dims()[..] == parameter.shape);
            let weight = weight.ok_or_else(missing)?;
            add_packed(writer, parameter, weight, architecture, options.weights)?;
        } else {
            let float = floats.remove(&parameter.path);
            let float = float.filter(|float| float.shape == parameter.tensor_shape());
            let float = float.ok_or_else(missing)?;
            add_float(writer, parameter, float, architecture, options)?;
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

/// Adds codes and their scale: beside them for `bitnet`, else in the blocks.
fn add_packed(
    writer: &mut GgufWriter<'_>,
    parameter: Parameter,
    weight: PackedWeight,
    architecture: Architecture,
    ggml_type: GgmlType,
) -> Result<(), GgufError> {
    let name = parameter.gguf.clone();
    let gamma = weight.scale().map_err(|source| GgufError::Producer {
        tensor: "a packed weight".to_string(),
        source: Box::new(source),
    })?;
    check_finite(&name, GgmlType::F32, &[gamma])?;
    // I2_S has the scale in its blocks; beside it the programs that read it do not look.
    let beside = architecture == Architecture::BitNet && ggml_type != GgmlType::I2_S;
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
fn check_finite(name: &str, ggml_type: GgmlType, values: &[f32]) -> Result<(), GgufError> {
    match values.iter().position(|value| !value.is_finite()) {
        None => Ok(()),
        Some(index) => Err(unstorable(name, ggml_type, index, values[index])),
    }
}

fn shape(name: &str, sizes: &[usize]) -> Result<GgufShape, GgufError> {
    let found = || sizes.iter().rev().map(|size| *size as u64).collect();
    GgufShape::from_row_major(sizes).ok_or_else(|| GgufError::Shape {
        tensor: name.to_string(),
        found: found(),
    })
}
