use burn::{
    module::{Content, DisplaySettings, Module, ModuleDisplay, Param},
    tensor::{DType, Tensor, assert_shape},
};

use super::{
    AdapterBase,
    adapter_method::{AdapterMethod, BasePass, Merged},
};

/// (IA)³ adapter of one projection: a factor for each output, `y = l base(x)`, or for each input, `y = base(l x)`, of
/// a feed-forward module.
///
/// The products are computed in the type of `l` and rounded to the type of the model, as in peft. A bias is multiplied
/// as a part of the output. Weight decay would pull the factors to 0, away from the pretrained model at 1: train them
/// without.
///
/// Source: [(IA)³](https://arxiv.org/abs/2205.05638).
///
/// # Example
///
/// ```
/// use bitnet_burn::{nn::Projection, peft::{AdaptedLinear, Ia3}};
/// use burn::{nn::LinearConfig, tensor::{Device, Tensor}};
///
/// let device = Device::default();
/// let linear = LinearConfig::new(3, 2).init(&device);
/// let ia3 = Ia3::of_outputs(Tensor::from_data([0.5, 2.0], &device));
/// let layer = AdaptedLinear::new(linear).with_adapter("default", ia3);
/// assert_eq!(layer.forward(Tensor::<2>::ones([4, 3], &device)).dims(), [4, 2]);
/// ```
#[derive(Module, Debug)]
#[module(custom_display)]
pub struct Ia3 {
    /// Factors of shape `[d_output]`, or `[d_input]` of a feed-forward module.
    pub l: Param<Tensor<1>>,
    /// `true` if the factors are those of the inputs.
    pub is_feed_forward: bool,
}

impl Ia3 {
    /// Creates an adapter with factors of the outputs, `[d_output]`.
    pub fn of_outputs(l: Tensor<1>) -> Self {
        Self::new(l, false)
    }

    /// Creates an adapter with factors of the inputs, `[d_input]`.
    pub fn of_inputs(l: Tensor<1>) -> Self {
        Self::new(l, true)
    }

    pub(super) fn new(l: Tensor<1>, is_feed_forward: bool) -> Self {
        Self {
            l: Param::from_tensor(l),
            is_feed_forward,
        }
    }

    /// Replaces the values of the factors, which keep their identifier.
    #[cfg(feature = "interop")]
    pub(crate) fn with_factors(mut self, l: Tensor<1>) -> Self {
        self.l = self.l.map(|old| l.set_require_grad(old.is_require_grad()));
        self
    }

    /// Returns `l x`, in the type of `x`.
    fn scaled<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let (dtype, l) = (x.dtype(), self.l.val());
        (x.cast(l.dtype()) * l.unsqueeze()).cast(dtype)
    }
}

impl AdapterMethod for Ia3 {
    fn check(&self, [d_input, d_output]: [usize; 2]) {
        match self.is_feed_forward {
            true => assert_shape!(self.l.val(), [d_input]),
            false => assert_shape!(self.l.val(), [d_output]),
        }
    }

    fn input<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        match self.is_feed_forward {
            true => self.scaled(x),
            false => x,
        }
    }

    fn output<P: AdapterBase, const D: usize>(
        &self,
        _pass: &BasePass<'_, P, D>,
        y: Tensor<D>,
    ) -> Tensor<D> {
        match self.is_feed_forward {
            true => y,
            false => self.scaled(y),
        }
    }

    fn merged(&self, _base: &Tensor<2>, merged: Merged) -> Merged {
        let l = self.l.val().without_autodiff().cast(DType::F32);
        match self.is_feed_forward {
            true => {
                let l: Tensor<2> = l.unsqueeze_dim(1);
                Merged {
                    weight: merged.weight * l.clone(),
                    of_base: merged.of_base * l,
                    bias: merged.bias,
                }
            }
            false => Merged {
                weight: merged.weight * l.clone().unsqueeze(),
                of_base: merged.of_base,
                bias: merged.bias.map(|bias| bias * l),
            },
        }
    }
}

impl ModuleDisplay for Ia3 {
    fn custom_settings(&self) -> Option<DisplaySettings> {
        DisplaySettings::new()
            .with_new_line_after_attribute(false)
            .optional()
    }

    fn custom_content(&self, content: Content) -> Option<Content> {
        let [size] = self.l.shape().dims();
        let part = match self.is_feed_forward {
            true => "d_input",
            false => "d_output",
        };
        content.add(part, &size).optional()
    }
}
