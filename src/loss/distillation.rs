use burn::{
    config::Config,
    module::Module,
    tensor::{Bool, Device, Int, Tensor},
};

use super::{
    AttentionRelationLoss, AttentionRelationLossConfig, AttentionStates, HiddenDistillationLoss,
    HiddenDistillationLossConfig, LogitsDistillationLoss, LogitsDistillationLossConfig, TopKLogits,
    token_mean::{flat_mask, token_mean},
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
    #[config(default = "Some(LogitsDistillationLossConfig::new())")]
    pub logits: Option<LogitsDistillationLossConfig>,
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
    pub attention: Option<AttentionRelationLossConfig>,
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
    /// Weight of the student's own loss.
    pub task_weight: f64,
    /// Weight of the divergence of the logits.
    pub logits_weight: f64,
    /// Divergence of the logits, if enabled.
    pub logits: Option<LogitsDistillationLoss>,
    /// Weight of the distance of the hidden states.
    pub hidden_weight: f64,
    /// Distance of the hidden states, if enabled.
    pub hidden: Option<HiddenDistillationLoss>,
    /// Weight of the divergence of the attention relations.
    pub attention_weight: f64,
    /// Divergence of the attention relations, if enabled.
    pub attention: Option<AttentionRelationLoss>,
}

/// Outputs of a student's forward pass. Only those that an enabled part reads are required.
#[derive(Debug, Clone)]
pub struct StudentStates {
    /// Logits `[batch, positions, vocab]`.
    pub logits: Tensor<3>,
    /// Hidden states of one layer, `[batch, positions, d_student]`.
    pub hidden: Option<Tensor<3>>,
    /// Queries, keys and values of one layer.
    pub attention: Option<AttentionStates>,
    /// Padding mask, `[batch, positions]`: true where a position is ignored in all parts.
    pub mask_pad: Option<Tensor<2, Bool>>,
}

/// Teacher's logits: all, or only the largest.
#[derive(Debug, Clone)]
#[non_exhaustive]
// Created once per step; boxing would not pay off.
#[allow(clippy::large_enum_variant)]
pub enum TeacherLogits {
    /// Logits `[batch, positions, vocab]`.
    Full(Tensor<3>),
    /// The largest logits and the mass of the rest.
    TopK(TopKLogits),
}

/// Outputs of a teacher's forward pass. Only those that an enabled part reads are required.
#[derive(Debug, Clone, Default)]
pub struct TeacherStates {
    /// Logits.
    pub logits: Option<TeacherLogits>,
    /// Hidden states of one layer, `[batch, positions, d_teacher]`.
    pub hidden: Option<Tensor<3>>,
    /// Queries, keys and values of one layer.
    pub attention: Option<AttentionStates>,
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
    /// If a weight is negative or not finite, if all parts are disabled, or as a part's own `init`.
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
        let logits = self.logits.as_ref().filter(|_| self.logits_weight > 0.0);
        let hidden = self.hidden.as_ref().filter(|_| self.hidden_weight > 0.0);
        let attention = self.attention.as_ref();
        let attention = attention.filter(|_| self.attention_weight > 0.0);
        assert!(
            self.task_weight > 0.0 || logits.is_some() || hidden.is_some() || attention.is_some(),
            "all parts of the distillation loss are off"
        );
        DistillationLoss {
            task_weight: self.task_weight,
            logits_weight: self.logits_weight,
            logits: logits.map(LogitsDistillationLossConfig::init),
            hidden_weight: self.hidden_weight,
            hidden: hidden.map(|hidden| hidden.init(device)),
            attention_weight: self.attention_weight,
            attention: attention.map(AttentionRelationLossConfig::init),
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
        let logits = self.logits.as_ref();
        let logits = logits.map(|loss| logits_part(loss, student, teacher));
        let hidden = self.hidden.as_ref();
        let hidden = hidden.map(|loss| hidden_part(loss, student, teacher));
        let attention = self.attention.as_ref();
        let attention = attention.map(|loss| attention_part(loss, student, teacher));

        let parts = [
            (self.task_weight, Some(&task)),
            (self.logits_weight, logits.as_ref()),
            (self.hidden_weight, hidden.as_ref()),
            (self.attention_weight, attention.as_ref()),
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
    let mask_pad = student.mask_pad.clone();
    let mask_pad = mask_pad.map(|mask_pad| flat_mask(mask_pad, &logits.dims()));
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
    match student.mask_pad.clone() {
        Some(mask_pad) => loss.forward_masked(hidden, taught, mask_pad),
        None => loss.forward(hidden, taught),
    }
}

fn attention_part(
    loss: &AttentionRelationLoss,
    student: &StudentStates,
    teacher: &TeacherStates,
) -> Tensor<1> {
    let states = needed(&student.attention, "the student's attention states");
    let taught = needed(&teacher.attention, "the teacher's attention states");
    match student.mask_pad.clone() {
        Some(mask_pad) => loss.forward_masked(states, taught, mask_pad),
        None => loss.forward(states, taught),
    }
}

#[track_caller]
fn needed<'a, T>(states: &'a Option<T>, name: &str) -> &'a T {
    let Some(states) = states else {
        panic!("the distillation loss is configured to read {name}");
    };
    states
}

impl StudentStates {
    /// Returns the number of positions that are not padding, of shape `[1]`.
    fn tokens(&self) -> Tensor<1, Int> {
        let [batch, positions, _] = self.logits.dims();
        match &self.mask_pad {
            Some(mask_pad) => mask_pad.clone().bool_not().int().sum(),
            None => {
                let device = self.logits.device();
                Tensor::from_data([(batch * positions) as i64], &device)
            }
        }
    }

    /// Creates states with logits `[batch, positions, vocab]` alone.
    pub fn new(logits: Tensor<3>) -> Self {
        Self {
            logits,
            hidden: None,
            attention: None,
            mask_pad: None,
        }
    }
}

impl TeacherStates {
    /// Creates states with logits `[batch, positions, vocab]` alone.
    pub fn new(logits: Tensor<3>) -> Self {
        Self {
            logits: Some(TeacherLogits::Full(logits)),
            ..Self::default()
        }
    }
}
