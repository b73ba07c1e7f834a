//! Averages over tokens: of a validation, of accumulated batches, and of the reported loss of a step.

use std::sync::{Arc, Mutex};

use bitnet_burn::{
    loss::CausalLmLoss,
    text::dataset::{Sequence, SequenceBatcher, TokenBatch},
    train::{
        CallbackStrategy, SilentRenderer, TokenLoss, TokenLossMetric,
        callback::{Callback, CallbackResult, GradientClipping, TrainingRun},
    },
};
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder},
        dataset::InMemDataset,
    },
    module::{Module, Param},
    nn::{Embedding, EmbeddingConfig, Linear, LinearConfig},
    optim::{AdamWConfig, ModuleOptimizer, SgdConfig},
    tensor::{DType, Device},
    train::{
        InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep,
        metric::{LossMetric, store::Split},
    },
};

use crate::support::{training::Folder, values::*};

const VOCAB: usize = 11;
const WIDTH: usize = 8;
const RATE: f64 = 0.01;

/// Predicts the next token from the last one.
#[derive(Module, Debug)]
struct Bigrams {
    embedding: Embedding,
    head: Linear,
}

impl Bigrams {
    fn init(device: &Device) -> Self {
        let mut embedding = EmbeddingConfig::new(VOCAB, WIDTH).init(device);
        let mut head = LinearConfig::new(WIDTH, VOCAB)
            .with_bias(false)
            .init(device);
        let values = |seed| normal(VOCAB * WIDTH, seed).into_iter().map(|x| 10.0 * x);
        let weight = |seed, shape| {
            let values: Vec<f32> = values(seed).collect();
            Param::from_tensor(tensor(&values, shape, DType::F32, device))
        };
        embedding.weight = weight(1, [VOCAB, WIDTH]);
        head.weight = weight(2, [WIDTH, VOCAB]);
        Self { embedding, head }
    }

    fn loss(&self, batch: TokenBatch) -> TokenLoss {
        let logits = self.head.forward(self.embedding.forward(batch.inputs));
        let loss = CausalLmLoss::new();
        TokenLoss::new(loss.forward(logits, batch.targets), batch.tokens)
    }

    fn weights(&self) -> Vec<f32> {
        let embedding = floats(self.embedding.weight.val().without_autodiff());
        let head = floats(self.head.weight.val().without_autodiff());
        [embedding, head].concat()
    }
}

impl TrainStep for Bigrams {
    type Input = TokenBatch;
    type Output = TokenLoss;

    fn step(&self, batch: TokenBatch) -> TrainOutput<TokenLoss> {
        let loss = self.loss(batch);
        let grads = loss.mean.backward();
        TrainOutput::new(self, grads, loss)
    }
}

impl InferenceStep for Bigrams {
    type Input = TokenBatch;
    type Output = TokenLoss;

    fn step(&self, batch: TokenBatch) -> TokenLoss {
        self.loss(batch)
    }
}

/// Returns sequences of 7 tokens, `counted` of which count.
fn sequences(counted: &[usize]) -> Vec<Sequence> {
    let sequence = |(i, &counted): (usize, &usize)| {
        let tokens = (0..7).map(|j| ((3 * i + j * j) % VOCAB) as u32).collect();
        let mask = (0..7).map(|j| j > 0 && j <= counted).collect();
        Sequence::new(tokens, mask)
    };
    counted.iter().enumerate().map(sequence).collect()
}

fn loader(counted: &[usize], batch_size: usize) -> Arc<dyn DataLoader<TokenBatch>> {
    DataLoaderBuilder::new(SequenceBatcher)
        .batch_size(batch_size)
        .build(InMemDataset::new(sequences(counted)))
}

/// Values observed during a training.
#[derive(Clone, Default)]
struct Seen {
    steps: Arc<Mutex<Vec<f64>>>,
    validation: Arc<Mutex<Vec<f64>>>,
}

impl Callback<Bigrams> for Seen {
    fn name(&self) -> &str {
        "seen"
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<Bigrams>) -> CallbackResult {
        self.steps.lock().unwrap().push(run.step_loss()?);
        Ok(())
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<Bigrams>) -> CallbackResult {
        let loss = run.metric("Loss", Split::Valid).unwrap();
        self.validation.lock().unwrap().push(loss);
        Ok(())
    }
}

/// A training of one epoch, and its result.
struct Run {
    train: Arc<dyn DataLoader<TokenBatch>>,
    valid: Arc<dyn DataLoader<TokenBatch>>,
    accumulation: usize,
    epochs: usize,
    rate: f64,
}

impl Run {
    fn new(counted: &[usize], batch_size: usize, accumulation: usize) -> Self {
        Self {
            train: loader(counted, batch_size),
            valid: loader(counted, batch_size),
            accumulation,
            epochs: 1,
            rate: RATE,
        }
    }

    fn launch(
        self,
        optimizer: ModuleOptimizer,
        strategy: CallbackStrategy<Bigrams>,
    ) -> (Vec<f32>, Seen) {
        let (folder, seen) = (Folder::new("token_loss"), Seen::default());
        let model = Bigrams::init(&Device::default().autodiff());
        let strategy = strategy.with_callback(seen.clone());
        let training = SupervisedTraining::new(&folder.0, self.train, self.valid)
            .metric_train_numeric(LossMetric::new())
            .metric_valid_numeric(TokenLossMetric::new())
            .with_training_strategy(strategy.into())
            .with_application_logger(None)
            .renderer(Box::new(SilentRenderer))
            .num_epochs(self.epochs)
            .grads_accumulation(self.accumulation);
        let result = training.launch(Learner::new(model, optimizer, self.rate));
        assert!(result.error.is_none(), "{:?}", result.error);
        (result.model.weights(), seen)
    }
}

fn strategy() -> CallbackStrategy<Bigrams> {
    CallbackStrategy::new(Device::default())
}

fn largest_difference(a: &[f32], b: &[f32]) -> f64 {
    let differences = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, f64::max)
}

/// Masks of any shape; no token counts in a batch of the second step.
const COUNTED: [usize; 4] = [5, 1, 0, 3];

#[test]
fn accumulated_batches_make_the_step_of_one_batch_for_every_optimizer() {
    type Case = (&'static str, fn() -> ModuleOptimizer, Option<f64>);
    let cases: [Case; 4] = [
        ("SGD", || SgdConfig::new().init(), None),
        ("AdamW", || AdamWConfig::new().init(), None),
        ("SGD, clipped", || SgdConfig::new().init(), Some(0.05)),
        ("AdamW, clipped", || AdamWConfig::new().init(), Some(0.05)),
    ];
    for (name, optimizer, max_norm) in cases {
        let strategy = || match max_norm {
            Some(max_norm) => strategy().with_callback(GradientClipping::new(max_norm)),
            None => strategy(),
        };
        let (whole, of_whole) = Run::new(&COUNTED, 2, 1).launch(optimizer(), strategy());
        let by_tokens = strategy().with_token_weights();
        let (parts, of_parts) = Run::new(&COUNTED, 1, 2).launch(optimizer(), by_tokens);
        // Gradients differ by the rounding of their sums; AdamW divides them by their own size, so that
        // entries near 0 differ by a larger part of the learning rate.
        let bound = 1e-3 * RATE;
        let difference = largest_difference(&whole, &parts);
        assert!(difference <= bound, "{name}: {difference}");
        // The loss that the loop reports for a step is also the mean over all of its tokens.
        let losses = [of_whole.steps, of_parts.steps].map(|losses| losses.lock().unwrap().clone());
        assert_eq!(losses[0].len(), 2);
        for (whole, parts) in losses[0].iter().zip(&losses[1]) {
            assert!((whole - parts).abs() <= 1e-5, "{name}: {losses:?}");
        }
        // The masks matter: equally weighted batches make another step.
        let (alike, _) = Run::new(&COUNTED, 1, 2).launch(optimizer(), strategy());
        let difference = largest_difference(&whole, &alike);
        assert!(difference > 10.0 * bound, "{name}: {difference}");
    }
}

#[test]
fn without_a_mask_items_are_the_weights_that_tokens_would_be() {
    // Five sequences in batches of 2: the last one is smaller.
    let counted = [6; 5];
    let adamw = || AdamWConfig::new().init();
    let (items, _) = Run::new(&counted, 2, 3).launch(adamw(), strategy());
    let by_tokens = strategy().with_token_weights();
    let (tokens, _) = Run::new(&counted, 2, 3).launch(adamw(), by_tokens);
    assert_eq!(items, tokens);
    let (whole, _) = Run::new(&counted, 5, 1).launch(adamw(), strategy());
    assert!(largest_difference(&items, &whole) <= 1e-3 * RATE);
}

#[test]
fn a_step_of_which_nothing_counts_is_that_of_one_batch() {
    let adamw = || AdamWConfig::new().init();
    let (whole, _) = Run::new(&[0, 0, 4, 2], 2, 1).launch(adamw(), strategy());
    let by_tokens = strategy().with_token_weights();
    let (parts, seen) = Run::new(&[0, 0, 4, 2], 1, 2).launch(adamw(), by_tokens);
    assert!(largest_difference(&whole, &parts) <= 1e-3 * RATE);
    assert_eq!(seen.steps.lock().unwrap()[0], 0.0);
}

#[test]
fn a_validation_is_the_mean_of_all_tokens_for_every_batch_size() {
    let counted = [6, 1, 0, 2, 5];
    let device = Device::default();
    let model = Bigrams::init(&device);
    let of_one = |sequence| {
        let loss = model.loss(TokenBatch::new(&[sequence], &device));
        f64::from(floats(loss.mean)[0]) * loss.tokens as f64
    };
    let sum: f64 = sequences(&counted).into_iter().map(of_one).sum();
    let expected = sum / 14.0;
    for batch_size in [1, 2, 3, 5] {
        let mut run = Run::new(&[6], 1, 1);
        run.valid = loader(&counted, batch_size);
        // Leaves the model unchanged.
        run.rate = 1e-30;
        let (_, seen) = run.launch(SgdConfig::new().init(), strategy());
        let loss = seen.validation.lock().unwrap()[0];
        // Losses are f32, of about 2.5.
        assert!(
            (loss - expected).abs() < 1e-6,
            "{batch_size}: {loss}, {expected}"
        );
    }
}

#[test]
fn a_training_ends_after_its_steps_whatever_the_loader_gives() {
    for (max_steps, epochs, expected, validations) in [(5, 9, 5, 3), (4, 9, 4, 2), (99, 2, 4, 2)] {
        let mut run = Run::new(&[6, 6, 6, 6], 2, 1);
        run.epochs = epochs;
        let strategy = strategy().with_max_steps(max_steps);
        let (_, seen) = run.launch(SgdConfig::new().init(), strategy);
        assert_eq!(seen.steps.lock().unwrap().len(), expected);
        assert_eq!(seen.validation.lock().unwrap().len(), validations);
    }
}
