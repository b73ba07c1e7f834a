use std::collections::BTreeMap;

use burn::tensor::{DType, Tensor, TensorData, TensorReadError};

use super::{PREFIX, PeftFileError};

/// A tensor of a file: its shape and the bytes of its values.
pub(super) type Written = (Vec<usize>, Vec<u8>);

/// Returns the values of a tensor for a file, in `f32`.
pub(super) fn written<const D: usize>(tensor: Tensor<D>) -> Result<Written, TensorReadError> {
    Ok(of_data(&tensor.try_into_data_dtype(DType::F32)?))
}

fn of_data(data: &TensorData) -> Written {
    let bytes = data.iter::<f32>().flat_map(f32::to_le_bytes).collect();
    (data.shape().to_vec(), bytes)
}

/// Tensors of a file, by name.
pub(super) struct Tensors<'a> {
    pub(super) written: BTreeMap<String, Written>,
    /// Module whose tensors are added.
    pub(super) module: &'a str,
}

impl Tensors<'_> {
    /// Adds a tensor of the module, in `f32`.
    pub(super) fn add<const D: usize>(
        &mut self,
        part: &str,
        tensor: Tensor<D>,
    ) -> Result<(), PeftFileError> {
        self.insert(part, written(tensor)?);
        Ok(())
    }

    /// Adds values of the module, which are `f32`.
    pub(super) fn add_data(&mut self, part: &str, data: &TensorData) {
        self.insert(part, of_data(data));
    }

    fn insert(&mut self, part: &str, written: Written) {
        let name = format!("{PREFIX}{}.{part}", self.module);
        self.written.insert(name, written);
    }
}
