use burn::train::LearnerModel;

use super::{Callback, CallbackResult, TrainingRun};
use crate::qat::QuantControls;

/// Gives each step its own random numbers for the [noise](crate::quant::NoiseConfig) of a scheme;
/// without it they are those of step 0 in every step.
pub struct QuantizationNoise {
    controls: QuantControls,
}

impl QuantizationNoise {
    /// For the quantisers of the controls.
    pub fn new(controls: QuantControls) -> Self {
        Self { controls }
    }
}

impl<M: LearnerModel> Callback<M> for QuantizationNoise {
    fn name(&self) -> &str {
        "quantization_noise"
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        Ok(run.check_controls(&self.controls)?)
    }

    fn before_forward(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.controls.set_step(run.position().step as u64);
        Ok(())
    }
}
