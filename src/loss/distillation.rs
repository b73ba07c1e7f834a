use burn::{
    config::Config,
    module::Module,
    tensor::{Device, Int, Tensor},
};

use super::{
    AttentionRelationLoss, HiddenDistillationLoss, HiddenDistillationLossConfig,
    LogitsDistillationLoss, StudentStates, TeacherLogits, TeacherStates, token_mean::token_mean,
};
use crate::base::bounds::Bounds;

/// Configuration of a [`DistillationLoss`].
///
/// A part is enabled if it has a configuration and its weight is not 0. Disabled parts are not
/// computed.
#[derive(Config, Debug, PartialEq)]
pub struct DistillationLossConfig {
    /// Weight of the student's own loss.
    #[config(default = 1.0)]
    pub task_weight: f64,
    /// Weight of the divergence of the logits. BitDistill: 10 for classification, 1 for
    /// summarization, without the factor `T^2`.
    #[config(default = 1.0)]
    pub logits_weight: f64,
    /// Divergence of the logits.
    #[config(default = "Some(LogitsDistillationLoss::new())")]
    pub logits: Option<LogitsDistillationLoss>,
    /// Weight of the distance of the hidden states.
    #[config(default = 1.0)]
    pub hidden_weight: f64,
    /// Distance of the hidden states.
    pub hidden: Option<HiddenDistillationLossConfig>,
    /// Weight of the divergence of the attention relations. BitDistill: 1e5 for classification,
    /// 1e3 for summarization.
    #[config(default = 1.0)]
    pub attention_weight: f64,
    /// Divergence of the attention relations.
    pub attention: Option<AttentionRelationLoss>,
}

/// Weighted sum of a student's own loss and its distances from a teacher: `L = a * task + b *
/// logits + c * hidden + d * attention`.
///
/// The task loss is the student's own: cross-entropy for a language model or a classifier. The
/// common `alpha * KL + (1 - alpha) * CE` has the weights `b = alpha` and `a = 1 - alpha`.
///
/// Source: [BitNet Distillation](https://arxiv.org/abs/2510.13998), equation 13, which has no
/// hidden part.
///
/// # Example
///
/// ```
/// use bitnet_burn::loss::{DistillationLossConfig, StudentStates, TeacherStates};
/// use burn::tensor::{Device, Distribution, Tensor};
///
/// let device = Device::default();
/// let logits = || Tensor::<3>::random([2, 4, 10], Distribution::Default, &device);
/// let loss = DistillationLossConfig::new().with_task_weight(0.5).init(&device);
/// let task = Tensor::from_floats([2.0], &device);
/// let losses = loss.forward(task, &StudentStates::new(logits()), &TeacherStates::new(logits()));
/// assert!(losses.total.into_scalar::<f32>() > 1.0);
/// assert!(losses.hidden.is_none());
/// ```
#[derive(Module, Debug)]
pub struct DistillationLoss {
    /// Weights and parts. Disabled parts are `None`.
    #[module(skip)]
    pub config: DistillationLossConfig,
    /// Distance of the hidden states, if enabled.
    pub hidden: Option<HiddenDistillationLoss>,
}

/// Total loss, with gradient, and its unweighted parts, each of shape `[1]`.
#[derive(Debug, Clone)]
pub struct DistillationLosses {
    /// Weighted sum of the parts.
    pub total: Tensor<1>,
    /// The student's own loss.
    pub task: Tensor<1>,
    /// Divergence of the logits, if enabled.
    pub logits: Option<Tensor<1>>,
    /// Distance of the hidden states, if enabled.
    pub hidden: Option<Tensor<1>>,
    /// Divergence of the attention relations, if enabled.
    pub attention: Option<Tensor<1>>,
    /// Number of positions that are not padding, `[1]`. All parts but the task are means over
    /// these.
    pub tokens: Tensor<1, Int>,
}

impl DistillationLossConfig {
    /// Initialize a new [`DistillationLoss`]. A learned projection of the hidden states is created
    /// on the device.
    ///
    /// # Panics
    ///
    /// If a weight is negative or not finite, if all parts are disabled, or if an enabled part is
    /// not valid.
    #[track_caller]
    pub fn init(&self, device: &Device) -> DistillationLoss {
        let weights = [
            ("task_weight", self.task_weight),
            ("logits_weight", self.logits_weight),
            ("hidden_weight", self.hidden_weight),
            ("attention_weight", self.attention_weight),
        ];
        for (name, weight) in weights {
            Bounds::NOT_NEGATIVE.assert(name, weight);
        }
        let mut config = self.clone();
        config.logits = config.logits.filter(|_| self.logits_weight > 0.0);
        config.hidden = config.hidden.filter(|_| self.hidden_weight > 0.0);
        config.attention = config.attention.filter(|_| self.attention_weight > 0.0);
        let any_part =
            config.logits.is_some() || config.hidden.is_some() || config.attention.is_some();
        assert!(
            self.task_weight > 0.0 || any_part,
            "all parts of the distillation loss are off"
        );
        if let Some(logits) = &config.logits {
            logits.assert_valid();
        }
        if let Some(attention) = &config.attention {
            attention.assert_valid();
        }
        DistillationLoss {
            hidden: config.hidden.as_ref().map(|hidden| hidden.init(device)),
            config,
        }
    }
}

impl DistillationLoss {
    /// Computes the enabled parts and their weighted sum.
    ///
    /// # Shapes
    ///
    /// - task: `[1]`
    ///
    /// # Panics
    ///
    /// If student or teacher lack an input of an enabled part, or as a part's own `forward`.
    #[track_caller]
    pub fn forward(
        &self,
        task: Tensor<1>,
        student: &StudentStates,
        teacher: &TeacherStates,
    ) -> DistillationLosses {
        let config = &self.config;
        let logits = config.logits.as_ref();
        let logits = logits.map(|loss| logits_part(loss, student, teacher));
        let hidden = self.hidden.as_ref();
        let hidden = hidden.map(|loss| hidden_part(loss, student, teacher));
        let attention = config.attention.as_ref();
        let attention = attention.map(|loss| attention_part(loss, student, teacher));

        let parts = [
            (config.task_weight, Some(&task)),
            (config.logits_weight, logits.as_ref()),
            (config.hidden_weight, hidden.as_ref()),
            (config.attention_weight, attention.as_ref()),
        ];
        let weighted = (parts.into_iter().filter(|(weight, _)| *weight > 0.0))
            .filter_map(|(weight, part)| Some(part?.clone().mul_scalar(weight)));
        let total = weighted.reduce(|sum, part| sum + part);
        let total = total.expect("init made sure that a part is on");
        DistillationLosses {
            total,
            task,
            logits,
            hidden,
            attention,
            tokens: student.tokens(),
        }
    }
}

fn logits_part(
    loss: &LogitsDistillationLoss,
    student: &StudentStates,
    teacher: &TeacherStates,
) -> Tensor<1> {
    let logits = student.logits.clone();
    let mask_pad = student.flat_mask(&logits);
    let divergence = match needed(&teacher.logits, "the teacher's logits").clone() {
        TeacherLogits::Full(teacher) => loss.forward_no_reduction(logits, teacher),
        TeacherLogits::TopK(teacher) => loss.forward_top_k_no_reduction(logits, teacher),
    };
    token_mean(divergence, mask_pad)
}

fn hidden_part(
    loss: &HiddenDistillationLoss,
    student: &StudentStates,
    teacher: &TeacherStates,
) -> Tensor<1> {
    let hidden = needed(&student.hidden, "the student's hidden states").clone();
    let taught = needed(&teacher.hidden, "the teacher's hidden states").clone();
    let mask_pad = student.flat_mask(&hidden);
    token_mean(loss.forward_no_reduction(hidden, taught), mask_pad)
}

fn attention_part(
    loss: &AttentionRelationLoss,
    student: &StudentStates,
    teacher: &TeacherStates,
) -> Tensor<1> {
    let states = needed(&student.attention, "the student's attention states");
    let taught = needed(&teacher.attention, "the teacher's attention states");
    loss.forward(states, taught, student.mask_pad.clone())
}

#[track_caller]
fn needed<'a, T>(states: &'a Option<T>, name: &str) -> &'a T {
    let Some(states) = states else {
        panic!("the distillation loss is configured to read {name}");
    };
    states
}
