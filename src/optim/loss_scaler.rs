use std::{
    io::{self, Write},
    path::{Path, PathBuf},
};

use burn::{
    config::{Config, ConfigError, config_to_json},
    lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    module::{Module, ModuleVisitor, Param},
    optim::{GradientsParams, ModuleOptimizer},
    tensor::{Bool, Tensor},
};

use crate::base::{
    atomic_file,
    bounds::{Bounds, OutOfBounds, assert_valid},
    distinct::visit_distinct,
};

/// Configuration of a [`LossScaler`]. The defaults are those of `torch.amp.GradScaler`.
/// [`min_scale`](Self::min_scale), which GradScaler lacks, defaults to DeepSpeed's
/// `min_loss_scale`.
#[derive(Config, Debug, PartialEq)]
pub struct LossScalerConfig {
    /// Initial scale.
    #[config(default = 65536.0)]
    pub initial_scale: f32,
    /// Factor of the scale after `growth_interval` steps without an overflow.
    #[config(default = 2.0)]
    pub growth_factor: f32,
    /// Factor of the scale after a step with an overflow.
    #[config(default = 0.5)]
    pub backoff_factor: f32,
    /// Number of steps without an overflow before the scale grows.
    #[config(default = 2000)]
    pub growth_interval: u32,
    /// Minimum scale. If a gradient still overflows there, the scale is not the cause, and a
    /// smaller scale does not help.
    ///
    /// At 1 the gradients are those of the loss itself. A sum over a large number of tokens, whose
    /// gradients do not fit into f16, needs a smaller one.
    #[config(default = 1.0)]
    pub min_scale: f32,
}

/// Dynamic loss scaling, for gradients in f16.
///
/// Small gradients underflow to zero in f16. The loss is multiplied by a scale before the backward
/// pass, and the gradients are divided by it afterwards, in f32. The scale is kept as large as
/// possible without an infinity in a gradient: a step with one is skipped and lowers the scale, a
/// series of steps without one raises it. bf16 has the range of f32 and needs no scaling.
///
/// Equal to `torch.amp.GradScaler` for scales of [`min_scale`](LossScalerConfig::min_scale) and
/// above; GradScaler can decrease to 0. Source: [Mixed Precision
/// Training](https://arxiv.org/abs/1710.03740).
///
/// # Example
///
/// ```
/// use bitnet_burn::optim::LossScalerConfig;
/// use burn::{
///     nn::LinearConfig,
///     optim::{GradientsParams, SgdConfig},
///     tensor::{Device, Tensor},
/// };
///
/// let device = Device::default().autodiff();
/// let mut model = LinearConfig::new(2, 1).init(&device);
/// let mut optimizer = SgdConfig::new().init();
/// let mut scaler = LossScalerConfig::new().init();
///
/// let loss = model.forward(Tensor::<2>::ones([3, 2], &device)).mean();
/// let grads = GradientsParams::from_grads(scaler.scale(loss).backward(), &model);
/// let stepped;
/// (model, stepped) = scaler.step(&mut optimizer, 0.1, model, grads);
/// assert!(stepped);
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct LossScaler {
    config: LossScalerConfig,
    record: LossScalerRecord,
}

/// State of a [`LossScaler`], saved in a checkpoint.
#[derive(Config, Debug, PartialEq)]
pub struct LossScalerRecord {
    /// Current scale.
    pub scale: f32,
    /// Number of steps without an overflow since the scale last changed.
    pub growth_tracker: u32,
}

/// Error when a record cannot be saved or loaded.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LossScalerError {
    /// The file could not be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: io::Error,
    },
    /// The file could not be read as a record.
    #[error("cannot read {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause of the failure.
        source: ConfigError,
    },
    /// The record holds a value that is invalid for the scaler.
    #[error(
        "this loss scaler has a positive, finite scale of {min_scale} or more and fewer than \
         {growth_interval} steps behind it, the record has {} and {}",
        .record.scale,
        .record.growth_tracker
    )]
    Record {
        /// Rejected record.
        record: LossScalerRecord,
        /// Number of steps before the scale grows.
        growth_interval: u32,
        /// Minimum scale.
        min_scale: f32,
    },
}

impl LossScalerConfig {
    /// Initialize a new [`LossScaler`].
    ///
    /// # Panics
    ///
    /// If `min_scale` is not positive, the scale is below it or not finite, `growth_factor` is not
    /// above 1, `backoff_factor` is not in (0, 1), or `growth_interval` is 0.
    #[track_caller]
    pub fn init(&self) -> LossScaler {
        let (min_scale, initial_scale) = (self.min_scale, self.initial_scale);
        Bounds::POSITIVE.assert("min_scale", min_scale);
        assert_valid(OutOfBounds::unless(
            initial_scale >= min_scale && initial_scale.is_finite(),
            "initial_scale",
            &format!("finite and not below the min_scale {min_scale}"),
            initial_scale,
        ));
        Bounds::ABOVE_1.assert("growth_factor", self.growth_factor);
        Bounds::BETWEEN_0_AND_1.assert("backoff_factor", self.backoff_factor);
        Bounds::COUNT.assert("growth_interval", self.growth_interval);
        LossScaler {
            config: self.clone(),
            record: LossScalerRecord::new(self.initial_scale, 0),
        }
    }
}

impl LossScaler {
    /// Multiplies the loss by the scale, for the backward pass. Cast the loss to f32 first: a loss
    /// of 1 times 65536 is infinite in f16.
    pub fn scale<const D: usize>(&self, loss: Tensor<D>) -> Tensor<D> {
        loss.mul_scalar(self.record.scale)
    }

    /// Returns `true` if the scale is at its minimum. An overflow there indicates a NaN or an
    /// infinity that scaling does not remove.
    pub fn is_at_min_scale(&self) -> bool {
        self.record.scale <= self.config.min_scale
    }

    /// Divides the gradients of the module by the scale and returns whether all of them are finite.
    /// The gradient of a shared parameter is divided once.
    ///
    /// Gradients keep their type: cast those of a low-precision copy to f32 first (see
    /// [`MixedPrecision`](super::MixedPrecision)). Clip them afterwards. Waits once for the device.
    pub fn unscale<M: Module>(
        &self,
        module: &M,
        grads: GradientsParams,
    ) -> (GradientsParams, bool) {
        let mut unscale = Unscale {
            grads,
            // Divided in f64, as in PyTorch.
            factor: 1.0 / f64::from(self.record.scale),
            finite: Vec::new(),
        };
        visit_distinct(module, &mut unscale);
        let finite = unscale.finite.into_iter().reduce(Tensor::bool_and);
        let finite = finite.is_none_or(|all| all.into_scalar::<bool>());
        (unscale.grads, finite)
    }

    /// Updates the scale after a step, down to `min_scale` at most. Call once per step; `overflow`
    /// is `true` if a gradient was infinite or NaN, so that the optimizer's step was skipped.
    pub fn update(&mut self, overflow: bool) {
        let LossScalerRecord {
            scale,
            growth_tracker,
        } = &mut self.record;
        if overflow {
            *scale = (*scale * self.config.backoff_factor).max(self.config.min_scale);
            *growth_tracker = 0;
            return;
        }
        *growth_tracker += 1;
        if *growth_tracker == self.config.growth_interval {
            let grown = *scale * self.config.growth_factor;
            if grown.is_finite() {
                *scale = grown;
            }
            *growth_tracker = 0;
        }
    }

    /// [Unscales](Self::unscale) the gradients, applies the optimizer step unless a gradient is not
    /// finite, and [updates](Self::update) the scale.
    ///
    /// Returns the module and whether the step was applied. A loop that continues after a skipped
    /// step should check [`is_at_min_scale`](Self::is_at_min_scale) first.
    pub fn step<M: Module>(
        &mut self,
        optimizer: &mut ModuleOptimizer,
        lr: impl Into<ModuleLearningRate>,
        module: M,
        grads: GradientsParams,
    ) -> (M, bool) {
        let (grads, finite) = self.unscale(&module, grads);
        self.update(!finite);
        match finite {
            true => (optimizer.step(lr, module, grads), true),
            false => (module, false),
        }
    }

    /// Returns the state to save in a checkpoint.
    pub fn to_record(&self) -> LossScalerRecord {
        self.record.clone()
    }

    /// Restores the state of a record.
    ///
    /// # Errors
    ///
    /// If the record's scale is below `min_scale` or not finite, or its steps reach
    /// `growth_interval`.
    pub fn load_record(mut self, record: LossScalerRecord) -> Result<Self, LossScalerError> {
        let LossScalerConfig {
            growth_interval,
            min_scale,
            ..
        } = self.config;
        if !(record.scale >= min_scale && record.scale.is_finite())
            || record.growth_tracker >= growth_interval
        {
            return Err(LossScalerError::Record {
                record,
                growth_interval,
                min_scale,
            });
        }
        self.record = record;
        Ok(self)
    }

    /// Saves the record as JSON. An existing file is replaced only when the new one is complete.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), LossScalerError> {
        let path = path.as_ref();
        let json = config_to_json(&self.record);
        let saved = atomic_file::write(path, |file| file.write_all(json.as_bytes()));
        saved.map_err(|source| LossScalerError::Write {
            path: path.to_owned(),
            source,
        })
    }

    /// Restores the state of a [saved](Self::save) record.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or in the cases of [`load_record`](Self::load_record).
    pub fn load(self, path: impl AsRef<Path>) -> Result<Self, LossScalerError> {
        let path = path.as_ref();
        let record = LossScalerRecord::load(path).map_err(|source| LossScalerError::Read {
            path: path.to_owned(),
            source,
        })?;
        self.load_record(record)
    }
}

struct Unscale {
    grads: GradientsParams,
    factor: f64,
    /// Whether each gradient is finite.
    finite: Vec<Tensor<1, Bool>>,
}

impl ModuleVisitor for Unscale {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = self.grads.remove::<D>(param.id) {
            self.finite.push(grad.clone().is_finite().all());
            self.grads.register(param.id, grad.mul_scalar(self.factor));
        }
    }
}
