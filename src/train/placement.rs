//! Placement of the computations of a training on devices.

use burn::{
    optim::GradientsParams,
    tensor::Device,
    train::{Learner, LearnerModel, TrainOutput, TrainStep},
};

use super::callback::TrainOutputOf;

/// Devices and processes of a training, with the parts of a step that depend on them.
pub(super) trait Placement<M: LearnerModel>: Send + Sync {
    /// Device of the model, its batches and its validation.
    fn device(&self) -> &Device;

    /// Computes the gradients and the output of a batch.
    fn train_step(
        &self,
        learner: &Learner<M>,
        batch: <M as TrainStep>::Input,
    ) -> TrainOutput<TrainOutputOf<M>>;

    /// Combines the gradients of a step over all processes: their mean, weighted by `weight`.
    fn reduce(&self, model: &M, grads: GradientsParams, weight: f64) -> GradientsParams;

    /// Updates the parameters.
    fn optimizer_step(&self, learner: &mut Learner<M>, grads: GradientsParams);
}

/// Placement on one device of one process.
pub(super) struct SingleDevice(Device);

impl SingleDevice {
    /// Creates the placement on a device with autodiff.
    pub fn new(device: Device) -> Self {
        Self(match device.is_autodiff() {
            true => device,
            false => device.autodiff(),
        })
    }
}

impl<M: LearnerModel> Placement<M> for SingleDevice {
    fn device(&self) -> &Device {
        &self.0
    }

    fn train_step(
        &self,
        learner: &Learner<M>,
        batch: <M as TrainStep>::Input,
    ) -> TrainOutput<TrainOutputOf<M>> {
        learner.train_step(batch)
    }

    fn reduce(&self, _model: &M, grads: GradientsParams, _weight: f64) -> GradientsParams {
        grads
    }

    fn optimizer_step(&self, learner: &mut Learner<M>, grads: GradientsParams) {
        learner.optimizer_step(grads);
    }
}
