use burn::{
    module::{Module, Reparameterization},
    tensor::Tensor,
};

use super::{Ste, WeightQuantizer};
use crate::ops::Groups;

/// The reparameterization `W -> Q(W)`: a parameter that trains with its quantised value.
///
/// The parameter keeps the latent weight ([`Param::base`](burn::module::Param::base)), which the
/// optimizer updates and checkpoints store; layers read `Q(W)` through
/// [`Param::val`](burn::module::Param::val). [`Prepare`](super::Prepare) attaches it.
#[derive(Module, Debug)]
pub struct FakeQuant {
    #[module(skip)]
    quantizer: WeightQuantizer,
    #[module(skip)]
    ste: Ste,
    output_axis: usize,
}

impl FakeQuant {
    /// Fake quantisation of a weight whose output channels lie along `output_axis`.
    pub fn new(quantizer: WeightQuantizer, ste: Ste, output_axis: usize) -> Self {
        Self {
            quantizer,
            ste,
            output_axis,
        }
    }

    /// The quantiser.
    pub fn quantizer(&self) -> &WeightQuantizer {
        &self.quantizer
    }

    /// Dimension of the output channels.
    pub fn output_axis(&self) -> usize {
        self.output_axis
    }

    fn groups(&self, shape: &[usize]) -> Groups {
        self.quantizer
            .groups(shape, self.output_axis)
            .unwrap_or_else(|error| panic!("weight of shape {shape:?}: {error}"))
    }
}

impl Reparameterization for FakeQuant {
    const NAME: &'static str = "fake_quant";

    fn apply<const D: usize>(&self, base: Tensor<D>) -> Tensor<D> {
        let groups = self.groups(&base.dims());
        self.quantizer.fake_quant(base, groups, self.ste).0
    }
}
