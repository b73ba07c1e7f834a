//! The tensors of a weight for a folder.

use burn::tensor::{DType, FloatDType, Int, Tensor, TensorReadError};
use safetensors::Dtype;

use super::{
    QuantState,
    suffix::{ABSMAX, NESTED_ABSMAX, NESTED_QUANT_MAP, QUANT_MAP, QUANT_STATE},
};
use crate::{
    functions::FourBitAbsmax,
    interop::{
        checks, floats,
        hf::{HfError, saved_tensor::SavedTensor},
    },
    ops::DynamicMap,
    qat::PackedFourBit,
};

/// Returns the tensors of a weight under its name, in the bytes of bitsandbytes.
pub(in crate::interop::hf) fn saved_tensors(
    name: &str,
    weight: PackedFourBit,
) -> Result<Vec<SavedTensor>, HfError> {
    let (config, shape) = (*weight.config(), weight.dims());
    let mut saved = Saved {
        name,
        tensors: Vec::new(),
    };
    saved.add_floats(QUANT_MAP, config.quant_type.values())?;
    let offset = match weight.quantized().absmax {
        FourBitAbsmax::Plain(absmax) => {
            saved.add_floats(ABSMAX, &values(absmax)?)?;
            None
        }
        FourBitAbsmax::DoubleQuantized {
            codes,
            absmax,
            offset,
        } => {
            let blocks = config.format().num_blocks(shape.iter().product());
            saved.add_bytes(ABSMAX, bytes(codes, blocks)?);
            saved.add_floats(NESTED_ABSMAX, &values(absmax)?)?;
            saved.add_floats(NESTED_QUANT_MAP, DynamicMap::Signed.values())?;
            values(offset)?.first().copied()
        }
    };
    let state = QuantState {
        config,
        dtype: weight.dtype(),
        offset,
    };
    let suffix = format!("{QUANT_STATE}{}", config.quant_type.name());
    saved.add_bytes(&suffix, state.json(shape).into_bytes());
    let codes = SavedTensor::four_bit_codes(name.to_string(), weight);
    saved.tensors.push(codes);
    Ok(saved.tensors)
}

/// The tensors of a weight.
struct Saved<'a> {
    name: &'a str,
    tensors: Vec<SavedTensor>,
}

impl Saved<'_> {
    fn add_floats(&mut self, suffix: &str, values: &[f32]) -> Result<(), HfError> {
        let name = format!("{}{suffix}", self.name);
        if let Some(found) = checks::first_not_finite(values) {
            return Err(HfError::not_finite(&name, found));
        }
        let bytes = floats::write(values, FloatDType::F32);
        let tensor = SavedTensor::bytes(name, Dtype::F32, values.len(), bytes);
        self.tensors.push(tensor);
        Ok(())
    }

    fn add_bytes(&mut self, suffix: &str, bytes: Vec<u8>) {
        let name = format!("{}{suffix}", self.name);
        let tensor = SavedTensor::bytes(name, Dtype::U8, bytes.len(), bytes);
        self.tensors.push(tensor);
    }
}

fn values(tensor: Tensor<1>) -> Result<Vec<f32>, TensorReadError> {
    Ok(tensor
        .try_into_data_dtype(DType::F32)?
        .try_to_vec::<f32>()?)
}

/// The first bytes of words.
fn bytes(words: Tensor<1, Int>, length: usize) -> Result<Vec<u8>, TensorReadError> {
    let words = words.try_into_data_dtype(DType::U32)?.try_to_vec::<u32>()?;
    let mut bytes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
    bytes.truncate(length);
    Ok(bytes)
}
