//! The trainer: one configuration, one call.

use std::sync::Arc;

use bitnet_burn::{
    nn::{BitLinear, BitNetLmConfig},
    quant::{BitWidth, QatScheme, WeightQuantizer},
    text::{
        TextError,
        dataset::{EvenWindowsConfig, RandomWindowsConfig, TokenBatches},
        evaluate,
    },
    train::{
        LanguageModel, Trained, Trainer,
        callback::{Callback, CallbackResult, TrainingRun},
        checkpoint::{BestMetric, CheckpointPolicy, Resume},
        config::{LearningRateConfig, ParameterGroupConfig, TrainingConfig},
    },
};
use burn::{
    data::dataloader::DataLoader,
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Tensor},
    train::LearnerModel,
};

const STEPS: usize = 6;

fn config() -> TrainingConfig {
    let mut config = TrainingConfig::default();
    (config.training.steps, config.training.epochs) = (STEPS, 2);
    config.learning_rate = LearningRateConfig::Cosine {
        peak: 1e-2,
        warm_up_steps: 1,
        end: 0.1,
    };
    config.monitoring.progress_every = None;
    config
}

fn model(config: &TrainingConfig) -> LanguageModel<BitLinear> {
    let device = Device::default();
    device.seed(0);
    let lm = BitNetLmConfig::new(16, 32, 1, 2, 64).with_scheme(config.qat.clone());
    LanguageModel::new(lm.init(&device.autodiff()))
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

fn train(trainer: Trainer<LanguageModel<BitLinear>>) -> Trained<LanguageModel<BitLinear>> {
    let (train, valid) = loaders();
    trainer.with_token_losses().train(train, valid).unwrap()
}

#[test]
fn the_report_is_of_the_whole_training() {
    let config = config();
    let trained = train(Trainer::new(model(&config), config).unwrap());
    let report = &trained.report;
    assert_eq!((report.steps, report.steps_here), (STEPS, STEPS));
    assert!(report.is_complete && report.over.is_none(), "{report:?}");
    assert!(trained.best.is_none() && trained.history.reports.is_empty());
    // The loss of the report is that of the returned model.
    let (_, valid) = loaders();
    let batches = valid.iter().map(|batch| Ok::<_, TextError>(batch.unwrap()));
    let expected = evaluate(&trained.model.lm, batches).unwrap().loss;
    // The metric also sums in f64; its means over batches are of f32.
    let found = report.valid_loss.unwrap();
    assert!((found - expected).abs() < 1e-6, "{found} {expected}");
}

#[test]
fn trainings_and_validations_that_share_a_loader_do_not_move_each_other() {
    let config = config();
    let model = model(&config);
    let expected = train(Trainer::new(model.clone(), config.clone()).unwrap());
    let expected = expected.report.train_loss;
    let loss = |train: &Arc<TokenBatches>, valid: &Arc<TokenBatches>, model| {
        let trainer = Trainer::new(model, config.clone()).unwrap();
        let trained = trainer
            .with_token_losses()
            .train(train.clone(), valid.clone());
        trained.unwrap().report.train_loss
    };
    let (train, valid) = loaders();
    let at_once = std::thread::scope(|scope| {
        let models = [model.clone(), model.clone()];
        let threads = models.map(|model| scope.spawn(|| loss(&train, &valid, model)));
        threads.map(|thread| thread.join().unwrap())
    });
    assert_eq!(at_once, [expected; 2]);
    // Validated with its own data.
    assert_eq!(loss(&train, &train, model), expected);
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

#[test]
fn a_resumed_training_has_the_losses_of_one_without_a_break() {
    let folder = tempfile::tempdir().unwrap();
    let config = |path: &str, resume| {
        let policy = CheckpointPolicy::new(folder.path().join(path)).keep_best(BestMetric::loss());
        TrainingConfig {
            checkpoints: Some(policy.resume(resume)),
            ..config()
        }
    };
    let model = model(&config("whole", Resume::Never));
    let trainer = |config| Trainer::new(model.clone(), config).unwrap();
    let whole = train(trainer(config("whole", Resume::Never)));
    let begun = trainer(config("parts", Resume::Never)).with_callback(StopAt(2));
    let begun = train(begun);
    assert_eq!((begun.report.steps, begun.report.is_complete), (2, false));
    let resumed = train(trainer(config("parts", Resume::Latest)));
    assert_eq!(
        (resumed.report.steps, resumed.report.steps_here),
        (STEPS, STEPS - 2)
    );
    assert_eq!(resumed.report.train_loss, whole.report.train_loss);
    assert_eq!(resumed.report.valid_loss, whole.report.valid_loss);
    let (best, of_whole) = (resumed.best.unwrap(), whole.best.unwrap());
    assert_eq!((best.step, &best.metric), (of_whole.step, &of_whole.metric));
    assert!(best.path.join("model.bpk").is_file());
    // A complete training stays complete.
    let again = train(trainer(config("parts", Resume::Latest)));
    assert_eq!(again.report.steps_here, 0);
    assert!(again.report.is_complete);
}

/// Parameter group of the scales that quantizers train.
const SCALES: &str = r"quant\.scale$";

fn with_groups(groups: Vec<ParameterGroupConfig>) -> TrainingConfig {
    let mut config = config();
    config.qat = QatScheme::b1_58().with_weight(WeightQuantizer::learned_step(BitWidth::Ternary));
    config.optimizer.groups = groups;
    config
}

#[test]
fn a_group_has_its_own_learning_rate_and_weight_decay() {
    let group = ParameterGroupConfig::new(SCALES).with_learning_rate(1e-6);
    let config = with_groups(vec![group.with_weight_decay(0.0)]);
    let before = model(&config);
    let trained = train(Trainer::new(before.clone(), config.clone()).unwrap()).model;
    let largest = |path_is: fn(&str) -> bool| {
        let (before, after) = (values(&before, path_is), values(&trained, path_is));
        let pairs = before.iter().zip(&after);
        let changes = pairs.map(|(before, after)| (before - after).abs());
        changes.fold(0f32, f32::max)
    };
    // AdamW moves a parameter by at most about the learning rate in a step.
    let scales = largest(|path| path.ends_with("quant.scale"));
    let norms = largest(|path| path.ends_with("gamma"));
    assert!(scales <= 2.0 * STEPS as f32 * 1e-8, "{scales}");
    assert!(norms > 1e-3, "{norms}");
}

/// Collects the values of the parameters with the requested paths.
struct Values {
    path: Vec<String>,
    path_is: fn(&str) -> bool,
    values: Vec<f32>,
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if (self.path_is)(&self.path.join(".")) {
            self.values.extend(param.base().to_data().iter::<f32>());
        }
    }
}

fn values<M: Module>(model: &M, path_is: fn(&str) -> bool) -> Vec<f32> {
    let (path, values) = (Vec::new(), Vec::new());
    let mut visitor = Values {
        path,
        path_is,
        values,
    };
    model.visit(&mut visitor);
    assert!(!visitor.values.is_empty());
    visitor.values
}

#[test]
fn groups_that_fit_no_parameter_or_share_one_are_refused() {
    for (groups, message) in [
        (
            vec![ParameterGroupConfig::new(r"\.fake_quant\.step$")],
            "optimizer.groups[0].pattern must be found in the path of a parameter of the model \
             (lm.model.embed_tokens.weight, ",
        ),
        (
            vec![
                ParameterGroupConfig::new("norm"),
                ParameterGroupConfig::new("gamma$"),
            ],
            "optimizer.groups[1].pattern must be of no parameter of optimizer.groups[0], which has \
             lm.model.layers.0.input_layernorm.gamma, too, got gamma$",
        ),
        (
            vec![ParameterGroupConfig::new("(")],
            "optimizer.groups[0].pattern: ",
        ),
        (
            vec![ParameterGroupConfig::new("norm").with_learning_rate(0.0)],
            "optimizer.groups[0].learning_rate must be positive and finite, got 0",
        ),
    ] {
        let config = with_groups(groups);
        let error = Trainer::new(model(&config), config).err().unwrap();
        assert!(error.to_string().starts_with(message), "{error}");
    }
}
