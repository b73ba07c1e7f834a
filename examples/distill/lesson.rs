//! What the student studies, and from whom.

use bitnet_burn::{
    loss::{StudentStates, TeacherLogits, TeacherStates},
    nn::BitLinear,
    train::{Student, StudentStep, Teacher},
};
use burn::{
    module::Module,
    nn::Linear,
    train::{InferenceStep, SequenceOutput},
};

use crate::{data::Batch, model::LanguageModel};

/// Windows of text, with the teacher's logits for them where they were read from disk.
#[derive(Debug, Clone)]
pub struct Lesson {
    pub batch: Batch,
    pub logits: Option<TeacherLogits>,
}

/// The language model as a student.
#[derive(Module, Debug)]
pub struct Pupil {
    pub model: LanguageModel<BitLinear>,
}

impl InferenceStep for Pupil {
    type Input = Lesson;
    type Output = SequenceOutput;

    fn step(&self, lesson: Lesson) -> SequenceOutput {
        self.model.step(lesson.batch)
    }
}

impl Student for Pupil {
    fn student_forward(&self, lesson: Lesson) -> StudentStep<SequenceOutput> {
        let output = self.step(lesson);
        StudentStep {
            loss: output.loss.clone(),
            states: StudentStates::new(output.logits.clone()),
            output,
        }
    }
}

/// The teacher itself, asked at every step.
impl Teacher<Lesson> for LanguageModel<Linear> {
    fn teacher_forward(&self, lesson: Lesson) -> TeacherStates {
        TeacherStates::new(self.lm.forward(lesson.batch.inputs))
    }
}

/// The answers that come with the lesson, or none.
#[derive(Module, Debug)]
pub struct Answers;

impl Teacher<Lesson> for Answers {
    fn teacher_forward(&self, lesson: Lesson) -> TeacherStates {
        TeacherStates {
            logits: lesson.logits,
            ..TeacherStates::default()
        }
    }
}
