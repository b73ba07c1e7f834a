use burn::{
    config::Config,
    tensor::{Bool, Tensor},
};

use super::{
    TopKLogits,
    kl_divergence::{kl_divergence, scaled},
    token_mean::{flat_mask, token_mean},
};
use crate::base::bounds::Bounds;

/// Divergence of a student's logits from a teacher's:
/// `L = T^2 * mean over tokens of KL(softmax(teacher / T) || softmax(student / T))`.
///
/// The mean is over tokens, that is all dimensions but the last (`batchmean` of PyTorch's `kl_div`
/// on `[tokens, vocab]`). The factor `T^2` is
/// [optional](Self::scale_by_temperature_squared). The loss is computed in
/// `f32` for all float types. No gradient flows to the teacher.
///
/// Sources: [Distilling the Knowledge in a Neural Network](https://arxiv.org/abs/1503.02531),
/// [BitNet Distillation](https://arxiv.org/abs/2510.13998), equations 8 and 9.
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::LogitsDistillationLoss;
/// use burn::tensor::{Device, Tensor};
///
/// let device = Device::default();
/// let student = Tensor::<2>::from_floats([[1.0, 2.0, 3.0]], &device);
/// let loss = LogitsDistillationLoss::new().with_temperature(2.0);
/// // Logits that differ by a constant give the same distribution.
/// let teacher = student.clone().add_scalar(1.0);
/// assert!(loss.forward(student, teacher).into_scalar::<f32>().abs() < 1e-6);
/// ```
#[derive(Config, Debug, PartialEq)]
pub struct LogitsDistillationLoss {
    /// Temperature by which the logits of both are divided, above 0; above 1 it flattens the
    /// distributions. BitDistill: 5.
    #[config(default = 1.0)]
    pub temperature: f64,
    /// `true` to multiply the divergence by `temperature^2`, which makes the size of its gradient
    /// roughly independent of the temperature: on in Hinton et al. and in PyTorch's recipes, off in
    /// the BitDistill paper.
    #[config(default = true)]
    pub scale_by_temperature_squared: bool,
}

impl LogitsDistillationLoss {
    /// Computes the mean over all tokens.
    ///
    /// # Shapes
    ///
    /// - student, teacher: `[.., vocab]`
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If the shapes differ, or the temperature is not positive and finite.
    #[track_caller]
    pub fn forward<const D: usize>(&self, student: Tensor<D>, teacher: Tensor<D>) -> Tensor<1> {
        token_mean(self.forward_no_reduction(student, teacher), None)
    }

    /// Computes the mean over the tokens that are not padding.
    ///
    /// # Shapes
    ///
    /// - student, teacher: `[.., vocab]`
    /// - mask_pad: `[..]`, true where a token is ignored
    /// - output: `[1]`, 0 if no token counts
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other, or the temperature is not positive and finite.
    #[track_caller]
    pub fn forward_masked<const D: usize, const M: usize>(
        &self,
        student: Tensor<D>,
        teacher: Tensor<D>,
        mask_pad: Tensor<M, Bool>,
    ) -> Tensor<1> {
        let mask_pad = flat_mask(mask_pad, &student.dims());
        token_mean(self.forward_no_reduction(student, teacher), Some(mask_pad))
    }

    /// Computes the divergence of each token, flattened.
    ///
    /// # Shapes
    ///
    /// - student, teacher: `[.., vocab]`
    /// - output: `[tokens]`
    ///
    /// # Panics
    ///
    /// If the shapes differ, or the temperature is not positive and finite.
    #[track_caller]
    pub fn forward_no_reduction<const D: usize>(
        &self,
        student: Tensor<D>,
        teacher: Tensor<D>,
    ) -> Tensor<1> {
        assert_eq!(
            student.dims(),
            teacher.dims(),
            "logits of student and teacher must have the same shape"
        );
        self.assert_valid();
        let t = self.temperature;
        let teacher = scaled(teacher.detach(), t);
        self.rescaled(kl_divergence(scaled(student, t), teacher))
    }

    /// Computes the divergence of each token from a teacher of which only the `k` largest logits
    /// and the mass of the rest are known.
    ///
    /// The distributions have `k + 1` events: the `k` tokens and "any other". Their divergence is
    /// at most that over the vocabulary, and equal to it where student and teacher divide the rest
    /// alike.
    ///
    /// # Shapes
    ///
    /// - student: `[batch, positions, vocab]`
    /// - output: `[tokens]`
    ///
    /// # Panics
    ///
    /// If the teacher's logits differ in batch, positions or temperature, or the temperature is not
    /// positive and finite.
    #[track_caller]
    pub fn forward_top_k_no_reduction(&self, student: Tensor<3>, teacher: TopKLogits) -> Tensor<1> {
        self.assert_valid();
        let t = self.temperature;
        assert!(
            teacher.temperature == t,
            "top-k logits were cut at temperature {}, the loss has {t}",
            teacher.temperature
        );
        let student = teacher.same_events(scaled(student, t));
        self.rescaled(kl_divergence(student, teacher.events()))
    }

    /// Panics if the temperature is not positive and finite.
    #[track_caller]
    pub(super) fn assert_valid(&self) {
        Bounds::POSITIVE.assert("temperature", self.temperature);
    }

    fn rescaled(&self, divergence: Tensor<1>) -> Tensor<1> {
        match self.scale_by_temperature_squared {
            true => divergence.mul_scalar(self.temperature.powi(2)),
            false => divergence,
        }
    }
}
