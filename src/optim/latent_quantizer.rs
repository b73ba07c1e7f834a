use burn::{
    config::Config,
    module::Module,
    tensor::{DType, Tensor},
};

use crate::{
    ops::Groups,
    qat::{FakeQuant, Inventory},
    quant::{Ste, WeightQuantizer},
};

/// Quantizer that the forward pass applies to a latent weight.
///
/// For an optimizer that needs the integer codes or the scales of the weight it updates. If step
/// sizes are trained, the scales are their initial values for the weight.
#[derive(Config, Debug, PartialEq)]
pub struct LatentQuantizer {
    /// Quantizer of the weights.
    #[config(default = "WeightQuantizer::default()")]
    pub quantizer: WeightQuantizer,
    /// Dimension of the output channels: 1 in a linear layer, 0 in a convolution. Ignored if the
    /// whole weight has one scale.
    #[config(default = 1)]
    pub output_axis: usize,
}

impl Default for LatentQuantizer {
    fn default() -> Self {
        Self::new()
    }
}

impl From<&FakeQuant> for LatentQuantizer {
    fn from(fake_quant: &FakeQuant) -> Self {
        Self {
            quantizer: fake_quant.quantizer().clone(),
            output_axis: fake_quant.output_axis(),
        }
    }
}

/// Integer codes of a weight, with the scale of each.
pub(super) struct Codes<const D: usize> {
    /// `round(Q(W) / scale)`, in f32.
    pub(super) codes: Tensor<D>,
    /// Scale of each value, in f32, of the shape of the weight.
    pub(super) scales: Tensor<D>,
}

impl LatentQuantizer {
    /// Returns the quantizers of the latent weights of a module, each with the paths of its
    /// weights.
    pub(super) fn of<M: Module>(model: &M) -> Vec<(Self, Vec<String>)> {
        let mut all: Vec<(Self, Vec<String>)> = Vec::new();
        for parameter in Inventory::of(model).parameters {
            let Some(quantizer) = parameter.quantizer() else {
                continue;
            };
            let own = Self {
                quantizer: quantizer.clone(),
                output_axis: parameter.output_axis(),
            };
            match all.iter_mut().find(|(quantizer, _)| *quantizer == own) {
                Some((_, paths)) => paths.push(parameter.path),
                None => all.push((own, vec![parameter.path])),
            }
        }
        all
    }

    /// Returns the codes of a weight, without gradient.
    pub(super) fn codes<const D: usize>(&self, weight: Tensor<D>) -> Codes<D> {
        let shape = weight.dims();
        let (quantized, scales) = self.fake_quant(weight);
        let codes = (quantized.cast(DType::F32) / scales.clone()).round();
        debug_assert_eq!(codes.dims(), shape);
        Codes { codes, scales }
    }

    /// Returns the scale of each value, in f32, of the shape of the weight.
    pub(super) fn scales<const D: usize>(&self, weight: Tensor<D>) -> Tensor<D> {
        self.fake_quant(weight).1
    }

    fn fake_quant<const D: usize>(&self, weight: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        let shape = weight.dims();
        let groups = self.groups(&shape);
        let (quantized, scales) = self.quantizer.fake_quant(weight, groups, Ste::Identity);
        let scales = scales
            .reshape([groups.outer, 1, groups.inner])
            .expand([groups.outer, groups.size, groups.inner])
            .reshape(shape);
        (quantized, scales)
    }

    #[track_caller]
    fn groups(&self, shape: &[usize]) -> Groups {
        match self.quantizer.groups(shape, self.output_axis) {
            Ok(groups) => groups,
            Err(error) => panic!("weight of shape {shape:?}: {error}"),
        }
    }
}
