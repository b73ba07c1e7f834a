//! The parameters of files in a language model.

use std::collections::BTreeMap;

use burn::{
    module::Param,
    nn::Linear,
    tensor::{Tensor, TensorData},
};

use super::{architecture::Parameter, parameters::by_path};
use crate::{
    base::path_visitor::{ModulePath, PathMapper, map_paths},
    nn::{BitNetLm, Linear4bit, PackedBitLinear},
    qat::{PackedFourBit, PackedWeight},
};

/// The model with packed weights by the paths of their projections. The other projections are in full
/// precision.
pub(super) fn with_packed(
    lm: BitNetLm<Linear>,
    mut weights: BTreeMap<String, PackedWeight>,
) -> BitNetLm<PackedBitLinear> {
    lm.map_projections(|path, linear| match weights.remove(path) {
        Some(weight) => PackedBitLinear::b1_58(weight).with_bias(linear.bias),
        None => PackedBitLinear::full_precision(linear),
    })
}

/// The model with weights of 4 bits by the paths of their projections. The other projections are in full
/// precision.
pub(super) fn with_four_bit(
    lm: BitNetLm<Linear>,
    mut weights: BTreeMap<String, PackedFourBit>,
) -> BitNetLm<Linear4bit> {
    lm.map_projections(|path, linear| match weights.remove(path) {
        Some(weight) => Linear4bit::from_packed(weight, linear.bias),
        None => Linear4bit::full_precision(linear),
    })
}

/// The model with the parameters of a table that `read` has, in the layout of the model. Others stay as
/// they are.
///
/// # Errors
///
/// The first error of `read`, after which nothing more is read.
pub(super) fn with_floats<E>(
    lm: BitNetLm<Linear>,
    table: &[Parameter],
    read: impl FnMut(&Parameter) -> Result<Option<TensorData>, E>,
) -> Result<BitNetLm<Linear>, E> {
    let mut mapper = WithFloats {
        table: by_path(table),
        read,
        failure: None,
    };
    let lm = map_paths(lm, &mut mapper);
    mapper.failure.map_or(Ok(lm), Err)
}

struct WithFloats<'a, F, E> {
    table: BTreeMap<&'a str, &'a Parameter>,
    read: F,
    /// The first error, as a mapper returns none.
    failure: Option<E>,
}

impl<F, E> WithFloats<'_, F, E>
where
    F: FnMut(&Parameter) -> Result<Option<TensorData>, E>,
{
    fn data(&mut self, path: &str) -> Option<TensorData> {
        let parameter = self.table.get(path)?;
        if self.failure.is_some() {
            return None;
        }
        (self.read)(parameter).unwrap_or_else(|error| {
            self.failure = Some(error);
            None
        })
    }
}

impl<F, E> PathMapper for WithFloats<'_, F, E>
where
    F: FnMut(&Parameter) -> Result<Option<TensorData>, E>,
{
    fn map_float<const D: usize>(
        &mut self,
        path: &ModulePath,
        param: Param<Tensor<D>>,
    ) -> Param<Tensor<D>> {
        let Some(data) = self.data(&path.join()) else {
            return param;
        };
        // A parameter is made when it is first asked for, which its device is not.
        let dtype = data.dtype();
        let tensor = Tensor::from_data(data, (&param.lazy_device(), dtype));
        let id = param.id;
        param.transform_for_load(tensor, id)
    }
}
