//! The parameters of a model in the tensors of a file.

use std::collections::{BTreeMap, BTreeSet};

use burn::{
    nn::Linear,
    tensor::{Device, FloatDType, TensorData},
};

use super::{
    Architecture, GgmlType, GgufError, GgufReader, GgufTensor, rope::FACTORS,
    tensor_problems::TensorProblems,
};
use crate::{
    interop::{
        architecture::Parameter,
        floats::{self, Order},
        load_parameters,
    },
    nn::BitNetLm,
    ops::packing::pack_rows,
    qat::PackedWeight,
};

/// The tensors of a model in a file.
pub(super) struct ModelTensors<'a> {
    pub reader: &'a GgufReader,
    pub architecture: Architecture,
    /// The parameters of the model.
    pub table: &'a [Parameter],
}

impl ModelTensors<'_> {
    /// Lists everything about the tensors that is not as the metadata say.
    pub fn check(&self) -> Result<(), GgufError> {
        let mut problems = TensorProblems::default();
        let mut known = BTreeSet::new();
        // Read with the scaling of positions.
        if self.architecture.has_rope_factors() {
            known.insert(FACTORS.to_string());
        }
        for parameter in self.table {
            known.insert(parameter.gguf.clone());
            if parameter.is_projection() {
                known.insert(parameter.gguf_scale());
            }
            if let Some(problem) = self.problem(parameter) {
                problems.add(&parameter.gguf, problem);
            }
        }
        for tensor in self.reader.tensors() {
            if !known.contains(tensor.name()) {
                problems.add(tensor.name(), "not part of this architecture".to_string());
            }
        }
        problems.into_result()
    }

    /// What is wrong with the tensor of a parameter.
    fn problem(&self, parameter: &Parameter) -> Option<String> {
        let expected = &parameter.shape;
        let Ok(tensor) = self.reader.tensor(&parameter.gguf) else {
            return Some(format!("missing, expected {expected:?}"));
        };
        let (found, ggml_type) = (tensor.shape().row_major(), tensor.ggml_type());
        if found != *expected {
            return Some(format!("expected shape {expected:?}, found {found:?}"));
        }
        (!ggml_type.is_decoded()).then(|| {
            let supported = GgmlType::decoded();
            format!("the type {ggml_type} is not read here, supported are {supported}")
        })
    }

    /// The model with the wanted parameters of the file.
    pub fn with_floats(
        &self,
        lm: BitNetLm<Linear>,
        wanted: impl Fn(&Parameter) -> bool,
    ) -> Result<BitNetLm<Linear>, GgufError> {
        load_parameters::with_floats(lm, self.table, |parameter| match wanted(parameter) {
            true => self.data(parameter).map(Some),
            false => Ok(None),
        })
    }

    /// The numbers of a tensor in the layout of the model, with the scale beside them.
    fn data(&self, parameter: &Parameter) -> Result<TensorData, GgufError> {
        let tensor = self.reader.tensor(&parameter.gguf)?;
        let values = tensor.decode()?;
        let mut values = self.architecture.unpermute_rope_heads(parameter, values);
        if let Some(scale) = self.scale_beside(parameter)? {
            values.iter_mut().for_each(|value| *value *= scale);
        }
        let shape = parameter.tensor_shape();
        Ok(match parameter.order() {
            Order::Kept => TensorData::new(values, shape),
            order => {
                let types = [FloatDType::F32; 2];
                floats::read(
                    &floats::write(&values, FloatDType::F32),
                    types,
                    order,
                    &shape,
                    &|_| {},
                )
            }
        })
    }

    fn scale_beside(&self, parameter: &Parameter) -> Result<Option<f32>, GgufError> {
        let Ok(scale) = self.reader.tensor(&parameter.gguf_scale()) else {
            return Ok(None);
        };
        match scale.decode()?.as_slice() {
            [scale] if scale.is_finite() && *scale > 0.0 => Ok(Some(*scale)),
            found => Err(GgufError::model(format!(
                "{}: expected one positive scale, found {found:?}",
                scale.name()
            ))),
        }
    }

    /// The projections as packed weights by their paths, if all of them are codes and a scale.
    pub fn packed_weights(
        &self,
        device: &Device,
    ) -> Result<Option<BTreeMap<String, PackedWeight>>, GgufError> {
        let projections = self.table.iter().filter(|p| p.is_projection());
        let weights = projections.map(|parameter| {
            let weight = self.packed_weight(parameter, device)?;
            Ok(weight.map(|weight| (parameter.module().to_string(), weight)))
        });
        weights.collect()
    }

    fn packed_weight(
        &self,
        parameter: &Parameter,
        device: &Device,
    ) -> Result<Option<PackedWeight>, GgufError> {
        let tensor = self.reader.tensor(&parameter.gguf)?;
        let Some((codes, inside)) = codes(&tensor)? else {
            return Ok(None);
        };
        let scale = inside * self.scale_beside(parameter)?.unwrap_or(1.0);
        if !(scale.is_finite() && scale > 0.0) {
            let path = &parameter.path;
            let reason = format!("{path}: a scale is positive, found {scale}");
            return Err(GgufError::model(reason));
        }
        let codes = self.architecture.unpermute_rope_heads(parameter, codes);
        let shape = [tensor.shape().rows() as usize, parameter.row_len()];
        let words = pack_rows(&codes, shape[1]);
        Ok(Some(PackedWeight::from_words(words, shape, scale, device)))
    }
}

/// Codes and the scale of a tensor, if it is nothing else.
fn codes(tensor: &GgufTensor<'_>) -> Result<Option<(Vec<i8>, f32)>, GgufError> {
    if !tensor.ggml_type().is_ternary() {
        return Ok(as_codes(&tensor.decode()?));
    }
    let ternary = tensor.decode_ternary()?;
    let scale = ternary.tensor_scale();
    Ok(scale.map(|scale| (ternary.into_codes(), scale)))
}

/// Numbers that are a scale times -1, 0 and 1, as codes and the scale; `None` for others.
fn as_codes(values: &[f32]) -> Option<(Vec<i8>, f32)> {
    let scale = values.iter().find(|value| **value != 0.0);
    // Zeros have any scale.
    let scale = scale.map_or(1.0, |value| value.abs());
    let code = |value: &f32| match *value {
        0.0 => Some(0),
        value if value == scale => Some(1),
        value if value == -scale => Some(-1),
        _ => None,
    };
    let codes: Option<Vec<i8>> = values.iter().map(code).collect();
    codes.map(|codes| (codes, scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_that_are_codes_are_found() {
        let found = as_codes(&[0.0, 0.5, -0.5, -0.0]);
        assert_eq!(found, Some((vec![0, 1, -1, 0], 0.5)));
        assert_eq!(as_codes(&[0.0, 0.5, -0.25]), None);
        assert_eq!(as_codes(&[0.0; 3]), Some((vec![0; 3], 1.0)));
    }
}
