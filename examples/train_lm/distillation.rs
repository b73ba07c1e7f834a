//! A full-precision language model as the teacher of a BitNet one, on the same text.

use std::path::Path;

use bitnet_burn::{
    loss::{DistillationLossConfig, LogitsDistillationLoss},
    nn::BitLinear,
    train::{Distiller, LanguageModel},
};
use bitnet_burn_examples::{Error, Text};
use burn::{module::Module, nn::Linear};

use crate::options::Options;

/// Weight of the teacher's logits; the text has the rest. As in the example `distill`.
const ALPHA: f64 = 0.9;
/// Temperature of the logits. As in the example `distill`.
const TEMPERATURE: f64 = 1.0;

/// Creates the student with the teacher of a file, a checkpoint of `train_lm --precision fp`.
pub fn distiller(
    student: LanguageModel<BitLinear>,
    teacher: &Path,
    text: &Text,
    options: &Options,
) -> Result<Distiller<LanguageModel<BitLinear>, LanguageModel<Linear>>, Error> {
    let device = options.device.clone().autodiff();
    let model = LanguageModel::new(text.lm_config().init::<Linear>(&device));
    let loaded = model.try_load_file(teacher);
    let teacher = loaded
        .map_err(|error| format!("cannot load the teacher {}: {error}", teacher.display()))?;
    let logits = LogitsDistillationLoss::new().with_temperature(TEMPERATURE);
    let loss = DistillationLossConfig::new()
        .with_logits(Some(logits))
        .with_task_weight(1.0 - ALPHA)
        .with_logits_weight(ALPHA)
        .init(&device);
    Ok(Distiller::new(student, teacher, loss))
}
