use burn::{
    config::Config,
    module::Module,
    nn::{Linear, LinearConfig, loss::MseLoss},
    tensor::{Bool, DType, Device, Tensor},
};

use super::{
    token_mean::{flat_mask, token_mean},
    unit_norm::unit_norm,
};

/// Distance measure of two hidden states.
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HiddenDistance {
    /// Mean of the squared differences.
    Mse,
    /// `1 - cos`, independent of the length of the states.
    Cosine,
}

/// Configuration of a [`HiddenDistillationLoss`].
#[derive(Config, Debug, PartialEq)]
pub struct HiddenDistillationLossConfig {
    /// Width of the student's hidden states.
    pub d_student: usize,
    /// Width of the teacher's hidden states.
    pub d_teacher: usize,
    /// Distance measure.
    #[config(default = "HiddenDistance::Mse")]
    pub distance: HiddenDistance,
    /// `true` to map the student's states to the teacher's width by a learned linear projection.
    /// Required where the widths differ.
    #[config(default = false)]
    pub projection: bool,
}

/// Distance of a student's hidden states from a teacher's, averaged over tokens:
/// `L = mean((P(student) - teacher)^2)` or `L = mean(1 - cos(P(student), teacher))`.
///
/// `P` is a learned projection, or the identity. Its weight is a parameter of this module and must
/// be trained together with the student. The loss is computed in `f32`. No gradient flows to the
/// teacher.
///
/// Source: [FitNets](https://arxiv.org/abs/1412.6550).
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::HiddenDistillationLossConfig;
/// use burn::tensor::{Device, Distribution, Tensor};
///
/// let device = Device::default();
/// let loss = HiddenDistillationLossConfig::new(8, 16).with_projection(true).init(&device);
/// let student = Tensor::<3>::random([2, 4, 8], Distribution::Default, &device);
/// let teacher = Tensor::<3>::random([2, 4, 16], Distribution::Default, &device);
/// assert_eq!(loss.forward(student, teacher).dims(), [1]);
/// ```
#[derive(Module, Debug)]
pub struct HiddenDistillationLoss {
    /// Projection from the student's width to the teacher's, without bias.
    pub projection: Option<Linear>,
    /// Distance measure.
    #[module(skip)]
    pub distance: HiddenDistance,
}

impl HiddenDistillationLossConfig {
    /// Initialize a new [`HiddenDistillationLoss`].
    ///
    /// # Panics
    ///
    /// If the widths differ and there is no projection.
    #[track_caller]
    pub fn init(&self, device: &Device) -> HiddenDistillationLoss {
        assert!(
            self.projection || self.d_student == self.d_teacher,
            "states of width {} and {} need a projection",
            self.d_student,
            self.d_teacher
        );
        let projection = LinearConfig::new(self.d_student, self.d_teacher).with_bias(false);
        HiddenDistillationLoss {
            projection: self.projection.then(|| projection.init(device)),
            distance: self.distance,
        }
    }
}

impl HiddenDistillationLoss {
    /// Computes the mean over all tokens.
    ///
    /// # Shapes
    ///
    /// - student: `[.., d_student]`
    /// - teacher: `[.., d_teacher]`
    /// - output: `[1]`
    ///
    /// # Panics
    ///
    /// If the shapes, after the projection, differ.
    #[track_caller]
    pub fn forward<const D: usize>(&self, student: Tensor<D>, teacher: Tensor<D>) -> Tensor<1> {
        token_mean(self.forward_no_reduction(student, teacher), None)
    }

    /// Computes the mean over the tokens that are not padding.
    ///
    /// # Shapes
    ///
    /// - student: `[.., d_student]`
    /// - teacher: `[.., d_teacher]`
    /// - mask_pad: `[..]`, true where a token is ignored
    /// - output: `[1]`, 0 if no token counts
    ///
    /// # Panics
    ///
    /// If the shapes do not fit each other.
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

    /// Returns the distance of each token, flattened to `[tokens]`.
    #[track_caller]
    pub(super) fn forward_no_reduction<const D: usize>(
        &self,
        student: Tensor<D>,
        teacher: Tensor<D>,
    ) -> Tensor<1> {
        let student = match &self.projection {
            Some(projection) => projection.forward(student),
            None => student,
        };
        assert_eq!(
            student.dims(),
            teacher.dims(),
            "hidden states of student and teacher must have the same shape"
        );
        let student = student.cast(DType::F32);
        let teacher = teacher.detach().cast(DType::F32);
        let distances = match self.distance {
            HiddenDistance::Mse => MseLoss::new()
                .forward_no_reduction(student, teacher)
                .mean_dim(D - 1),
            HiddenDistance::Cosine => (unit_norm(student) * unit_norm(teacher))
                .sum_dim(D - 1)
                .neg()
                .add_scalar(1.0),
        };
        let tokens = distances.shape().num_elements();
        distances.reshape([tokens])
    }
}
