use burn::{
    module::{Module, ModuleMapper, Param, ParamGroup, ParamId},
    tensor::{FloatDType, Tensor},
};

use super::parameters::{Inventory, Parameter};

/// The latent weights of a model, by their paths: what its fake quantizers quantize, whether they are
/// attached by [`Prepare`](super::Prepare) or fields of a layer such as
/// [`BitLinear`](crate::nn::BitLinear). A [`FakeQuant`](super::FakeQuant) that is a field quantizes the
/// first parameter beside it that has the shape of the weight it was made for.
///
/// Step sizes, offsets, biases, norms, tables and heads in float are none. Empty for a model without
/// quantizers.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::BitLinearConfig,
///     qat::{latent_weights, quantizer_parameters},
///     quant::{LearnedStepConfig, QatScheme},
/// };
/// use burn::tensor::Device;
///
/// let scheme = QatScheme::b1_58().with_weight(LearnedStepConfig::default());
/// let config = BitLinearConfig::new(8, 4).with_bias(true).with_scheme(scheme);
/// let layer = config.init(&Device::default());
/// let weights = latent_weights(&layer);
/// assert!(weights.matches(&layer.weight.id, Some("weight")));
/// assert!(!weights.matches(&layer.weight.id, Some("weight_quant.steps")));
/// let steps = quantizer_parameters(&layer);
/// assert!(steps.matches(&layer.weight.id, Some("weight_quant.steps")));
/// ```
pub fn latent_weights<M: Module>(model: &M) -> ParamGroup {
    let parameters = Inventory::of(model).parameters.into_iter();
    let latent = parameters.filter(Parameter::is_latent);
    ParamGroup::from_paths(latent.map(|parameter| parameter.path).collect())
}

/// The parameters that the quantizers of a model train, by their paths: step sizes and offsets. Empty
/// for a model whose quantizers train none.
pub fn quantizer_parameters<M: Module>(model: &M) -> ParamGroup {
    ParamGroup::from_paths(Inventory::of(model).of_quantizers())
}

/// The model with the latent weights of its [`BitLinear`](crate::nn::BitLinear)s in a float type,
/// under the same ids; everything else stays as it is.
///
/// The forward pass reads them in f32, so that in bf16 they take half the memory, and so do their
/// gradients, while activations stay as they were. Their steps need
/// [stochastic rounding](crate::optim::QatOptimizerConfig::stochastic_rounding), or most of them are
/// lost.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::{BitNetLm, BitNetLmConfig},
///     optim::{AdamW8bitConfig, QatOptimizerConfig},
///     qat::cast_latent_weights,
/// };
/// use burn::{
///     optim::ModuleOptimizer,
///     tensor::{Device, FloatDType},
/// };
///
/// let device = Device::default().autodiff();
/// let lm: BitNetLm = BitNetLmConfig::new(256, 32, 1, 2, 64).init(&device);
/// let lm = cast_latent_weights(lm, FloatDType::BF16);
/// // 2 bytes for each latent weight, 2 for its gradient and 2 for its moments.
/// let optimizer = QatOptimizerConfig::new().with_stochastic_rounding(Some(0));
/// let optimizer = ModuleOptimizer::from(optimizer.build(AdamW8bitConfig::new().build()));
/// ```
pub fn cast_latent_weights<M: Module>(model: M, dtype: FloatDType) -> M {
    // The forward passes of other layers do not cast their weight back.
    let latent = |p: &Parameter| p.is_latent() && p.container == "BitLinear";
    let parameters = Inventory::of(&model).parameters.into_iter();
    let latent = parameters.filter(latent).map(|p| p.id).collect();
    model.map(&mut CastLatentWeights { dtype, latent })
}

/// Casts the latent weights with these ids.
struct CastLatentWeights {
    dtype: FloatDType,
    latent: Vec<ParamId>,
}

impl ModuleMapper for CastLatentWeights {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match self.latent.contains(&param.id) {
            true => param.map(|value| cast_leaf(value, self.dtype)),
            false => param,
        }
    }
}

/// The value of a parameter in another type, as a leaf of the graph: one that was cast on the graph
/// would be none.
pub(crate) fn cast_leaf<const D: usize>(value: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    let require_grad = value.is_require_grad();
    let value = value.set_require_grad(false).cast(dtype);
    match require_grad {
        true => value.require_grad(),
        false => value,
    }
}
