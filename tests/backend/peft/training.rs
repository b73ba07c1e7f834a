//! Trainings of adapters: checkpoints hold what trains, and resume with the same bits.

use std::{path::Path, sync::Arc};

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, BitNetLmConfig, PackedBitLinear, Projection},
    peft::{
        AdaptedLinear, LoraConfig, PeftConfig, PrefixTuningConfig, PromptTuningConfig,
        TargetModules,
    },
    text::dataset::{EvenWindowsConfig, RandomWindowsConfig, TokenBatches},
    train::{
        LanguageModel, Trained, Trainer, TrainerError,
        callback::{Callback, CallbackResult, TrainingRun},
        checkpoint::{CheckpointFolder, CheckpointPolicy, Resume},
        config::{LearningRateConfig, OptimizerKind, TrainingConfig, TrainingConfigError},
    },
};
use burn::{
    module::Module,
    tensor::{Device, Int, Tensor},
    train::LearnerModel,
};

use crate::support::{training::Folder, values::*};

const STEPS: usize = 8;

type Model = LanguageModel<AdaptedLinear<PackedBitLinear>>;

fn config(folder: &Path, kind: OptimizerKind, resume: Resume) -> TrainingConfig {
    let mut config = TrainingConfig::default();
    (config.training.steps, config.training.epochs) = (STEPS, 2);
    config.learning_rate = LearningRateConfig::Cosine {
        peak: 1e-2,
        warm_up_steps: 1,
        end: 0.1,
    };
    config.optimizer.kind = kind;
    config.monitoring.progress_every = None;
    let lora = LoraConfig::new(4).with_targets(TargetModules::AllLinear);
    config.peft = Some(PeftConfig::Lora(lora));
    let policy = CheckpointPolicy::new(folder.join("checkpoints")).every_steps(2);
    config.checkpoints = Some(policy.resume(resume));
    config
}

fn base(seed: u64) -> BitNetLm<PackedBitLinear> {
    let lm = BitNetLmConfig::new(16, 32, 2, 4, 64).init::<BitLinear>(&Device::default().autodiff());
    lm.map(&mut Drawn::new(seed, 0.15)).pack().train()
}

/// Adds the adapter of the configuration, always with the same values.
fn adapted(base: BitNetLm<PackedBitLinear>, config: &TrainingConfig) -> Model {
    let peft = config.peft.as_ref().unwrap();
    let (mut lm, _) = base.with_adapter("default", peft).unwrap();
    let mut drawn = Drawn::new(900, 0.05);
    let prompt = lm.model.prompt.take();
    lm.model.prompt = prompt.map(|prompt| prompt.map(&mut drawn));
    LanguageModel::new(lm.map_projections(|_, mut linear| {
        linear.adapters = linear
            .adapters
            .into_iter()
            .map(|a| a.map(&mut drawn))
            .collect();
        linear
    }))
}

fn loaders() -> (Arc<TokenBatches>, Arc<TokenBatches>) {
    let device = Device::default();
    let tokens: Vec<u32> = (0..200).map(|i| i * i % 16).collect();
    let train = RandomWindowsConfig::new(8, 4, STEPS).with_steps_per_epoch(Some(STEPS / 2));
    let valid = EvenWindowsConfig::new(8, 4, 6);
    (
        Arc::new(train.init(tokens.clone(), &device).unwrap()),
        Arc::new(valid.init(tokens, &device).unwrap()),
    )
}

/// Simulates a crash after a step.
struct PowerCut(usize);

impl<M: LearnerModel> Callback<M> for PowerCut {
    fn name(&self) -> &str {
        "power_cut"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        match run.position().step == self.0 {
            true => Err("power cut".into()),
            false => Ok(()),
        }
    }
}

fn train(
    model: Model,
    config: TrainingConfig,
    cut: Option<usize>,
) -> Result<Trained<Model>, TrainerError> {
    let (train, valid) = loaders();
    let mut trainer = Trainer::new(model, config).unwrap().with_token_losses();
    if let Some(step) = cut {
        trainer = trainer.with_callback(PowerCut(step));
    }
    trainer.train(train, valid)
}

fn logits<P: Projection>(model: &LanguageModel<P>) -> Vec<f32> {
    let tokens = Tensor::<2, Int>::from_ints([[1, 5, 9, 2]], &Device::default());
    floats(model.lm.valid().forward(tokens))
}

#[test]
fn a_killed_training_of_adapters_resumes_with_the_same_bits() {
    for kind in [OptimizerKind::AdamW, OptimizerKind::AdamW8bit] {
        let (whole, cut) = (Folder::new("whole"), Folder::new("cut"));
        let new = config(&whole.0, kind, Resume::Never);
        let before = logits(&adapted(base(1), &new));
        let expected = train(adapted(base(1), &new), new, None).unwrap();
        assert_ne!(logits(&expected.model), before);

        let new = config(&cut.0, kind, Resume::Never);
        assert!(train(adapted(base(1), &new), new, Some(5)).is_err());
        let latest = config(&cut.0, kind, Resume::Latest);
        let resumed = train(adapted(base(1), &latest), latest, None).unwrap();
        assert_eq!(resumed.report.steps_here, STEPS - 4);
        let (resumed, expected) = (logits(&resumed.model), logits(&expected.model));
        assert_equal(&resumed, &expected, "after the resume");
    }
}

#[test]
fn a_killed_training_of_a_prompt_resumes_with_the_same_bits() {
    let prefix = PrefixTuningConfig::new(3).with_projection(Some(6));
    for peft in [PeftConfig::from(prefix), PromptTuningConfig::new(3).into()] {
        let (whole, cut) = (Folder::new("whole prompt"), Folder::new("cut prompt"));
        let config = |folder: &Folder, resume| {
            let mut config = config(&folder.0, OptimizerKind::AdamW, resume);
            config.peft = Some(peft.clone());
            config
        };
        let new = config(&whole, Resume::Never);
        let before = logits(&adapted(base(1), &new));
        let expected = train(adapted(base(1), &new), new, None).unwrap();
        assert_ne!(logits(&expected.model), before);

        let new = config(&cut, Resume::Never);
        assert!(train(adapted(base(1), &new), new, Some(5)).is_err());
        let latest = config(&cut, Resume::Latest);
        let resumed = train(adapted(base(1), &latest), latest, None).unwrap();
        assert_eq!(resumed.report.steps_here, STEPS - 4);
        let (resumed, expected) = (logits(&resumed.model), logits(&expected.model));
        assert_equal(&resumed, &expected, "after the resume");
    }
}

#[test]
fn checkpoints_leave_the_base_out_and_are_of_that_base_alone() {
    let folder = Folder::new("base");
    let new = config(&folder.0, OptimizerKind::AdamW, Resume::Never);
    let model = adapted(base(1), &new);
    train(model.clone(), new, None).unwrap();
    let path = folder.0.join("checkpoints");
    let manifest = CheckpointFolder::new(&path)
        .newest()
        .unwrap()
        .manifest
        .unwrap();
    let adapters: usize = (model.lm.projections())
        .flat_map(|(_, p)| {
            p.adapters
                .iter()
                .map(|a| a.num_params())
                .collect::<Vec<_>>()
        })
        .sum();
    let record = path.join(format!("step-{STEPS:08}/model.bpk"));
    let bytes = std::fs::metadata(record).unwrap().len() as usize;
    // Names, shapes and alignment of 28 tensors take less than 256 bytes each.
    let expected = 4 * adapters..4 * adapters + 28 * 256;
    assert!(expected.contains(&bytes), "{bytes} not in {expected:?}");
    assert!(
        manifest
            .frozen
            .iter()
            .any(|f| f.path.contains("embed_tokens"))
    );

    let latest = config(&folder.0, OptimizerKind::AdamW, Resume::Latest);
    let error = train(adapted(base(2), &latest), latest, None)
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("which does not train, and the model has other values"),
        "{error}"
    );
}

#[test]
fn an_adapter_beside_a_model_without_gradients_trains() {
    let folder = Folder::new("without gradients");
    let config = config(&folder.0, OptimizerKind::AdamW, Resume::Never);
    let lm = BitNetLmConfig::new(16, 32, 2, 4, 64).init::<BitLinear>(&Device::default());
    let base = lm.map(&mut Drawn::new(1, 0.15)).pack();
    let of_base = logits(&LanguageModel::new(base.clone()));
    let peft = config.peft.as_ref().unwrap();
    let (lm, report) = base.with_adapter("default", peft).unwrap();
    // Two layers of four projections 32 x 32 and three of 32 x 64, of rank 4.
    assert_eq!(report.num_trainable, 2 * 4 * (4 * 64 + 3 * 96));
    let trained = train(LanguageModel::new(lm), config, None).unwrap();
    assert_ne!(logits(&trained.model), of_base);
    let base = LanguageModel::new(trained.model.lm.into_base());
    assert_equal(&logits(&base), &of_base, "the base");
}

#[test]
fn a_training_of_frozen_parameters_alone_is_refused() {
    let folder = Folder::new("frozen");
    let config = config(&folder.0, OptimizerKind::AdamW, Resume::Never);
    let error = Trainer::new(LanguageModel::new(base(1).freeze()), config).err();
    assert!(
        matches!(error, Some(TrainingConfigError::NothingTrains)),
        "{error:?}"
    );
}
