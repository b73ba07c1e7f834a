use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLrScheduler,
    module::Module,
    tensor::Device,
    train::{
        LearnerModel,
        metric::{Adaptor, LossInput},
    },
};
use serde::{Deserialize, Serialize};

use super::{
    CalibrationConfig, LearningRateConfig, MonitoringConfig, OptimizerConfig, ScheduleConfig,
    TrainingConfigError, TrainingHandles,
};
use crate::{
    base::bounds::{Bounds, OutOfBounds},
    qat::QuantControls,
    quant::QatScheme,
    train::{
        CallbackStrategy,
        callback::{
            BitWidthAnnealing, GradientClipping, GradientStatistics, JsonLogger, PlainProgress,
            ProgressiveQuantization, QuantizationNoise, TrainOutputOf,
        },
        checkpoint::CheckpointPolicy,
    },
};
#[cfg(feature = "peft")]
use crate::{
    peft::{PeftConfig, lora_plus_group},
    train::callback::AdaLoraAllocation,
};

/// Configuration of a training: its length, quantization, optimizer, schedules, logging and
/// checkpoints.
///
/// All fields have suitable defaults; unknown fields are errors. The program provides the model and
/// the data.
///
/// # Example
///
/// ```
/// use bitnet_burn::train::config::TrainingConfig;
///
/// let config = TrainingConfig::from_toml(
///     r#"
///     [training]
///     steps = 1500
///     epochs = 6
///
///     [qat.weight.ternary]
///     granularity = "per_tensor"
///
///     [learning_rate.cosine]
///     peak = 1.5e-3
///
///     [schedule.progressive]
///     shape = "linear"
///     end = 300
///
///     [checkpoints]
///     folder = "run/checkpoints"
///     every_steps = 100
///     "#,
/// )?;
/// assert_eq!(config.training.steps, 1500);
///
/// let error = TrainingConfig::from_toml("[optimizer]\nbeta_2 = 1.5").unwrap_err();
/// assert_eq!(error.to_string(), "optimizer.beta_2 must be in [0, 1), got 1.5");
/// # Ok::<(), bitnet_burn::train::config::TrainingConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainingConfig {
    /// Length and seed.
    pub training: RunConfig,
    /// Quantization scheme.
    pub qat: QatScheme,
    /// Optimizer.
    pub optimizer: OptimizerConfig,
    /// Learning rate schedule.
    pub learning_rate: LearningRateConfig,
    /// Quantization schedules.
    pub schedule: ScheduleConfig,
    /// Method of parameter-efficient fine-tuning, with which the model was
    /// [made](crate::nn::BitNetLm::with_adapter); none if absent. Checkpoints then hold
    /// [trained parameters alone](CheckpointPolicy::trained_only).
    #[cfg(feature = "peft")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peft: Option<PeftConfig>,
    /// Calibration of static activation ranges; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calibration: Option<CalibrationConfig>,
    /// Logging and monitoring.
    pub monitoring: MonitoringConfig,
    /// Checkpoints; none if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub checkpoints: Option<CheckpointPolicy>,
}

/// Length and seed of a training.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Number of optimizer steps, 1 or more. The training ends after them, or earlier at the end of
    /// the data of all epochs.
    pub steps: usize,
    /// Number of epochs, 1 or more: parts of the training, each followed by a validation.
    pub epochs: usize,
    /// Number of batches per step, 1 or more; their gradients are averaged by weight.
    pub grad_accumulation: usize,
    /// Seed of all random numbers.
    pub seed: u64,
    /// `true` if the blocks of the model are computed again in the backward pass, in a fraction of the memory and with
    /// the same results; the model is
    /// [made](crate::train::LanguageModel::with_gradient_checkpointing) with it. A resumed run may change it.
    pub gradient_checkpointing: bool,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            steps: 1500,
            epochs: 6,
            grad_accumulation: 1,
            seed: 0,
            gradient_checkpointing: false,
        }
    }
}

impl TrainingConfig {
    /// Checks that all values are in range.
    ///
    /// # Errors
    ///
    /// Returns the first value that is out of range.
    pub fn validate(&self) -> Result<(), TrainingConfigError> {
        Bounds::COUNT.check("training.steps", self.training.steps)?;
        Bounds::COUNT.check("training.epochs", self.training.epochs)?;
        Bounds::COUNT.check(
            "training.grad_accumulation",
            self.training.grad_accumulation,
        )?;
        if let (Some(rotation), None) = (&self.qat.rotation, &self.qat.activation) {
            let expected = "absent without qat.activation, as activations stay in float";
            return Err(OutOfBounds::new("qat.rotation", expected, rotation).into());
        }
        let qat = self.qat.validate();
        qat.map_err(|error| error.within("qat"))?;
        self.optimizer.validate()?;
        self.learning_rate.validate()?;
        self.schedule.validate()?;
        #[cfg(feature = "peft")]
        if let Some(peft) = &self.peft {
            peft.validate()?;
            if let PeftConfig::AdaLora(config) = peft {
                let expected = format!("training.steps, {}", self.training.steps);
                let is_same = config.total_step == self.training.steps;
                OutOfBounds::unless(is_same, "peft.total_step", &expected, config.total_step)?;
            }
        }
        if let Some(calibration) = &self.calibration {
            calibration.validate()?;
        }
        self.monitoring.validate()?;
        if let Some(policy) = &self.checkpoints {
            Bounds::COUNT.check("checkpoints.keep_last", policy.keep_last)?;
            if let Some(steps) = policy.every_steps {
                Bounds::COUNT.check("checkpoints.every_steps", steps)?;
            }
        }
        Ok(())
    }

    /// Creates the learning rate scheduler, including those of [groups](OptimizerConfig::groups).
    pub(in crate::train) fn scheduler<M: Module>(
        &self,
        model: &M,
        handles: &TrainingHandles,
    ) -> Result<ModuleLrScheduler, TrainingConfigError> {
        let (steps, scale) = (self.training.steps, &handles.learning_rate);
        let mut scheduler = self.learning_rate.init(steps, scale)?;
        #[cfg(feature = "peft")]
        if let Some(PeftConfig::Lora(config)) = &self.peft
            && let Some(ratio) = config.loraplus_lr_ratio
        {
            let own = self.learning_rate.scaled(ratio).scheduler(steps, scale)?;
            scheduler = scheduler.with_group(lora_plus_group(model), own);
        }
        #[cfg(not(feature = "peft"))]
        let _ = model;
        for (i, group) in self.optimizer.groups.iter().enumerate() {
            let own = self.learning_rate.scaled(group.learning_rate);
            scheduler = scheduler.with_group(group.parameters(i)?, own.scheduler(steps, scale)?);
        }
        Ok(scheduler)
    }

    /// Creates the training loop for a model that was built with the [scheme](Self::qat).
    /// Checkpoints without a fingerprint use the configuration as theirs. Measured quantization
    /// errors are added to the history of the handles.
    ///
    /// # Errors
    ///
    /// If a value is out of range, or a layer-wise schedule does not fit the model.
    pub(in crate::train) fn strategy<M: LearnerModel>(
        &self,
        device: Device,
        model: &M,
        handles: &TrainingHandles,
    ) -> Result<CallbackStrategy<M>, TrainingConfigError>
    where
        TrainOutputOf<M>: Adaptor<LossInput>,
    {
        self.validate()?;
        let controls = QuantControls::of(model);
        let monitoring = &self.monitoring;
        let errors = monitoring.errors.as_ref();
        let strategy = CallbackStrategy::new(device)
            .with_seed(self.training.seed)
            .with_max_steps(self.training.steps);
        // Callbacks that read raw gradients come before those that change them.
        let strategy = self
            .scheduled(strategy, &controls)?
            .with_optional(monitoring.nan.guard())
            .with_optional(monitoring.gradients_every.map(GradientStatistics::every))
            .with_optional(self.optimizer.max_grad_norm.map(GradientClipping::new))
            .with_optional(monitoring.progress_every.map(|every| {
                let progress = PlainProgress::new().with_total_steps(self.training.steps);
                progress.every(every)
            }))
            .with_optional(errors.map(|errors| errors.monitor(controls.clone(), handles)))
            .with_optional(errors.map(|errors| errors.mitigation(controls, handles)))
            .with_optional(
                monitoring
                    .log_file
                    .as_ref()
                    .map(|path| JsonLogger::new(path).every(monitoring.log_every)),
            );
        #[cfg(feature = "peft")]
        let strategy = match &self.peft {
            // Importance is that of the gradients that the optimizer gets.
            Some(PeftConfig::AdaLora(config)) => {
                strategy.with_callback(AdaLoraAllocation::new(config).every(monitoring.log_every))
            }
            _ => strategy,
        };
        Ok(match &self.checkpoints {
            Some(policy) => {
                let mut policy = self.with_fingerprint(policy.clone());
                policy.trained_only |= self.has_adapters();
                strategy.with_checkpoints(policy)
            }
            None => strategy,
        })
    }

    /// Adds the callbacks that set the quantizers.
    fn scheduled<M: LearnerModel>(
        &self,
        strategy: CallbackStrategy<M>,
        controls: &QuantControls,
    ) -> Result<CallbackStrategy<M>, TrainingConfigError> {
        let controls = || controls.clone();
        let ScheduleConfig {
            progressive,
            layerwise,
            bit_width,
        } = self.schedule.clone();
        let layerwise =
            layerwise.map(|config| config.init(&controls().paths().collect::<Vec<_>>()));
        let layerwise = layerwise.transpose().map_err(|error| {
            let field = "schedule.layerwise".to_string();
            let message = error.to_string();
            TrainingConfigError::Parse { field, message }
        })?;
        let noise = self.qat.noise.as_ref();
        let calibration = self.calibration.as_ref();
        Ok(strategy
            .with_optional(progressive.map(|value| ProgressiveQuantization::new(controls(), value)))
            .with_optional(
                layerwise.map(|value| ProgressiveQuantization::layerwise(controls(), value)),
            )
            .with_optional(bit_width.map(|width| BitWidthAnnealing::new(controls(), width)))
            .with_optional(noise.map(|_| QuantizationNoise::new(controls())))
            .with_optional(calibration.map(|config| config.calibration(controls()))))
    }

    fn has_adapters(&self) -> bool {
        #[cfg(feature = "peft")]
        return self.peft.is_some();
        #[cfg(not(feature = "peft"))]
        false
    }

    /// Sets the fingerprint to all values that must not change on resume: all but output paths.
    fn with_fingerprint(&self, policy: CheckpointPolicy) -> CheckpointPolicy {
        if !policy.fingerprint.is_empty() {
            return policy;
        }
        let mut same = self.clone();
        same.checkpoints = None;
        same.monitoring = MonitoringConfig::default();
        same.training.gradient_checkpointing = false;
        let fingerprint = serde_json::to_string(&same).unwrap_or_default();
        policy.fingerprint(fingerprint)
    }
}
