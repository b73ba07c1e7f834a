//! The parameters of a model in the tensors of a file.

use std::collections::BTreeSet;

use burn::{nn::Linear, tensor::TensorData};
use rayon::prelude::*;

use super::{
    Architecture, GgmlType, GgufError, GgufReader, GgufTensor,
    architecture::{row_len, scale_name, tensor_name, turned_heads, unpair_rows},
    model_config::wrong,
    rope::FACTORS,
    tensor_problems::TensorProblems,
};
use crate::{
    interop::parameters,
    nn::{BitNetLm, BitNetLmConfig},
};

/// A weight of codes.
pub(super) struct Ternary {
    pub codes: Vec<i8>,
    pub shape: [usize; 2],
    pub scale: f32,
}

/// A tensor that the architecture has.
pub(super) struct Expected {
    path: String,
    name: String,
    /// `[d_output, d_input]` of matrices.
    shape: Vec<usize>,
}

/// The tensors of a model in a file.
pub(super) struct ModelTensors<'a> {
    pub reader: &'a GgufReader,
    pub architecture: Architecture,
    pub config: &'a BitNetLmConfig,
}

impl ModelTensors<'_> {
    pub fn expected(&self, lm: &BitNetLm<Linear>) -> Vec<Expected> {
        let mut expected = Vec::new();
        // Asks for every parameter, and puts none in.
        parameters::with_floats(lm.clone(), |path, shape| {
            let mut shape = shape.to_vec();
            if parameters::is_linear(path) {
                shape.reverse();
            }
            if let Some(name) = tensor_name(path) {
                let path = path.to_string();
                expected.push(Expected { path, name, shape });
            }
            None
        });
        expected
    }

    /// Lists everything about the tensors that is not as the metadata say.
    pub fn check(&self, expected: &[Expected]) -> Result<(), GgufError> {
        let mut problems = TensorProblems::default();
        let mut known = BTreeSet::new();
        // Read with the scaling of positions.
        if self.architecture.has_rope_factors() {
            known.insert(FACTORS.to_string());
        }
        for Expected { path, name, shape } in expected {
            known.insert(name.clone());
            if path.ends_with("_proj.weight") {
                known.insert(scale_name(name));
            }
            let Ok(tensor) = self.reader.tensor(name) else {
                problems.add(name, format!("missing, expected {shape:?}"));
                continue;
            };
            let (found, ggml_type) = (tensor.shape().row_major(), tensor.ggml_type());
            if found != *shape {
                problems.add(name, format!("expected shape {shape:?}, found {found:?}"));
            } else if !ggml_type.is_decoded() {
                let supported = GgmlType::decoded();
                let reason =
                    format!("the type {ggml_type} is not read here, supported are {supported}");
                problems.add(name, reason);
            }
        }
        for tensor in self.reader.tensors() {
            if !known.contains(tensor.name()) {
                problems.add(tensor.name(), "not part of this architecture".to_string());
            }
        }
        problems.into_result()
    }

    fn tensor(&self, path: &str) -> Result<GgufTensor<'_>, GgufError> {
        self.reader.tensor(&tensor_name(path).unwrap_or_default())
    }

    /// Everything but the projections.
    pub fn with_floats(&self, lm: BitNetLm<Linear>) -> Result<BitNetLm<Linear>, GgufError> {
        self.with(lm, |path| !path.ends_with("_proj.weight"))
    }

    pub fn with_projections(&self, lm: BitNetLm<Linear>) -> Result<BitNetLm<Linear>, GgufError> {
        self.with(lm, |path| path.ends_with("_proj.weight"))
    }

    fn with(
        &self,
        lm: BitNetLm<Linear>,
        wanted: impl Fn(&str) -> bool,
    ) -> Result<BitNetLm<Linear>, GgufError> {
        let mut failure = None;
        let lm = parameters::with_floats(lm, |path, shape| {
            if !wanted(path) || failure.is_some() {
                return None;
            }
            match self.values(path) {
                Ok(values) if parameters::is_linear(path) => {
                    Some(TensorData::new(transposed(&values, shape), shape))
                }
                Ok(values) => Some(TensorData::new(values, shape)),
                Err(error) => {
                    failure = Some(error);
                    None
                }
            }
        });
        failure.map_or(Ok(lm), Err)
    }

    /// The numbers of a tensor in the order of rows of this crate, with the scale beside them.
    fn values(&self, path: &str) -> Result<Vec<f32>, GgufError> {
        let tensor = self.tensor(path)?;
        let mut values = self.unpaired(path, &tensor, tensor.decode()?);
        if let Some(scale) = self.scale_beside(&tensor)? {
            values.iter_mut().for_each(|value| *value *= scale);
        }
        Ok(values)
    }

    fn unpaired<T: Copy>(&self, path: &str, tensor: &GgufTensor<'_>, values: Vec<T>) -> Vec<T> {
        match turned_heads(path, self.config) {
            Some(heads) if self.architecture.has_paired_rows() => {
                unpair_rows(&values, heads, row_len(&tensor.shape().row_major()))
            }
            _ => values,
        }
    }

    fn scale_beside(&self, tensor: &GgufTensor<'_>) -> Result<Option<f32>, GgufError> {
        let Ok(scale) = self.reader.tensor(&scale_name(tensor.name())) else {
            return Ok(None);
        };
        match scale.decode()?.as_slice() {
            [scale] if scale.is_finite() && *scale > 0.0 => Ok(Some(*scale)),
            found => Err(wrong(format!(
                "{}: expected one positive scale, found {found:?}",
                scale.name()
            ))),
        }
    }

    /// The projections in their order as codes and scales, if all of them are.
    pub fn ternary_projections(
        &self,
        lm: &BitNetLm<Linear>,
    ) -> Result<Option<std::vec::IntoIter<Ternary>>, GgufError> {
        let mut weights = Vec::new();
        for (path, _) in lm.projections() {
            match self.ternary(&format!("{path}.weight"))? {
                Some(weight) => weights.push(weight),
                None => return Ok(None),
            }
        }
        Ok(Some(weights.into_iter()))
    }

    fn ternary(&self, path: &str) -> Result<Option<Ternary>, GgufError> {
        let tensor = self.tensor(path)?;
        let found = match tensor.ggml_type().is_ternary() {
            true => {
                let ternary = tensor.decode_ternary()?;
                let scale = ternary.tensor_scale();
                scale.map(|scale| (ternary.into_codes(), scale))
            }
            false => as_codes(&tensor.decode()?),
        };
        let Some((codes, inside)) = found else {
            return Ok(None);
        };
        let scale = inside * self.scale_beside(&tensor)?.unwrap_or(1.0);
        if !(scale.is_finite() && scale > 0.0) {
            return Err(wrong(format!("{path}: a scale is positive, found {scale}")));
        }
        let codes = self.unpaired(path, &tensor, codes);
        let shape = [
            tensor.shape().rows() as usize,
            tensor.shape().row_len() as usize,
        ];
        Ok(Some(Ternary {
            codes,
            shape,
            scale,
        }))
    }
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

/// Columns that a thread turns at a time: as many numbers as a line of the cache has.
const COLUMNS: usize = 16;

/// `[d_input, d_output]` of rows `[d_output, d_input]`.
fn transposed(values: &[f32], shape: &[usize]) -> Vec<f32> {
    let (d_input, d_output) = (shape[0], shape[1]);
    let mut transposed = vec![0.0; values.len()];
    let parts = transposed.par_chunks_mut((COLUMNS * d_output).max(1));
    parts.enumerate().for_each(|(part, transposed)| {
        let (first, width) = (part * COLUMNS, transposed.len() / d_output);
        for (row, values) in values.chunks_exact(d_input).enumerate() {
            for (column, value) in values[first..first + width].iter().enumerate() {
                transposed[column * d_output + row] = *value;
            }
        }
    });
    transposed
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matrices_are_transposed() {
        for (d_input, d_output) in [(1, 1), (37, 5), (16, 3), (2, 40)] {
            let values: Vec<f32> = (0..d_input * d_output).map(|i| i as f32).collect();
            let found = transposed(&values, &[d_input, d_output]);
            for (i, value) in found.iter().enumerate() {
                let (column, row) = (i / d_output, i % d_output);
                assert_eq!(*value, values[row * d_input + column]);
            }
        }
    }

    #[test]
    fn numbers_that_are_codes_are_found() {
        let found = as_codes(&[0.0, 0.5, -0.5, -0.0]);
        assert_eq!(found, Some((vec![0, 1, -1, 0], 0.5)));
        assert_eq!(as_codes(&[0.0, 0.5, -0.25]), None);
        assert_eq!(as_codes(&[0.0; 3]), Some((vec![0; 3], 1.0)));
    }
}
