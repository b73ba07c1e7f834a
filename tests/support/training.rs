//! A small training for the tests of the loop: two quantized layers with dropout between them, and
//! shuffled data.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    quant::QatScheme,
    train::{CallbackStrategy, SilentRenderer},
};
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::InMemDataset,
    },
    lr_scheduler::cosine::CosineAnnealingLrSchedulerConfig,
    module::{Module, Param},
    nn::{Dropout, DropoutConfig, loss::CrossEntropyLossConfig},
    optim::AdamWConfig,
    tensor::{DType, Device, Int, Tensor, activation::relu},
    train::{
        ClassificationOutput, InferenceStep, Interrupter, Learner, LearningResult,
        MetricEarlyStoppingStrategy, SupervisedTraining, TrainOutput, TrainStep, TrainingStrategy,
        metric::LossMetric,
    },
};

use super::values::*;

pub const INPUTS: usize = 8;
pub const HIDDEN: usize = 16;
pub const CLASSES: usize = 3;
pub const BATCH: usize = 6;
/// Number of batches in an epoch; the last one is not full.
pub const BATCHES: usize = 7;
const ITEMS: usize = BATCH * BATCHES - 2;

#[derive(Module, Debug)]
pub struct Net {
    pub first: BitLinear,
    pub dropout: Dropout,
    pub second: BitLinear,
    #[module(skip)]
    losses: Option<Losses>,
}

/// Validation losses of the epochs, which replace those of the model.
#[derive(Debug, Clone)]
struct Losses {
    values: Vec<f32>,
    batches: Arc<AtomicUsize>,
}

impl Losses {
    /// Index of the next batch.
    fn next(&self) -> f32 {
        let epoch = self.batches.fetch_add(1, Ordering::SeqCst) / BATCHES;
        self.values[epoch.min(self.values.len() - 1)]
    }
}

#[derive(Debug, Clone)]
pub struct Item {
    inputs: Vec<f32>,
    class: i32,
}

#[derive(Debug, Clone)]
pub struct Batch {
    pub inputs: Tensor<2>,
    pub targets: Tensor<1, Int>,
}

#[derive(Clone)]
struct Windows;

impl Batcher<Item, Batch> for Windows {
    fn batch(&self, items: Vec<Item>, device: &Device) -> Batch {
        let inputs: Vec<f32> = items.iter().flat_map(|item| item.inputs.clone()).collect();
        let classes: Vec<i32> = items.iter().map(|item| item.class).collect();
        Batch {
            inputs: tensor(&inputs, [items.len(), INPUTS], DType::F32, device),
            targets: Tensor::from_ints(&classes[..], device),
        }
    }
}

impl Net {
    /// The same weights each time, independent of other tests that use the device.
    pub fn init(dropout: f64, scheme: &QatScheme, device: &Device) -> Self {
        let layer = |d_input: usize, d_output: usize| {
            let values: Vec<f32> = normal(d_input * d_output, d_input as u64);
            let weight = tensor(&values, [d_input, d_output], DType::F32, device);
            let config = BitLinearConfig::new(d_input, d_output).with_scheme(scheme.clone());
            let mut layer = config.init(device);
            layer.weight = Param::from_tensor(weight.mul_scalar(3.0));
            layer
        };
        Self {
            first: layer(INPUTS, HIDDEN),
            dropout: DropoutConfig::new(dropout).init(),
            second: layer(HIDDEN, CLASSES),
            losses: None,
        }
    }

    /// Returns both weights.
    pub fn weights(&self) -> Vec<f32> {
        let weight = |layer: &BitLinear| floats(layer.weight.base().without_autodiff());
        [weight(&self.first), weight(&self.second)].concat()
    }
}

impl InferenceStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        let hidden = self.dropout.forward(relu(self.first.forward(batch.inputs)));
        let logits = self.second.forward(hidden);
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = loss.forward(logits.clone(), batch.targets.clone());
        let loss = match &self.losses {
            Some(losses) if !logits.device().is_autodiff() => loss.full_like(losses.next()),
            _ => loss,
        };
        ClassificationOutput::new(loss, logits, batch.targets)
    }
}

impl TrainStep for Net {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = InferenceStep::step(self, batch);
        let grads = output.loss.backward();
        TrainOutput::new(self, grads, output)
    }
}

/// Returns a loader with another order in each epoch, the same in each run.
pub fn loader(seed: u64, shuffles: bool) -> Arc<dyn DataLoader<Batch>> {
    scaled_loader(seed, shuffles, 1.0)
}

/// Returns the loader with its inputs times a factor.
pub fn scaled_loader(seed: u64, shuffles: bool, factor: f32) -> Arc<dyn DataLoader<Batch>> {
    let inputs = normal(ITEMS * INPUTS, seed);
    let items = inputs.chunks(INPUTS).map(|inputs| Item {
        inputs: inputs.iter().map(|x| 10.0 * factor * x).collect(),
        class: i32::from(inputs[0] > 0.0) + i32::from(inputs[1] > 0.05),
    });
    let builder = DataLoaderBuilder::new(Windows).batch_size(BATCH);
    let builder = match shuffles {
        true => builder.shuffle(seed),
        false => builder,
    };
    builder.build(InMemDataset::new(items.collect()))
}

/// A folder that is removed at the end.
pub struct Folder(pub PathBuf);

impl Folder {
    pub fn new(name: &str) -> Self {
        static FOLDERS: AtomicUsize = AtomicUsize::new(0);
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{name}-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        std::fs::create_dir_all(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Settings of a training that is the same in each run.
pub struct Run<'a> {
    pub folder: &'a Path,
    pub epochs: usize,
    pub grad_accumulation: Option<usize>,
    /// Dropout draws random numbers that all tests of a process share: 0 unless a test runs alone.
    pub dropout: f64,
    pub scheme: QatScheme,
    /// Interrupter; `None` for a new one for each training.
    pub interrupter: Option<Interrupter>,
    pub valid: Arc<dyn DataLoader<Batch>>,
    /// Validation losses of its epochs, which replace those of the model.
    pub losses: Vec<f32>,
    pub early_stopping: Option<MetricEarlyStoppingStrategy>,
    /// Burn's own checkpoints, and the epoch to resume from.
    pub burn_checkpoint: Option<Option<usize>>,
}

impl<'a> Run<'a> {
    /// Returns the settings of three epochs.
    pub fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            epochs: 3,
            grad_accumulation: None,
            dropout: 0.0,
            scheme: QatScheme::b1_58(),
            interrupter: None,
            valid: loader(2, false),
            losses: Vec::new(),
            early_stopping: None,
            burn_checkpoint: None,
        }
    }

    pub fn learner(&self) -> Learner<Net> {
        let steps = self.epochs * BATCHES;
        let scheduler = CosineAnnealingLrSchedulerConfig::new(0.02, steps).init();
        let optimizer = AdamWConfig::new().with_weight_decay(0.01).init();
        let mut model = Net::init(self.dropout, &self.scheme, &Device::default().autodiff());
        model.losses = (!self.losses.is_empty()).then(|| Losses {
            values: self.losses.clone(),
            batches: Arc::default(),
        });
        Learner::new(model, optimizer, scheduler.unwrap())
    }

    pub fn launch(&self, strategy: impl Into<TrainingStrategy<Net>>) -> LearningResult<Net> {
        self.launch_learner(self.learner(), strategy)
    }

    pub fn launch_learner(
        &self,
        learner: Learner<Net>,
        strategy: impl Into<TrainingStrategy<Net>>,
    ) -> LearningResult<Net> {
        let mut training =
            SupervisedTraining::new(self.folder, loader(1, true), self.valid.clone())
                .metric_train_numeric(LossMetric::new())
                .metric_valid_numeric(LossMetric::new())
                .with_training_strategy(strategy.into())
                .with_interrupter(self.interrupter.clone().unwrap_or_default())
                .with_application_logger(None)
                .renderer(Box::new(SilentRenderer))
                .num_epochs(self.epochs);
        if let Some(early_stopping) = self.early_stopping.clone() {
            training = training.early_stopping(early_stopping);
        }
        if let Some(epoch) = self.burn_checkpoint {
            training = training.with_default_checkpointers();
            if let Some(epoch) = epoch {
                training = training.checkpoint(epoch);
            }
        }
        if let Some(accumulation) = self.grad_accumulation {
            training = training.grads_accumulation(accumulation);
        }
        training.launch(learner)
    }
}

/// Returns a strategy on the device of the tests.
pub fn strategy() -> CallbackStrategy<Net> {
    CallbackStrategy::new(Device::default())
}
