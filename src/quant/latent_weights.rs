use burn::{
    module::{Module, ModuleMapper, Param},
    tensor::{FloatDType, Tensor},
};

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
///     quant::cast_latent_weights,
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
    model.map(&mut CastLatentWeights {
        dtype,
        path: Vec::new(),
    })
}

/// Casts the parameters `weight` directly in a `BitLinear`.
struct CastLatentWeights {
    dtype: FloatDType,
    /// Names and types of the containers around.
    path: Vec<(String, String)>,
}

impl ModuleMapper for CastLatentWeights {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        self.path
            .push((name.to_string(), container_type.to_string()));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let latent = (self.path.last())
            .is_some_and(|(name, container)| name == "weight" && container.ends_with(":BitLinear"));
        match latent {
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
