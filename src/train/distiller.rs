use burn::{
    lr_scheduler::module_lr_scheduler::ModuleLearningRate,
    module::{Module, ModuleDisplay},
    optim::{GradientsParams, ModuleOptimizer},
    tensor::Tensor,
    train::{InferenceStep, TrainOutput, TrainStep},
};

use super::{DistillationOutput, Frozen};
use crate::{
    base::bounds::Bounds,
    loss::{DistillationLoss, StudentStates, TeacherStates},
    optim::clip_grad_norm,
    qat::{QuantControls, detach_controls},
};

/// Outputs of a student's forward pass on a batch.
pub struct StudentStep<O> {
    /// Student's own loss, of shape `[1]`.
    pub loss: Tensor<1>,
    /// States that are compared with the teacher's.
    pub states: StudentStates,
    /// Output for metrics, as returned by an inference step.
    pub output: O,
}

/// Model that a [`Distiller`] trains. Its `InferenceStep` is the validation.
pub trait Student: Module + InferenceStep<Input: Clone> {
    /// Computes the forward pass of training.
    fn student_forward(&self, batch: Self::Input) -> StudentStep<Self::Output>;
}

/// Model of any architecture that a [`Student`] learns from, or a source of its outputs, such as
/// the batch.
pub trait Teacher<Batch>: Module {
    /// Computes the forward pass. The module is in inference mode. The batch is that of training:
    /// its tensors may be on an autodiff device, where they count as constants.
    fn teacher_forward(&self, batch: Batch) -> TeacherStates;
}

/// Student and frozen teacher, trainable by burn-train's `Learner`.
///
/// A training step minimizes a [`DistillationLoss`] of both on the same batch. Only the student and
/// a learned projection of the loss, if any, are optimized and written to checkpoints. The teacher
/// is [`Frozen`] and moves to the training device with them. A validation step runs the student
/// alone: its loss is comparable to that of a student trained without a teacher.
///
/// A teacher may be a clone of the student. Its quantizers then get [controls of their
/// own](crate::qat::detach_controls) with their current settings: schedules set the student alone,
/// and `QuantControls::of(distiller.teacher.module())` sets the teacher alone, such as to full
/// precision.
///
/// If the student's output is or adapts to a [`TokenLoss`](super::TokenLoss), so does that of the
/// distiller: accumulated batches are weighted by the tokens of the student's own loss. This equals
/// the step of one large batch if the loss ignores exactly the positions that `mask_pad` hides. A
/// part over other positions than the task's is weighted by the task's, too.
///
/// In training, `LossMetric` shows the total and
/// [`DistillationMetric`](super::DistillationMetric) its parts.
///
/// # Example
///
/// ```
/// use bitnet_burn::{
///     loss::{DistillationLossConfig, StudentStates, TeacherStates},
///     nn::{BitLinear, BitLinearConfig},
///     train::{Distiller, Student, StudentStep, Teacher},
/// };
/// use burn::{
///     module::Module,
///     nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
///     tensor::{Device, Distribution, Int, Tensor},
///     train::{ClassificationOutput, InferenceStep, TrainStep},
/// };
///
/// #[derive(Clone)]
/// struct Batch {
///     inputs: Tensor<2>,
///     targets: Tensor<1, Int>,
/// }
///
/// #[derive(Module, Debug)]
/// struct Ternary {
///     layer: BitLinear,
/// }
///
/// #[derive(Module, Debug)]
/// struct Full {
///     layer: Linear,
/// }
///
/// impl InferenceStep for Ternary {
///     type Input = Batch;
///     type Output = ClassificationOutput;
///
///     fn step(&self, batch: Batch) -> ClassificationOutput {
///         let logits = self.layer.forward(batch.inputs);
///         let loss = CrossEntropyLossConfig::new().init(&logits.device());
///         let loss = loss.forward(logits.clone(), batch.targets.clone());
///         ClassificationOutput::new(loss, logits, batch.targets)
///     }
/// }
///
/// impl Student for Ternary {
///     fn student_forward(&self, batch: Batch) -> StudentStep<ClassificationOutput> {
///         let output = self.step(batch);
///         StudentStep {
///             loss: output.loss.clone(),
///             states: StudentStates::new(output.output.clone().unsqueeze()),
///             output,
///         }
///     }
/// }
///
/// impl Teacher<Batch> for Full {
///     fn teacher_forward(&self, batch: Batch) -> TeacherStates {
///         TeacherStates::new(self.layer.forward(batch.inputs).unsqueeze())
///     }
/// }
///
/// let device = Device::default().autodiff();
/// let student = Ternary { layer: BitLinearConfig::new(8, 3).init(&device) };
/// let teacher = Full { layer: LinearConfig::new(8, 3).init(&device) };
/// let loss = DistillationLossConfig::new().init(&device);
/// // Input of `Learner::new`.
/// let distiller = Distiller::new(student, teacher, loss);
///
/// let batch = Batch {
///     inputs: Tensor::random([4, 8], Distribution::Default, &device),
///     targets: Tensor::zeros([4], &device),
/// };
/// assert_eq!(TrainStep::step(&distiller, batch).grads.len(), 1); // the student's weight
/// ```
#[derive(Module, Debug)]
pub struct Distiller<S: Module + ModuleDisplay, T: Module + ModuleDisplay> {
    /// Trained model.
    pub student: S,
    /// Model to learn from.
    pub teacher: Frozen<T>,
    /// Minimized loss.
    pub loss: DistillationLoss,
    max_grad_norm: Option<f64>,
}

impl<S: Module + ModuleDisplay, T: Module + ModuleDisplay> Distiller<S, T> {
    /// Creates a distiller without gradient clipping. A teacher whose quantizers share controls
    /// with the student is [detached](detach_controls) from them.
    pub fn new(student: S, teacher: T, loss: DistillationLoss) -> Self {
        let shares = QuantControls::of(&student).shares_with(&QuantControls::of(&teacher));
        let teacher = match shares {
            true => detach_controls(teacher),
            false => teacher,
        };
        Self {
            student,
            teacher: Frozen::new(teacher),
            loss,
            max_grad_norm: None,
        }
    }

    /// Sets the maximum norm of the gradients over all parameters, as in [`clip_grad_norm`].
    ///
    /// # Panics
    ///
    /// If the norm is not positive.
    #[track_caller]
    #[must_use]
    pub fn with_max_grad_norm(mut self, max_grad_norm: f64) -> Self {
        Bounds::POSITIVE.assert("max_grad_norm", max_grad_norm);
        self.max_grad_norm = Some(max_grad_norm);
        self
    }
}

impl<S, T> TrainStep for Distiller<S, T>
where
    S: Student + ModuleDisplay,
    T: Teacher<S::Input> + ModuleDisplay,
{
    type Input = S::Input;
    type Output = DistillationOutput<S::Output>;

    fn step(&self, batch: S::Input) -> TrainOutput<Self::Output> {
        let teacher = self.teacher.module().teacher_forward(batch.clone());
        let student = self.student.student_forward(batch);
        let losses = self.loss.forward(student.loss, &student.states, &teacher);
        let grads = losses.total.backward();
        let output = DistillationOutput {
            output: student.output,
            losses,
        };
        TrainOutput::new(self, grads, output)
    }

    fn optimize(
        self,
        optim: &mut ModuleOptimizer,
        lr: ModuleLearningRate,
        grads: GradientsParams,
    ) -> Self {
        let grads = match self.max_grad_norm {
            Some(max_norm) => clip_grad_norm(&self, grads, max_norm).0,
            None => grads,
        };
        optim.step(lr, self, grads)
    }
}

impl<S, T> InferenceStep for Distiller<S, T>
where
    S: Student + ModuleDisplay,
    T: Module + ModuleDisplay,
{
    type Input = S::Input;
    type Output = S::Output;

    fn step(&self, batch: S::Input) -> S::Output {
        self.student.step(batch)
    }
}
