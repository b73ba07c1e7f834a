use burn::train::LearnerModel;

use super::{Callback, CallbackResult, TrainingRun};
use crate::qat::QuantControls;

/// Draws new random numbers in each step for the [noise](crate::quant::NoiseConfig) of a scheme.
/// Without it, every step uses those of step 0.
pub struct QuantizationNoise {
    controls: QuantControls,
}

impl QuantizationNoise {
    /// Creates the callback for the quantizers of the controls.
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
