//! AdaLoRA in the training loop: the training of peft, interruptions, rollbacks, loss scaling and accumulation.

use std::sync::{Arc, Mutex};

use bitnet_burn::{
    optim::LossScalerConfig,
    peft::RankAllocator,
    train::{
        CallbackStrategy, SilentRenderer,
        callback::{
            AdaLoraAllocation, Callback, CallbackResult, LossScaling, OptimizerStep,
            SharedLossScaler, TrainingRun,
        },
        checkpoint::{CheckpointPolicy, Resume},
    },
};
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    lr_scheduler::constant::ConstantLr,
    module::Module,
    optim::{GradientsParams, SgdConfig},
    tensor::{Device, Tensor},
    train::{
        InferenceStep, Learner, LearningResult, RegressionOutput, SupervisedTraining, TrainOutput,
        TrainStep,
    },
};

use crate::support::{
    ada_lora::{LAYERS, Toy, config, pattern},
    callbacks::{At, Events},
    oracle::Oracle,
    training::Folder,
    values::*,
};

const STEPS: usize = 20;
const LEARNING_RATE: f64 = 0.1;

/// The model of peft's training, which may scale its loss.
#[derive(Module, Debug)]
struct Trained {
    toy: Toy,
    #[module(skip)]
    scaler: Option<SharedLossScaler>,
}

/// Inputs and targets, the same in each step.
#[derive(Clone, Debug)]
struct Batch {
    x: Tensor<2>,
    target: Tensor<2>,
}

impl Batch {
    fn on(device: &Device) -> Self {
        let oracle = Oracle::open("h_adalora");
        let init = oracle.case("init");
        Self {
            x: init.tensor("x", device),
            target: init.tensor("target", device),
        }
    }
}

#[derive(Clone)]
struct Same;

impl Batcher<(), Batch> for Same {
    fn batch(&self, _items: Vec<()>, device: &Device) -> Batch {
        Batch::on(device)
    }
}

impl InferenceStep for Trained {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> RegressionOutput {
        let output = self.toy.forward(batch.x);
        let loss = (output.clone() - batch.target.clone()).square().mean();
        RegressionOutput::new(loss, output, batch.target)
    }
}

impl TrainStep for Trained {
    type Input = Batch;
    type Output = RegressionOutput;

    fn step(&self, batch: Batch) -> TrainOutput<RegressionOutput> {
        let output = InferenceStep::step(self, batch);
        let loss = match &self.scaler {
            Some(scaler) => scaler.scale(output.loss.clone()),
            None => output.loss.clone(),
        };
        TrainOutput::new(self, loss.backward(), output)
    }
}

fn loader(items: usize) -> Arc<dyn DataLoader<Batch>> {
    let builder = DataLoaderBuilder::new(Same).batch_size(1);
    builder.build(InMemDataset::new(vec![(); items]))
}

fn model() -> Trained {
    let device = Device::default().autodiff();
    Trained {
        toy: Toy::new(&Oracle::open("h_adalora"), &device),
        scaler: None,
    }
}

fn allocation() -> AdaLoraAllocation {
    AdaLoraAllocation::new(&config(&Oracle::open("h_adalora")))
}

fn strategy() -> CallbackStrategy<Trained> {
    CallbackStrategy::new(Device::default()).with_max_steps(STEPS)
}

/// Trains on `batches` for each step.
fn train(
    model: Trained,
    batches: usize,
    strategy: CallbackStrategy<Trained>,
) -> LearningResult<Trained> {
    let folder = Folder::new("ada_lora");
    let training = SupervisedTraining::new(&folder.0, loader(STEPS * batches), loader(1))
        .with_training_strategy(strategy.into())
        .with_application_logger(None)
        .renderer(Box::new(SilentRenderer))
        .grads_accumulation(batches)
        .num_epochs(1);
    let optimizer = SgdConfig::new().init();
    training.launch(Learner::new(
        model,
        optimizer,
        ConstantLr::new(LEARNING_RATE),
    ))
}

/// Values of the adapters after each step.
type History = Vec<[[Vec<f32>; 3]; 3]>;

/// Trains in a loop of its own. Steps in `skipped` are not taken, and after step `back.0` the model and the allocation are
/// those after step `back.1` again.
fn simulated(skipped: &[usize], back: Option<(usize, usize)>) -> History {
    let oracle = Oracle::open("h_adalora");
    let batch = Batch::on(&Device::default().autodiff());
    let mut model = model();
    let mut allocator = RankAllocator::new(&config(&oracle), &model).unwrap();
    let mut optimizer = SgdConfig::new().init();
    let (mut history, mut saved) = (History::new(), None);
    for step in 0..STEPS {
        let mut output = TrainStep::step(&model, batch.clone());
        let grads: &mut GradientsParams = &mut output.grads;
        allocator.regularize(&model, grads, 1.0);
        let mut gradients = None;
        if !skipped.contains(&step) {
            gradients = Some(allocator.gradients(grads));
            model = optimizer.step(LEARNING_RATE, model, output.grads);
        }
        allocator.step(&model, step, gradients).unwrap();
        model = allocator.prune(model, step);
        history.push(model.toy.factors());
        if let Some((from, to)) = back {
            if step == to {
                saved = Some((model.clone(), allocator.clone()));
            }
            if step == from {
                (model, allocator) = saved.clone().unwrap();
            }
        }
    }
    history
}

/// Records the values after each step.
#[derive(Clone, Default)]
struct Recorder(Arc<Mutex<History>>);

impl Recorder {
    fn get(&self) -> History {
        self.0.lock().unwrap().clone()
    }
}

impl Callback<Trained> for Recorder {
    fn name(&self) -> &str {
        "recorder"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<Trained>) -> CallbackResult {
        self.0.lock().unwrap().push(run.model().toy.factors());
        Ok(())
    }
}

/// Asserts that the values after each step are equal, and names the first that differ.
#[track_caller]
fn assert_same(history: &[[[Vec<f32>; 3]; 3]], expected: &[[[Vec<f32>; 3]; 3]], first: usize) {
    assert_eq!(history.len(), expected.len());
    for (step, (found, expected)) in history.iter().zip(expected).enumerate() {
        for (layer, (found, expected)) in found.iter().zip(expected).enumerate() {
            for (name, (found, expected)) in ["A", "E", "B"].iter().zip(found.iter().zip(expected))
            {
                let place = format!("step {}, {}, {name}", first + step, LAYERS[layer]);
                assert_equal(found, expected, &place);
            }
        }
    }
}

#[test]
fn a_training_with_the_callback_is_that_of_peft() {
    let (recorder, events) = (Recorder::default(), Events::default());
    let strategy = strategy()
        .with_callback(allocation().every(5))
        .with_callback(recorder.clone())
        .with_callback(events.clone());
    let result = train(model(), 1, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    let history = recorder.get();
    // Bit for bit the loop, which a test of adapters compares with peft.
    assert_same(&history, &simulated(&[], None), 0);

    let oracle = Oracle::open("h_adalora");
    for (step, layers) in history.iter().enumerate().skip(16) {
        let kept = |[_, e, _]: &[Vec<f32>; 3]| e.iter().map(|&e| e != 0.0).collect();
        let kept: Vec<Vec<bool>> = layers.iter().map(kept).collect();
        assert_eq!(kept, pattern(&oracle, step).unwrap());
    }
    let steps = oracle.about["steps"].as_array().unwrap();
    let events = events.0.lock().unwrap();
    let logged: Vec<_> = events.iter().filter(|e| e.source == "ada_lora").collect();
    // Steps with a lower budget, counted from 1, and each fifth.
    let at: Vec<usize> = logged.iter().map(|event| event.step).collect();
    assert_eq!(at, [5, 6, 7, 8, 9, 10, 12, 15, 20]);
    for event in logged {
        let step = &steps[event.step - 1];
        assert_eq!(Some(event.values["budget"]), step["budget"].as_f64());
        let loss = |name: &str| step[name].as_f64().unwrap();
        let expected = loss("loss_total") - loss("loss_task");
        // Rounding of the two losses, and of up to 20 steps before.
        let error = (event.values["orthogonality"] - expected).abs();
        assert!(error < 64.0 * 21.0 * ROUNDING * expected, "{event}");
    }
}

#[test]
fn equal_batches_of_a_step_are_one_batch() {
    let recorder = Recorder::default();
    let strategy = strategy()
        .with_callback(allocation())
        .with_callback(recorder.clone());
    assert!(train(model(), 2, strategy).error.is_none());
    // The mean of two equal gradients is exact.
    assert_same(&recorder.get(), &simulated(&[], None), 0);
}

#[test]
fn a_scaled_loss_scales_the_orthogonality_too() {
    // A power of two, so that scaling is exact.
    let config = LossScalerConfig::new()
        .with_initial_scale(64.0)
        .with_growth_interval(1000);
    let scaler = SharedLossScaler::new(&config);
    let recorder = Recorder::default();
    let strategy = strategy()
        .with_callback(LossScaling::new(&scaler))
        .with_callback(allocation().with_loss_scaler(&scaler))
        .with_callback(recorder.clone());
    let model = Trained {
        scaler: Some(scaler),
        ..model()
    };
    assert!(train(model, 1, strategy).error.is_none());
    assert_same(&recorder.get(), &simulated(&[], None), 0);
}

/// Skips some steps.
struct Skip(Vec<usize>);

impl Callback<Trained> for Skip {
    fn name(&self) -> &str {
        "skip"
    }

    fn before_optimizer_step(
        &mut self,
        run: &mut TrainingRun<Trained>,
        step: &mut OptimizerStep<'_>,
    ) -> CallbackResult {
        if self.0.contains(&run.position().step) {
            step.skip("the batch is left out");
        }
        Ok(())
    }
}

#[test]
fn a_skipped_step_is_not_measured_and_its_pruning_is_not_left_out() {
    let skipped = [0, 3, 8, 16, 18];
    let recorder = Recorder::default();
    let strategy = strategy()
        .with_callback(allocation())
        .with_callback(Skip(skipped.to_vec()))
        .with_callback(recorder.clone());
    assert!(train(model(), 1, strategy).error.is_none());
    let history = recorder.get();
    assert_same(&history, &simulated(&skipped, None), 0);
    assert!(history != simulated(&[], None));
}

#[test]
fn a_killed_training_resumes_with_the_same_bits() {
    let whole = simulated(&[], None);
    // Before the first pruning, between two, and with the last ranks.
    for killed in [3, 8, 18] {
        let folder = Folder::new("ada_lora_resume");
        let policy = || CheckpointPolicy::new(folder.0.join("checkpoints")).every_steps(2);
        let kill = At(killed, |_: &mut TrainingRun<Trained>| {
            Err("power cut".into())
        });
        let first = strategy()
            .with_callback(allocation())
            .with_callback(kill)
            .with_checkpoints(policy());
        assert!(train(model(), 1, first).error.is_some());

        let recorder = Recorder::default();
        let second = strategy()
            .with_callback(allocation())
            .with_callback(recorder.clone())
            .with_checkpoints(policy().resume(Resume::Latest));
        let result = train(model(), 1, second);
        assert!(result.error.is_none(), "{:?}", result.error);
        // The checkpoint of a killed step is not written.
        let from = (killed - 1) / 2 * 2;
        assert_same(&recorder.get(), &whole[from..], from);
    }
}

#[test]
fn a_rollback_restores_ranks_and_importance() {
    let folder = Folder::new("ada_lora_rollback");
    let mut policy = CheckpointPolicy::new(folder.0.join("checkpoints")).every_steps(7);
    policy.every_epoch = false;
    let back = At(11, |run: &mut TrainingRun<Trained>| {
        run.request_rollback("watch", "astray");
        Ok(())
    });
    let recorder = Recorder::default();
    let strategy = strategy()
        .with_callback(allocation())
        .with_callback(back)
        .with_callback(recorder.clone())
        .with_checkpoints(policy);
    let result = train(model(), 1, strategy);
    assert!(result.error.is_none(), "{:?}", result.error);
    // Steps are counted from 1 there, from 0 here.
    let history = recorder.get();
    assert_same(&history, &simulated(&[], Some((10, 6))), 0);
    assert!(history != simulated(&[], None));
}

#[test]
fn a_model_without_adapters_ends_the_training_with_an_error() {
    let strategy = strategy().with_callback(allocation());
    let frozen = Trained {
        toy: model().toy.freeze(),
        scaler: None,
    };
    let error = train(frozen, 1, strategy).error.unwrap().to_string();
    assert!(
        error.contains("no AdaLoRA adapter of the model trains"),
        "{error}"
    );
}

/// A language model of packed weights, with a `Trainer`.
#[cfg(feature = "text")]
mod language_model {
    use bitnet_burn::{
        nn::{BitLinear, BitNetLm, BitNetLmConfig},
        peft::{AdaLora, AdaLoraConfig, Adapter, TargetModules},
        text::{
            TextError,
            dataset::{EvenWindowsConfig, RandomWindowsConfig},
            evaluate,
        },
        train::{
            LanguageModel, Trainer,
            config::{LearningRateConfig, TrainingConfig},
        },
    };

    use super::*;

    const STEPS: usize = 30;

    #[test]
    fn ranks_shrink_to_the_budget_while_the_loss_falls() {
        let device = Device::default();
        let tokens: Vec<u32> = (0..200).map(|i| i * i % 16).collect();
        let train = RandomWindowsConfig::new(8, 4, STEPS).init(tokens.clone(), &device);
        let valid = EvenWindowsConfig::new(8, 4, 6).init(tokens, &device);
        let config = AdaLoraConfig::new(STEPS)
            .with_ranks(4, 2)
            .with_steps(4, 8, 3)
            .with_orth_reg_weight(0.1)
            .with_targets(TargetModules::AllLinear);

        let lm: BitNetLm<BitLinear> =
            BitNetLmConfig::new(16, 32, 1, 2, 64).init(&device.autodiff());
        let lm = lm.map(&mut Drawn::new(930, 0.15)).pack().train();
        let (lm, report) = lm.with_adapter("default", &config).unwrap();
        assert_eq!(report.modules.len(), 7);
        let mut seed = 940;
        let lm = lm.map_projections(|_, mut linear| {
            seed += 10;
            linear.adapters = linear.adapters.map(&mut Drawn::new(seed, 0.02));
            linear
        });

        let mut training = TrainingConfig::default();
        (training.training.steps, training.training.epochs) = (STEPS, 1);
        training.learning_rate = LearningRateConfig::Cosine {
            peak: 3e-2,
            warm_up_steps: 1,
            end: 0.1,
        };
        training.monitoring.progress_every = None;
        let (train, valid) = (Arc::new(train.unwrap()), Arc::new(valid.unwrap()));
        let batches = valid.iter().map(|batch| Ok::<_, TextError>(batch.unwrap()));
        let before = evaluate(&lm.valid(), batches).unwrap().loss;
        let trained = Trainer::new(LanguageModel::new(lm), training)
            .unwrap()
            .with_token_losses()
            .with_callback(AdaLoraAllocation::new(&config))
            .train(train, valid)
            .unwrap();
        let after = trained.report.valid_loss.unwrap();
        // ln 16 = 2.8 without training.
        assert!(after < before - 0.3, "before {before}, after {after}");

        let adapters = trained
            .model
            .lm
            .projections()
            .map(|(_, p)| match &p.adapters[0] {
                Adapter::AdaLora(adapter) => kept(adapter),
                other => panic!("{other}"),
            });
        let ranks: Vec<usize> = adapters.collect();
        assert_eq!(ranks.iter().sum::<usize>(), 7 * 2, "{ranks:?}");
        assert!(ranks.iter().any(|&rank| rank != 2), "{ranks:?}");
    }

    fn kept(adapter: &AdaLora) -> usize {
        floats(adapter.e.val())
            .iter()
            .filter(|&&e| e != 0.0)
            .count()
    }
}
