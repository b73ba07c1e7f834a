//! Trainings with the setting, without it, and resumed with another one.

use std::{path::Path, sync::Arc};

use bitnet_burn::{
    loss::DistillationLossConfig,
    nn::{BitLinear, BitNetLm},
    text::dataset::{EvenWindowsConfig, RandomWindowsConfig},
    train::{
        Distiller, LanguageModel, Trained, Trainer,
        callback::{Callback, CallbackResult, TrainingRun},
        checkpoint::{CheckpointPolicy, Resume},
        config::{LearningRateConfig, TrainingConfig, TrainingConfigError},
    },
};
use burn::{
    module::Module,
    tensor::Device,
    train::{LearnerModel, TrainStep},
};

use crate::support::steps::{batch, bits, config as lm_config, model};

const STEPS: usize = 4;

fn config(is_on: bool) -> TrainingConfig {
    let mut config = TrainingConfig::default();
    (config.training.steps, config.training.epochs) = (STEPS, 2);
    config.training.gradient_checkpointing = is_on;
    config.learning_rate = LearningRateConfig::Cosine {
        peak: 1e-2,
        warm_up_steps: 1,
        end: 0.1,
    };
    config.monitoring.progress_every = None;
    config
}

fn trainer(config: TrainingConfig) -> Trainer<LanguageModel<BitLinear>> {
    let is_on = config.training.gradient_checkpointing;
    let model = LanguageModel::new(model(&lm_config())).with_gradient_checkpointing(is_on);
    Trainer::new(model, config).unwrap()
}

fn train(trainer: Trainer<LanguageModel<BitLinear>>) -> Trained<LanguageModel<BitLinear>> {
    let device = Device::default();
    let tokens: Vec<u32> = (0..200).map(|i| i * i % 19).collect();
    let train = RandomWindowsConfig::new(8, 4, STEPS).with_steps_per_epoch(Some(STEPS / 2));
    let train = train.init(tokens.clone(), &device).unwrap();
    let valid = EvenWindowsConfig::new(8, 4, 6)
        .init(tokens, &device)
        .unwrap();
    let trainer = trainer.with_token_losses();
    trainer.train(Arc::new(train), Arc::new(valid)).unwrap()
}

/// Losses of a training and its last weights, in bits.
fn result(trained: &Trained<LanguageModel<BitLinear>>) -> (Option<f64>, Option<f64>, Vec<u32>) {
    let (report, lm) = (&trained.report, &trained.model.lm);
    let weight = lm.model.layers[1].self_attn.o_proj.weight.val();
    let of_embedding = lm.model.embed_tokens.weight.val();
    let weights = [bits(weight), bits(of_embedding)].concat();
    (report.train_loss, report.valid_loss, weights)
}

/// Stops after a step.
struct StopAt(usize);

impl<M: LearnerModel> Callback<M> for StopAt {
    fn name(&self) -> &str {
        "stop_at"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if run.position().step == self.0 {
            run.stop("stop_at", "enough");
        }
        Ok(())
    }
}

fn with_checkpoints(mut config: TrainingConfig, path: &Path, resume: Resume) -> TrainingConfig {
    config.checkpoints = Some(CheckpointPolicy::new(path).resume(resume));
    config
}

#[test]
fn a_training_is_that_without_checkpointing_also_when_it_is_resumed() {
    let expected = result(&train(trainer(config(false))));
    assert!(expected.0.is_some() && expected.1.is_some());
    assert_eq!(result(&train(trainer(config(true)))), expected);
    for [before, after] in [[true, true], [true, false], [false, true]] {
        let folder = tempfile::tempdir().unwrap();
        let begun = with_checkpoints(config(before), folder.path(), Resume::Never);
        train(trainer(begun).with_callback(StopAt(1)));
        let resumed = with_checkpoints(config(after), folder.path(), Resume::Latest);
        let resumed = train(trainer(resumed));
        assert_eq!(resumed.report.steps_here, STEPS - 1);
        assert_eq!(result(&resumed), expected, "{before}, then {after}");
    }
}

#[test]
fn a_model_without_the_setting_of_its_configuration_is_an_error() {
    let off = LanguageModel::new(model::<BitLinear>(&lm_config()));
    let error = Trainer::new(off, config(true)).err().unwrap();
    assert!(
        matches!(error, TrainingConfigError::NoGradientCheckpointing),
        "{error}"
    );
}

#[test]
fn freezing_and_validation_keep_the_setting() {
    let model = LanguageModel::new(model::<BitLinear>(&lm_config()));
    let on = model.clone().with_gradient_checkpointing(true);
    assert!(Trainer::new(on.freeze().unfreeze().valid().train(), config(true)).is_ok());
    assert!(Trainer::new(model.unfreeze(), config(true)).is_err());
}

#[test]
#[should_panic(expected = "a student has no gradient checkpointing")]
fn a_student_with_the_setting_is_refused() {
    let lm: BitNetLm = model(&lm_config());
    let student = LanguageModel::new(lm.clone()).with_gradient_checkpointing(true);
    let loss = DistillationLossConfig::new().init(&Device::default().autodiff());
    let distiller = Distiller::new(student, LanguageModel::new(lm), loss);
    TrainStep::step(&distiller, batch());
}
