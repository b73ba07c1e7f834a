use burn::{
    module::{Module, Param, ParamId, Reparameterization},
    tensor::{Tensor, TensorCreationOptions},
};

use super::PackedWeight;

/// Reparameterization of a packed weight: a parameter with codes and scales, and no values of its own.
///
/// [`PackedModel::load_into`](super::PackedModel::load_into) attaches it. Layers read the unpacked weight
/// through [`Param::val`](burn::module::Param::val). Save such a model with
/// [`PackedModel::save`](super::PackedModel::save): a record of it holds zeros for the missing values.
#[derive(Module, Debug)]
pub struct PackedParameter {
    weight: PackedWeight,
    row_axis: usize,
}

impl PackedParameter {
    pub(super) fn new(weight: PackedWeight, row_axis: usize) -> Self {
        Self { weight, row_axis }
    }

    /// Returns the packed weight.
    pub fn weight(&self) -> &PackedWeight {
        &self.weight
    }

    /// Returns the dimension of the parameter along which the rows of the packed weight lie.
    pub fn row_axis(&self) -> usize {
        self.row_axis
    }
}

impl Reparameterization for PackedParameter {
    const NAME: &'static str = "packed";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        self.weight.unpack_like(base.dims(), self.row_axis)
    }
}

/// Returns a parameter of this shape that takes the memory of one value.
pub(super) fn placeholder<const D: usize>(
    id: ParamId,
    shape: [usize; D],
    options: impl Into<TensorCreationOptions>,
) -> Param<Tensor<D>> {
    let options = options.into();
    let zeros = move || {
        let one = Tensor::<D>::zeros(shape.map(|size| size.min(1)), options.clone());
        one.expand(shape)
    };
    // A record holds all of the zeros.
    let param = Param::initialized(id, zeros()).load_mapper(move |_| zeros());
    param.set_require_grad(false)
}
