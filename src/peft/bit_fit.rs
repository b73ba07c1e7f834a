use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    tensor::{DType, Tensor, assert_shape},
};

use super::{
    AdapterBase,
    adapter_method::{AdapterMethod, BasePass, Merged},
};
use crate::nn::SavedInput;

/// BitFit adapter of one projection: a trained difference of the bias, `y = base(x) + d`.
///
/// See [`BitFitConfig`](super::BitFitConfig) for the reason of this form.
///
/// Source: [BitFit](https://arxiv.org/abs/2106.10199).
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::Projection, peft::{AdaptedLinear, BitFit}};
/// use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
///
/// let device = Device::default();
/// let linear = LinearConfig::new(3, 2).with_bias(false).init(&device);
/// let bit_fit = BitFit::new(Tensor::from_data([0.5, -1.0], &device));
/// let layer = AdaptedLinear::new(linear).with_adapter("default", bit_fit);
/// let y = layer.forward(Tensor::<2>::zeros([1, 3], &device));
/// assert_eq!(y.into_data().try_to_vec::<f32>()?, [0.5, -1.0]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct BitFit {
    /// Difference from the bias of the base, or from 0, of shape `[d_output]`.
    pub difference: Param<Tensor<1>>,
}

impl BitFit {
    /// Creates an adapter of a difference `[d_output]`.
    pub fn new(difference: Tensor<1>) -> Self {
        Self {
            difference: Param::from_tensor(difference),
        }
    }
}

impl AdapterMethod for BitFit {
    fn check(&self, [_, d_output]: [usize; 2]) {
        assert_shape!(self.difference.val(), [d_output]);
    }

    fn output<P: AdapterBase, const D: usize>(
        &self,
        _pass: &BasePass<'_, P, D>,
        y: Tensor<D>,
    ) -> Tensor<D> {
        let dtype = y.dtype();
        y + self.difference.val().cast(dtype).unsqueeze()
    }

    fn saved_input(&self) -> SavedInput {
        SavedInput::Unused
    }

    fn merged(&self, _base: &Tensor<2>, mut merged: Merged) -> Merged {
        let difference = self.difference.val().without_autodiff().cast(DType::F32);
        merged.bias = Some(match merged.bias {
            Some(bias) => bias + difference,
            None => difference,
        });
        merged
    }
}

impl ModuleDisplay for BitFit {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [d_output] = self.difference.shape().dims();
        content.add("d_output", &d_output).optional()
    }
}
