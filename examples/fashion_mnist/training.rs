//! A plain training loop. It serves both runs: a prepared model trains like any other.

use std::time::Instant;

use burn::{
    lr_scheduler::{
        cosine::CosineAnnealingLrSchedulerConfig, module_lr_scheduler::ModuleLrScheduler,
    },
    module::Module,
    nn::loss::CrossEntropyLossConfig,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};
use rand::{SeedableRng, rngs::StdRng, seq::SliceRandom};

use crate::{
    data::{FashionMnist, Split},
    model::Cnn,
    options::Options,
};

const BATCH: usize = 64;

/// Images predicted at a time.
const PREDICTION_BATCH: usize = 500;

/// Trains with AdamW and a cosine from the peak learning rate to zero; prints a line per epoch.
pub fn train(mut model: Cnn, data: &FashionMnist, options: &Options) -> Result<Cnn, String> {
    let device = options.device.clone().autodiff();
    let steps = options.epochs * data.train.len().div_ceil(BATCH);
    let mut optimizer = AdamWConfig::new().init();
    let mut scheduler =
        CosineAnnealingLrSchedulerConfig::new(options.learning_rate, steps).init()?;
    // The same seed gives both runs the same batches.
    let mut rng = StdRng::seed_from_u64(options.seed);
    let mut order: Vec<usize> = (0..data.train.len()).collect();
    for epoch in 1..=options.epochs {
        let start = Instant::now();
        order.shuffle(&mut rng);
        let (trained, loss) = train_epoch(
            model,
            &data.train,
            &order,
            &mut optimizer,
            &mut scheduler,
            &device,
        );
        model = trained;
        println!(
            "  epoch {epoch}/{}: training loss {loss:.4}, test accuracy {:.2} %, {:.1} s",
            options.epochs,
            data.test.accuracy(&predict(&model, &data.test, options)),
            start.elapsed().as_secs_f64()
        );
    }
    Ok(model)
}

/// The model after a pass over the images in the given order, and their mean loss.
fn train_epoch(
    mut model: Cnn,
    images: &Split,
    order: &[usize],
    optimizer: &mut ModuleOptimizer,
    scheduler: &mut ModuleLrScheduler,
    device: &Device,
) -> (Cnn, f32) {
    let cross_entropy = CrossEntropyLossConfig::new().init(device);
    // Summed on the device: reading every loss would make each step wait for it.
    let mut loss_sum = Tensor::<1>::zeros([1], &device.clone().without_autodiff());
    for indices in order.chunks(BATCH) {
        let (inputs, labels) = images.batch(indices, device);
        let loss = cross_entropy.forward(model.forward(inputs), labels);
        loss_sum = loss_sum + loss.clone().without_autodiff() * indices.len() as f32;
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(scheduler.step(), model, grads);
    }
    (model, loss_sum.into_scalar::<f32>() / order.len() as f32)
}

/// The class of the highest score for each image.
pub fn predict(model: &Cnn, images: &Split, options: &Options) -> Vec<u8> {
    // The fake-quantised weights stay the same for all batches: compute them once.
    let model = model.valid().materialize();
    let order: Vec<usize> = (0..images.len()).collect();
    order
        .chunks(PREDICTION_BATCH)
        .flat_map(|indices| {
            let (inputs, _) = images.batch(indices, &options.device);
            let classes = model.forward(inputs).argmax(1).into_data();
            classes.iter::<u8>().collect::<Vec<_>>()
        })
        .collect()
}
