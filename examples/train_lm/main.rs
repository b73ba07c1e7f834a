//! Trains a BitNet b1.58 character language model on text, or its full-precision twin:
//! `cargo run --release --example train_lm -- --help`.

mod data;
mod device;
mod distillation;
mod model;
mod options;
mod report;
mod run_folder;
mod sample;
mod validation;

use std::{error::Error, process::ExitCode, time::Instant};

use bitnet_burn::{
    nn::{BitLinear, TrainableProjection},
    optim::{AdamW8bitConfig, QatOptimizerConfig},
    qat::{QuantControls, cast_latent_weights},
    quant::schedule::{ProgressiveSchedule, ProgressiveShape},
    train::{
        CallbackStrategy, MemoryPlanConfig, OptimizerStates, SilentRenderer, TrainingFailure,
        callback::{JsonLogger, NanGuard, PlainProgress, ProgressiveQuantization},
        checkpoint::CheckpointPolicy,
    },
};
use burn::{
    lr_scheduler::{
        LrSchedulerConfig, cosine::CosineAnnealingLrSchedulerConfig,
        linear::LinearLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler,
        sequential::SequentialLrSchedulerConfig,
    },
    module::Module,
    nn::Linear,
    optim::{AdamWConfig, ModuleOptimizer},
    tensor::FloatDType,
    train::{
        InferenceStep, Learner, LearnerModel, SupervisedTraining, TrainStep,
        metric::{
            Adaptor, LearningRateMetric, LossInput, LossMetric, PerplexityInput, PerplexityMetric,
        },
    },
};
use std::sync::Arc;

use data::{Batch, Corpus, STEPS_PER_EPOCH};
use distillation::distiller;
use model::LanguageModel;
use options::{Command, HELP, Memory, Options, Precision};
use report::Report;
use validation::valid_loss;

/// Training on a CPU allocates and frees activations of a megabyte at every operation. The system
/// allocator maps them anew each time, which costs a fifth of the CPU time in page faults.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = options::parse()
        .map_err(Into::into)
        .and_then(|command| match command {
            Command::Help => {
                print!("{HELP}");
                Ok(())
            }
            Command::Train(options) => run_in_pool(&options),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("train_lm: {error}");
            ExitCode::from(2)
        }
    }
}

/// Loops of Flex start sooner from within the pool of threads that runs them. A pool of one thread has
/// none to spare for metrics, which other threads compute.
fn run_in_pool(options: &Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    match rayon::current_num_threads() {
        1 => run(options),
        _ => rayon::scope(|_| run(options)),
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error + Send + Sync>> {
    let corpus = Corpus::load(options.text.as_deref())?;
    let (checkpoints, done) = run_folder::open(options, corpus.train_len())?;
    println!(
        "{} characters to train on, {} to validate, {} different ones",
        corpus.train_len(),
        corpus.valid_len(),
        corpus.vocabulary.len()
    );
    options.device.seed(options.seed);
    match options.precision {
        Precision::Qat => {
            let student = init::<BitLinear>(options, &corpus);
            let (model, seconds) = match &options.teacher {
                Some(teacher) => {
                    let device = options.device.clone().autodiff();
                    let distiller = distiller(student, teacher, &corpus, &device)?;
                    let (distiller, seconds) = train(distiller, options, &corpus, checkpoints)?;
                    (distiller.student, seconds)
                }
                None => train(student, options, &corpus, checkpoints)?,
            };
            let report = Report::new(options, &corpus, options.steps - done, seconds, &model);
            // What is shipped: 2 bits per weight, and the outputs of training.
            let packed = LanguageModel {
                lm: model.lm.pack(),
            };
            println!(
                "packed to 2 bits per projection weight: validation loss {:.6}, trained {:.6}",
                valid_loss(&packed, &corpus, &options.device),
                report.valid_loss
            );
            sample::print(&packed.lm, &corpus, options);
            report.print();
        }
        Precision::Full => {
            let model = init::<Linear>(options, &corpus);
            let (model, seconds) = train(model, options, &corpus, checkpoints)?;
            let report = Report::new(options, &corpus, options.steps - done, seconds, &model);
            sample::print(&model.lm, &corpus, options);
            report.print();
        }
    }
    Ok(())
}

/// A model to train.
fn init<P: TrainableProjection>(options: &Options, corpus: &Corpus) -> LanguageModel<P> {
    let config = model::config(corpus.vocabulary.len());
    let lm = config.init::<P>(&options.device.clone().autodiff());
    let lm = match options.memory {
        Memory::Full => lm,
        Memory::Small => cast_latent_weights(lm, FloatDType::BF16),
    };
    let model = LanguageModel { lm };
    println!("{} parameters", model.num_params());
    println!("{}", memory_plan(options).plan(&model.lm));
    model
}

fn memory_plan(options: &Options) -> MemoryPlanConfig {
    MemoryPlanConfig::new(data::BATCH, data::CONTEXT).with_optimizer(match options.memory {
        Memory::Full => OptimizerStates::AdamW,
        Memory::Small => OptimizerStates::AdamW8bit,
    })
}

/// Trains with burn-train's `Learner`; returns the model for inference, and the seconds.
fn train<M>(
    model: M,
    options: &Options,
    corpus: &Corpus,
    checkpoints: CheckpointPolicy,
) -> Result<(M, f64), Box<dyn Error + Send + Sync>>
where
    M: LearnerModel + TrainStep<Input = Batch> + InferenceStep<Input = Batch>,
    <M as TrainStep>::Output: Adaptor<LossInput>,
    <M as InferenceStep>::Output: Adaptor<LossInput> + Adaptor<PerplexityInput>,
{
    let mut strategy = CallbackStrategy::new(options.device.clone()).with_seed(options.seed);
    let controls = QuantControls::of(&model);
    if !controls.is_empty() {
        let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, options.progressive)?;
        strategy = strategy.with_callback(ProgressiveQuantization::new(controls, lambda));
    }
    let strategy = strategy
        .with_callback(NanGuard::stop())
        .with_callback(PlainProgress::new().with_total_steps(options.steps))
        .with_callback(JsonLogger::new(run_folder::log_file(options)))
        .with_checkpoints(checkpoints);

    let learner = Learner::new(model, optimizer(options), lr_scheduler(options)?);
    let train = corpus.train_loader(options.seed, options.steps);
    let valid = corpus.valid_loader(&options.device);
    let training = SupervisedTraining::new(&options.out, Arc::new(train), Arc::new(valid))
        .metric_train_numeric(LossMetric::new())
        .metric_train_numeric(LearningRateMetric::new())
        .metric_valid_numeric(LossMetric::new())
        .metric_valid_numeric(PerplexityMetric::new())
        .with_training_strategy(strategy.into())
        .renderer(Box::new(SilentRenderer))
        .num_epochs(options.steps.div_ceil(STEPS_PER_EPOCH));

    let start = Instant::now();
    let result = training.launch(learner);
    match result.error {
        Some(error) => Err(error.reason().into()),
        None => Ok((result.model, start.elapsed().as_secs_f64())),
    }
}

fn optimizer(options: &Options) -> ModuleOptimizer {
    match options.memory {
        Memory::Full => AdamWConfig::new()
            .with_beta_1(0.9)
            .with_beta_2(0.95)
            .with_epsilon(1e-8)
            .with_weight_decay(0.01)
            .init(),
        Memory::Small => {
            let moments_of_8_bits = AdamW8bitConfig::new()
                .with_beta_1(0.9)
                .with_beta_2(0.95)
                .with_epsilon(1e-8)
                .with_weight_decay(0.01);
            QatOptimizerConfig::new()
                .with_stochastic_rounding(Some(options.seed))
                .build(moments_of_8_bits.build())
                .into()
        }
    }
}

/// Linear warm-up over 100 steps, then a cosine to a tenth of the peak, which the last step has.
fn lr_scheduler(options: &Options) -> Result<ModuleLrScheduler, String> {
    let (peak, steps) = (options.learning_rate, options.steps);
    let warm_up = 100.min(steps.div_ceil(2));
    let first = peak / warm_up as f64;
    let ramp = LinearLrSchedulerConfig::new(first, peak, (warm_up - 1).max(1));
    let decay = steps.saturating_sub(warm_up + 1).max(1);
    let cosine = CosineAnnealingLrSchedulerConfig::new(peak, decay).with_min_lr(0.1 * peak);
    SequentialLrSchedulerConfig::new(
        vec![
            LrSchedulerConfig::Linear(ramp),
            LrSchedulerConfig::Cosine(cosine),
        ],
        vec![warm_up],
    )
    .init()
}
