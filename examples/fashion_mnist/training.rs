//! Training of both models: a prepared model trains like any other.

use std::{sync::Arc, time::Instant};

use bitnet_burn::train::{
    Trainer,
    callback::{Callback, CallbackResult, TrainingRun},
    config::{LearningRateConfig, OptimizerConfig, RunConfig, TrainingConfig},
};
use bitnet_burn_examples::Error;
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder},
        dataset::Dataset,
    },
    module::Module,
    tensor::Device,
    train::{
        LearnerModel,
        metric::{AccuracyMetric, store::Split},
    },
};

use crate::{
    data::{FashionMnist, ImageBatch, ImageBatcher, Images},
    model::Cnn,
    options::Options,
};

const BATCH: usize = 64;

/// Batch size of inference.
const PREDICTION_BATCH: usize = 500;

/// Trains with AdamW and a cosine from the peak learning rate to zero; prints a line per epoch. Returns
/// the model for inference.
pub fn train(model: Cnn, data: &FashionMnist, options: &Options) -> Result<Cnn, Error> {
    // Both runs get the same batches from the same seed.
    let train = DataLoaderBuilder::new(ImageBatcher)
        .batch_size(BATCH)
        .shuffle(options.seed)
        .build(data.train.clone());
    let trainer = Trainer::new(model, config(data.train.len(), options))?
        .with_callback(EpochLine(Instant::now()))
        .with_training(|training| training.metric_valid_numeric(AccuracyMetric::new()));
    Ok(trainer.train(train, test_batches(&data.test))?.model)
}

fn config(images: usize, options: &Options) -> TrainingConfig {
    let mut config = TrainingConfig {
        training: RunConfig {
            steps: options.epochs * images.div_ceil(BATCH),
            epochs: options.epochs,
            seed: options.seed,
            ..RunConfig::default()
        },
        // Burn's defaults.
        optimizer: OptimizerConfig {
            beta_2: 0.999,
            epsilon: 1e-5,
            weight_decay: 1e-4,
            max_grad_norm: None,
            ..OptimizerConfig::default()
        },
        learning_rate: LearningRateConfig::Cosine {
            peak: options.learning_rate,
            warm_up_steps: 0,
            end: 0.0,
        },
        ..TrainingConfig::default()
    };
    config.monitoring.progress_every = None;
    config
}

/// Callback that prints a line per epoch, with the time since its start.
struct EpochLine(Instant);

impl<M: LearnerModel> Callback<M> for EpochLine {
    fn name(&self) -> &str {
        "epoch_line"
    }

    fn on_epoch_start(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        self.0 = Instant::now();
        Ok(())
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let metric = |name, split| run.metric(name, split).ok_or(format!("no metric {name}"));
        println!(
            "  epoch {}/{}: training loss {:.4}, test accuracy {:.2} %, {:.1} s",
            run.position().epoch,
            run.num_epochs(),
            metric("Loss", Split::Train)?,
            metric("Accuracy", Split::Valid)?,
            self.0.elapsed().as_secs_f64()
        );
        Ok(())
    }
}

/// Returns the percentage of images whose class has the highest logit.
pub fn accuracy(model: &Cnn, images: &Images, device: &Device) -> Result<f64, Error> {
    // The fake-quantized weights are the same for all batches: compute them once.
    let model = model.valid().materialize();
    let mut right = 0;
    for batch in test_batches(images).to_device(device).iter() {
        let batch = batch?;
        let classes = model.forward(batch.images).argmax(1).squeeze_dim::<1>(1);
        let equal = classes.equal(batch.labels).int().sum();
        right += equal.try_into_scalar::<i64>()?;
    }
    Ok(100.0 * right as f64 / images.len() as f64)
}

/// Returns the images in their order.
fn test_batches(images: &Images) -> Arc<dyn DataLoader<ImageBatch>> {
    DataLoaderBuilder::new(ImageBatcher)
        .batch_size(PREDICTION_BATCH)
        .build(images.clone())
}
