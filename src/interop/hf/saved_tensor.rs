//! A tensor that is read from its device when it is written.

use std::{borrow::Cow, cell::RefCell};

use burn::tensor::FloatDType;
use safetensors::{Dtype, View};

use super::{HfError, dtype::file_dtype, packed_rows};
use crate::{
    interop::{checks, floats, parameters::FloatParameter},
    ops::FourBitFormat,
    qat::{PackedFourBit, PackedWeight},
};

/// A tensor of a file.
pub(super) struct SavedTensor {
    name: String,
    dtype: Dtype,
    shape: Vec<usize>,
    values: Values,
    /// What went wrong, as the writer of the format takes no errors.
    error: RefCell<Option<HfError>>,
}

enum Values {
    Floats(FloatParameter, FloatDType),
    Codes(Box<PackedWeight>),
    Scale(f32),
    FourBitCodes(Box<PackedFourBit>),
    Bytes(Vec<u8>),
}

impl SavedTensor {
    /// Floats of a type, in a shape of files.
    pub fn floats(
        name: String,
        shape: Vec<usize>,
        values: FloatParameter,
        dtype: FloatDType,
    ) -> Self {
        Self::new(
            name,
            file_dtype(dtype),
            shape,
            Values::Floats(values, dtype),
        )
    }

    /// Codes of a packed weight, four in a byte.
    pub fn codes(name: String, weight: PackedWeight) -> Self {
        let [d_output, d_input] = weight.dims();
        let shape = vec![d_output.div_ceil(4), d_input];
        Self::new(name, Dtype::U8, shape, Values::Codes(Box::new(weight)))
    }

    /// The scale of a packed weight.
    pub fn scale(name: String, scale: f32) -> Self {
        Self::new(name, Dtype::F32, vec![1], Values::Scale(scale))
    }

    /// Codes of 4 bits, two in a byte.
    pub fn four_bit_codes(name: String, weight: PackedFourBit) -> Self {
        let bytes = FourBitFormat::num_bytes(weight.dims().iter().product());
        let values = Values::FourBitCodes(Box::new(weight));
        Self::new(name, Dtype::U8, vec![bytes, 1], values)
    }

    /// The bytes of so many values of a type.
    pub fn bytes(name: String, dtype: Dtype, values: usize, bytes: Vec<u8>) -> Self {
        Self::new(name, dtype, vec![values], Values::Bytes(bytes))
    }

    fn new(name: String, dtype: Dtype, shape: Vec<usize>, values: Values) -> Self {
        Self {
            name,
            dtype,
            shape,
            values,
            error: RefCell::default(),
        }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn num_bytes(&self) -> usize {
        self.shape.iter().product::<usize>() * self.dtype.bitsize() / 8
    }

    /// What went wrong when it was written.
    pub fn take_error(&self) -> Option<HfError> {
        self.error.take()
    }

    fn to_bytes(&self) -> Result<Vec<u8>, HfError> {
        Ok(match &self.values {
            Values::Floats(values, dtype) => self.float_bytes(&values.values()?, *dtype)?,
            Values::Codes(weight) => packed_rows::from_words(&weight.to_words()?, weight.dims()),
            Values::Scale(scale) => scale.to_le_bytes().to_vec(),
            Values::FourBitCodes(weight) => weight.to_bytes()?,
            Values::Bytes(bytes) => bytes.clone(),
        })
    }

    /// Values as a file holds them, if it can.
    fn float_bytes(&self, values: &[f32], dtype: FloatDType) -> Result<Vec<u8>, HfError> {
        if let Some(found) = checks::first_not_finite(values) {
            return Err(HfError::not_finite(&self.name, found));
        }
        let bytes = floats::write(values, dtype);
        match floats::first_not_finite(&bytes, dtype.into()) {
            Some(place) => Err(HfError::unwritable(format!(
                "{}: value {place} is {}, which {dtype:?} does not reach to: write it as F32",
                self.name, values[place]
            ))),
            None => Ok(bytes),
        }
    }
}

impl View for &SavedTensor {
    fn dtype(&self) -> Dtype {
        self.dtype
    }

    fn shape(&self) -> &[usize] {
        &self.shape
    }

    fn data(&self) -> Cow<'_, [u8]> {
        let bytes = self.to_bytes().unwrap_or_else(|error| {
            *self.error.borrow_mut() = Some(error);
            vec![0; self.num_bytes()]
        });
        bytes.into()
    }

    fn data_len(&self) -> usize {
        self.num_bytes()
    }
}
