//! The parameters of a model in the tensors of a folder.

use std::{collections::BTreeMap, convert::Infallible, path::Path};

use burn::{
    nn::Linear,
    tensor::{Device, FloatDType, TensorData},
};

use super::{
    Family, HfError, ScaleConvention,
    checkpoint::{Checkpoint, Entry},
    dtype::float_dtype,
    error::TensorProblem,
    exact_values::ExactValues,
    four_bit::{self, QuantState},
    head::Head,
    not_converted::NotConverted,
    packed_rows,
    tensors::{ExpectedTensor, SCALE_SUFFIX, float_tensors, packed_tensors},
};
use crate::{
    interop::{architecture::Parameter, floats, load_parameters},
    nn::BitNetLm,
    qat::{PackedFourBit, PackedWeight},
};

/// Form of the projections of a folder, but for those that are not converted.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Storage {
    Floats,
    /// Codes of 2 bits.
    Ternary(ScaleConvention),
    /// Codes of 4 bits, with what is beside them by the names of the weights.
    FourBit(BTreeMap<String, QuantState>),
}

/// Folder that the parameters of a model are read from. All tensors were checked to be there, with their types
/// and shapes.
pub(super) struct Source<'a> {
    pub folder: &'a Path,
    pub checkpoint: &'a Checkpoint,
    /// The parameters of the model.
    pub table: &'a [Parameter],
    pub family: Family,
    pub head: Head,
    pub dtype: Option<FloatDType>,
    pub storage: Storage,
    pub exact: ExactValues,
    pub not_converted: &'a NotConverted,
    pub device: &'a Device,
}

/// Returns whether a parameter is one of the weights that a quantization converts.
pub(super) fn is_converted(parameter: &Parameter, not_converted: &NotConverted) -> bool {
    parameter.is_projection() && !not_converted.matches(parameter.module())
}

impl Source<'_> {
    /// Whether a parameter is packed.
    pub fn is_packed(&self, parameter: &Parameter) -> bool {
        self.storage != Storage::Floats && is_converted(parameter, self.not_converted)
    }

    /// The tensors of a parameter; `None` if it is too large for any.
    pub fn expected_tensors(&self, parameter: &Parameter) -> Option<Vec<ExpectedTensor>> {
        match &self.storage {
            _ if !self.is_packed(parameter) => Some(float_tensors(self.family, parameter)),
            Storage::FourBit(states) => {
                four_bit::expected_tensors(parameter, &states[&parameter.hf], self.checkpoint)
            }
            _ => Some(packed_tensors(self.family, parameter)),
        }
    }

    fn entry(&self, name: &str) -> &Entry {
        self.checkpoint.get(name).expect("checked before")
    }

    /// The model with the floats of the folder.
    ///
    /// # Errors
    ///
    /// All tensors that have a value which is not finite.
    pub fn with_floats(&self, lm: BitNetLm<Linear>) -> Result<BitNetLm<Linear>, HfError> {
        let mut problems = Vec::new();
        let Ok(lm) = load_parameters::with_floats(lm, self.table, |parameter| {
            if self.is_packed(parameter) {
                return Ok::<_, Infallible>(None);
            }
            let name = self.family.tensor_name(parameter);
            let data = self.floats(parameter, &name);
            if let Some(place) = floats::first_not_finite(data.as_bytes(), data.dtype()) {
                let reason = format!("value {place} is not finite");
                problems.push(TensorProblem::Value { name, reason });
            }
            Ok(Some(data))
        });
        HfError::check(self.folder, problems).map(|()| lm)
    }

    /// The type that floats of a type in the folder get.
    fn dtype_of(&self, from: FloatDType) -> FloatDType {
        let kept = match self.device.supports_dtype(from) {
            true => from,
            false => FloatDType::F32,
        };
        self.dtype.unwrap_or(kept)
    }

    fn floats(&self, parameter: &Parameter, name: &str) -> TensorData {
        let entry = self.entry(&self.head.file_name(name));
        let from = float_dtype(entry.info.dtype).expect("checked before");
        let types = [from, self.dtype_of(from)];
        let (order, shape) = (parameter.order(), parameter.tensor_shape());
        let release = |bytes| self.checkpoint.release(entry, bytes);
        let data = floats::read(self.checkpoint.bytes(entry), types, order, &shape, &release);
        match self.scale_of_bias(parameter) {
            Some(scale) => {
                let values = self.exact.bias(name, data.iter::<f32>(), scale);
                TensorData::new(values, shape).convert_dtype(data.dtype())
            }
            None => data,
        }
    }

    /// The scale that multiplies a bias, too.
    fn scale_of_bias(&self, parameter: &Parameter) -> Option<f32> {
        let is_scaled = self.storage == Storage::Ternary(ScaleConvention::Multiply)
            && parameter.is_bias
            && !self.not_converted.matches(parameter.module());
        let scale = is_scaled.then(|| self.weight_scale(&format!("{}.weight", parameter.module())));
        // Others are refused with their weights.
        scale.filter(|scale| scale.is_finite())
    }

    /// The scale in the file of a packed weight.
    fn weight_scale(&self, weight: &str) -> f32 {
        let scale = self.entry(&format!("{weight}{SCALE_SUFFIX}"));
        let dtype = float_dtype(scale.info.dtype).expect("checked before");
        floats::values(self.checkpoint.bytes(scale), dtype)[0]
    }

    /// The packed weights of the folder by the paths of their projections.
    ///
    /// # Errors
    ///
    /// All tensors that have a value which is none of a code or scale.
    pub fn packed_weights(
        &self,
        convention: ScaleConvention,
    ) -> Result<BTreeMap<String, PackedWeight>, HfError> {
        let (mut weights, mut problems) = (BTreeMap::new(), Vec::new());
        for parameter in self.table.iter().filter(|p| self.is_packed(p)) {
            match self.packed_weight(parameter, convention) {
                Ok(weight) => {
                    weights.insert(parameter.module().to_string(), weight);
                }
                Err(problem) => problems.push(problem),
            }
        }
        HfError::check(self.folder, problems).map(|()| weights)
    }

    /// The weights of 4 bits of the folder by the paths of their projections.
    ///
    /// # Errors
    ///
    /// All tensors that have a value which is none of theirs.
    pub fn four_bit_weights(
        &self,
        states: &BTreeMap<String, QuantState>,
    ) -> Result<BTreeMap<String, PackedFourBit>, HfError> {
        // They are never trained.
        let device = self.device.clone().inner();
        let (mut weights, mut problems) = (BTreeMap::new(), Vec::new());
        for parameter in self.table.iter().filter(|p| self.is_packed(p)) {
            let state = &states[&parameter.hf];
            let dtype = self.dtype_of(state.dtype);
            match four_bit::read_weight(self.checkpoint, parameter, state, dtype, &device) {
                Ok(weight) => {
                    weights.insert(parameter.module().to_string(), weight);
                }
                Err(problem) => problems.push(problem),
            }
        }
        HfError::check(self.folder, problems).map(|()| weights)
    }

    fn packed_weight(
        &self,
        parameter: &Parameter,
        convention: ScaleConvention,
    ) -> Result<PackedWeight, TensorProblem> {
        // Names of projections are those of transformers in all families.
        let name = &parameter.hf;
        let shape = [parameter.shape[0], parameter.row_len()];
        let wrong = |name: &str, reason: String| TensorProblem::Value {
            name: name.to_string(),
            reason,
        };
        let scale = self.weight_scale(name);
        let gamma = self.exact.gamma(name, convention, scale);
        if !(gamma.is_finite() && gamma > 0.0) {
            let scale_name = format!("{name}{SCALE_SUFFIX}");
            let reason = format!("a scale is positive and finite, found {scale}");
            return Err(wrong(&scale_name, reason));
        }
        let codes = self.entry(name);
        let bytes = self.checkpoint.bytes(codes);
        let words = packed_rows::to_words(bytes, shape).map_err(|place| {
            let reason = format!("byte {place} has a code that is none of -1, 0 and 1");
            wrong(name, reason)
        })?;
        self.checkpoint.release(codes, 0..bytes.len());
        Ok(PackedWeight::from_words(words, shape, gamma, self.device))
    }
}
