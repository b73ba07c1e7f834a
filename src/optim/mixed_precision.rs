use burn::{
    config::Config,
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    optim::GradientsParams,
    tensor::{Device, FloatDType, Tensor},
};

use crate::{
    base::path_visitor::{ModulePath, PathVisitor, join, visit_paths},
    qat::cast_leaf,
};

/// Forward and backward passes in a lower-precision float type, with master weights in f32.
///
/// Each step copies the model to the lower precision, runs the copy, and passes the copy's
/// gradients to the optimizer of the master: parameters of copy and master have the same ids. The
/// master accumulates updates too small for the lower precision. It holds the latent weights of
/// quantization, too.
///
/// The copy trains with `Q(W)` of its rounded latent weights. Their scales equal those of the
/// master up to that rounding. To deploy exactly the trained weights,
/// [convert](crate::qat::convert) the copy.
///
/// The caller casts the inputs. Losses are best computed in f32. f16 needs a
/// [`LossScaler`](super::LossScaler).
///
/// Source: [Mixed Precision Training](https://arxiv.org/abs/1710.03740), section 3.1.
///
/// # Example
///
/// ```
/// use bitnet_burn::optim::MixedPrecision;
/// use burn::{
///     nn::LinearConfig,
///     optim::{AdamWConfig, GradientsParams},
///     tensor::{DType, Device, FloatDType, Tensor},
/// };
///
/// # fn main() -> Result<(), bitnet_burn::optim::MixedPrecisionError> {
/// let device = Device::default().autodiff();
/// let mut master = LinearConfig::new(4, 2).init(&device);
/// let mut optimizer = AdamWConfig::new().init();
/// let precision = MixedPrecision::new(FloatDType::BF16);
/// precision.check(&master)?;
///
/// let x = Tensor::<2>::ones([3, 4], &device);
/// let copy = precision.working_copy(&master);
/// let loss = copy.forward(x.cast(precision.dtype)).cast(DType::F32).mean();
/// let grads = GradientsParams::from_grads(loss.backward(), &copy);
/// master = optimizer.step(1e-3, master.clone(), precision.master_gradients(&master, grads));
/// # Ok(())
/// # }
/// ```
#[derive(Config, Debug, Copy, PartialEq, Eq)]
pub struct MixedPrecision {
    /// Float type of the forward and backward passes.
    pub dtype: FloatDType,
}

/// Error when a model cannot train in a float type.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MixedPrecisionError {
    /// The device does not compute in the type.
    #[error("device {device:?} does not compute in {dtype:?}")]
    Unsupported {
        /// Float type of the passes.
        dtype: FloatDType,
        /// Device that does not support it.
        device: Device,
    },
    /// The model has running statistics, which a copy shares with its master.
    #[error(
        "the BatchNorm `{path}` has running statistics, which a copy of the model shares; mixed \
         precision needs a model without them"
    )]
    RunningStatistics {
        /// Path of the layer.
        path: String,
    },
}

impl MixedPrecision {
    /// Checks that the model's devices compute in the type and that the model can be copied.
    ///
    /// # Errors
    ///
    /// If a device does not compute in the type, or the model has a `BatchNorm`: all clones of a
    /// model share its running statistics, so that a copy in another type would change the
    /// master's.
    pub fn check<M: Module>(&self, model: &M) -> Result<(), MixedPrecisionError> {
        for device in model.devices() {
            self.check_device(&device)?;
        }
        let mut search = RunningStatistics::default();
        visit_paths(model, &mut search);
        match search.0 {
            Some(path) => Err(MixedPrecisionError::RunningStatistics { path }),
            None => Ok(()),
        }
    }

    /// Checks that a device computes in the type.
    ///
    /// # Errors
    ///
    /// If it does not.
    pub fn check_device(&self, device: &Device) -> Result<(), MixedPrecisionError> {
        match device.supports_dtype(self.dtype) {
            true => Ok(()),
            false => Err(MixedPrecisionError::Unsupported {
                dtype: self.dtype,
                device: device.clone(),
            }),
        }
    }

    /// Copies the model with its float parameters cast to the type, under the same ids.
    pub fn working_copy<M: Module>(&self, master: &M) -> M {
        master.clone().map(&mut CastParameters(self.dtype))
    }

    /// Casts the gradients of a working copy to the types of the master's parameters, for its
    /// optimizer.
    pub fn master_gradients<M: Module>(
        &self,
        master: &M,
        grads: GradientsParams,
    ) -> GradientsParams {
        let mut cast = CastGradients(grads);
        master.visit(&mut cast);
        cast.0
    }
}

struct CastParameters(FloatDType);

impl ModuleMapper for CastParameters {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| cast_leaf(value, self.0))
    }
}

struct CastGradients(GradientsParams);

impl ModuleVisitor for CastGradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.0.remove::<D>(param.id) {
            self.0.register(param.id, grad.cast(param.base().dtype()));
        }
    }
}

/// Path of the first batch norm, if there is one.
#[derive(Default)]
struct RunningStatistics(Option<String>);

impl PathVisitor for RunningStatistics {
    fn enter(&mut self, path: &ModulePath) {
        if let [norm @ .., field] = path.fields()
            && field.container == "BatchNorm"
        {
            self.0.get_or_insert_with(|| join(norm));
        }
    }
}
