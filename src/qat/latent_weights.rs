use burn::{
    module::{Module, ModuleMapper, Param, ParamGroup, ParamId},
    tensor::{FloatDType, Tensor},
};

use super::parameters::{Inventory, Parameter};

/// Returns the latent weights of a model, by their paths: the values that its fake quantizers quantize. The
/// quantizers are attached by [`Prepare`](super::Prepare) or are fields of a layer such as
/// [`BitLinear`](crate::nn::BitLinear). A [`FakeQuant`](super::FakeQuant) that is a field quantizes the
/// first parameter of its module with the shape of its weight.
///
/// Step sizes, offsets, biases, norms, embeddings and heads in float are not included. Empty for a model
/// without quantizers.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     nn::BitLinearConfig,
///     qat::{latent_weights, quantizer_parameters},
///     quant::{BitWidth, QatScheme, WeightQuantizer},
/// };
/// use burn::tensor::Device;
///
/// let scheme = QatScheme::b1_58().with_weight(WeightQuantizer::learned_step(BitWidth::Ternary));
/// let config = BitLinearConfig::new(8, 4).with_bias(true).with_scheme(scheme);
/// let layer = config.init(&Device::default());
/// let weights = latent_weights(&layer);
/// assert!(weights.matches(&layer.weight.id, Some("weight")));
/// assert!(!weights.matches(&layer.weight.id, Some("weight_quant.scale")));
/// let scales = quantizer_parameters(&layer);
/// assert!(scales.matches(&layer.weight.id, Some("weight_quant.scale")));
/// ```
pub fn latent_weights<M: Module>(model: &M) -> ParamGroup {
    let parameters = Inventory::of(model).parameters.into_iter();
    let latent = parameters.filter(Parameter::is_latent);
    ParamGroup::from_paths(latent.map(|parameter| parameter.path).collect())
}

/// Returns the parameters that the quantizers of a model train, by their paths: step sizes and offsets.
/// Empty for a model without trained quantizers.
pub fn quantizer_parameters<M: Module>(model: &M) -> ParamGroup {
    ParamGroup::from_paths(Inventory::of(model).of_quantizers())
}

/// Casts the latent weights of the [`BitLinear`](crate::nn::BitLinear)s of a model to a float type; ids and
/// all other parameters are unchanged.
///
/// The forward pass casts them to f32. In bf16 they take half the memory, and so do their gradients, while
/// activations keep their type. Their optimizer needs
/// [stochastic rounding](crate::optim::QatOptimizerConfig::stochastic_rounding), or most updates are lost.
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

/// Returns the value of a parameter in another type, as a leaf of the graph: a value cast on the graph
/// would not be one.
pub(crate) fn cast_leaf<const D: usize>(value: Tensor<D>, dtype: FloatDType) -> Tensor<D> {
    let require_grad = value.is_require_grad();
    let value = value.set_require_grad(false).cast(dtype);
    match require_grad {
        true => value.require_grad(),
        false => value,
    }
}
