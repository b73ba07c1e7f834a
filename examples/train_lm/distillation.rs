//! A full-precision language model as the teacher of a BitNet one, on the same text.

use std::path::Path;

use bitnet_burn::{
    loss::{DistillationLossConfig, LogitsDistillationLossConfig, StudentStates, TeacherStates},
    nn::BitLinear,
    train::{Distiller, Student, StudentStep, Teacher},
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::Device,
    train::{InferenceStep, SequenceOutput},
};

use crate::{
    data::{Batch, Corpus},
    model::{self, LanguageModel, MAX_GRAD_NORM},
};

/// Weight of the teacher's logits; the text has the rest. As in the example `distill`.
const ALPHA: f64 = 0.9;
/// Temperature of the logits. As in the example `distill`.
const TEMPERATURE: f64 = 1.0;

pub type Distilled = Distiller<LanguageModel<BitLinear>, LanguageModel<Linear>>;

impl Student for LanguageModel<BitLinear> {
    fn student_forward(&self, batch: Batch) -> StudentStep<SequenceOutput> {
        let output = self.step(batch);
        StudentStep {
            loss: output.loss.clone(),
            states: StudentStates::new(output.logits.clone()),
            output,
        }
    }
}

impl Teacher<Batch> for LanguageModel<Linear> {
    fn teacher_forward(&self, batch: Batch) -> TeacherStates {
        TeacherStates::new(self.lm.forward(batch.inputs))
    }
}

/// The student with the teacher of a file, as `train_lm --precision fp` writes it into a checkpoint.
pub fn distiller(
    student: LanguageModel<BitLinear>,
    teacher: &Path,
    corpus: &Corpus,
    device: &Device,
) -> Result<Distilled, String> {
    let model = LanguageModel {
        lm: model::config(corpus.vocabulary.len()).init::<Linear>(device),
    };
    let loaded = model.try_load_file(teacher);
    let teacher = loaded
        .map_err(|error| format!("cannot load the teacher {}: {error}", teacher.display()))?;
    let logits = LogitsDistillationLossConfig::new().with_temperature(TEMPERATURE);
    let loss = DistillationLossConfig::new()
        .with_logits(Some(logits))
        .with_task_weight(1.0 - ALPHA)
        .with_logits_weight(ALPHA)
        .init(device);
    Ok(Distiller::new(student, teacher, loss).with_max_grad_norm(MAX_GRAD_NORM))
}
