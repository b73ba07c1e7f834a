//! A convolutional network: `cnn train FOLDER` trains it, resumes after a kill, and packs it;
//! `cnn use FOLDER` runs it.
use std::{error::Error, path::Path};

use bitnet_burn::train::{CallbackStrategy, SilentRenderer, callback::ProgressiveQuantization, checkpoint::*};
use bitnet_burn::{prelude::*, quant::schedule::*};
use burn::data::{dataloader::DataLoaderBuilder, dataloader::batcher::Batcher, dataset::InMemDataset};
use burn::nn::{Linear, LinearConfig, Relu, conv::Conv2d, conv::Conv2dConfig, loss::CrossEntropyLossConfig};
use burn::train::{ClassificationOutput, InferenceStep, Learner, SupervisedTraining, TrainOutput, TrainStep};
use burn::{lr_scheduler::constant::ConstantLr, module::Module, optim::AdamWConfig, tensor::*};

#[derive(Module, Debug)]
struct Cnn {
    conv: Conv2d,
    hidden: Linear,
    head: Linear,
}

impl Cnn {
    fn new(device: &Device) -> Self {
        device.seed(0);
        let linear = |d_input, d_output| LinearConfig::new(d_input, d_output).init(device);
        Self { conv: Conv2dConfig::new([1, 8], [3, 3]).init(device), hidden: linear(8 * 36, 32), head: linear(32, 2) }
    }
    fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = Relu::new().forward(self.conv.forward(images)).flatten(1, 3);
        self.head.forward(Relu::new().forward(self.hidden.forward(x)))
    }
}

type Batch = (Tensor<4>, Tensor<1, Int>);

impl InferenceStep for Cnn {
    type Input = Batch;
    type Output = ClassificationOutput;
    fn step(&self, (images, classes): Batch) -> ClassificationOutput {
        let logits = self.forward(images);
        let loss = CrossEntropyLossConfig::new().init(&logits.device()).forward(logits.clone(), classes.clone());
        ClassificationOutput::new(loss, logits, classes)
    }
}

impl TrainStep for Cnn {
    type Input = Batch;
    type Output = ClassificationOutput;
    fn step(&self, batch: Batch) -> TrainOutput<ClassificationOutput> {
        let output = InferenceStep::step(self, batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

/// Images with a bright upper or lower half.
#[derive(Clone)]
struct Images;

impl Batcher<usize, Batch> for Images {
    fn batch(&self, items: Vec<usize>, device: &Device) -> Batch {
        let pixel = |n: usize, i: usize| ((i < 32) == (n % 2 == 0)) as u8 as f32 + (n * i % 7) as f32 / 10.0;
        let pixels: Vec<f32> = items.iter().flat_map(|&n| (0..64).map(move |i| pixel(n, i))).collect();
        let classes: Vec<i32> = items.iter().map(|n| (n % 2) as i32).collect();
        let images = TensorData::new(pixels, [items.len(), 1, 8, 8]);
        (Tensor::from_data(images, device), Tensor::from_data(&classes[..], device))
    }
}

fn train(folder: &Path, file: &Path) -> Result<Cnn, Box<dyn Error>> {
    let model = Prepare::new(QatScheme::weight_only()).apply(Cnn::new(&Device::default().autodiff()))?.model;
    let schedule = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, 100)?;
    let policy = CheckpointPolicy::new(folder.join("checkpoints")).every_steps(20).resume(Resume::Latest);
    let strategy = CallbackStrategy::default()
        .with_callback(ProgressiveQuantization::new(QuantControls::of(&model), schedule))
        .with_checkpoints(policy);
    let loader = || DataLoaderBuilder::new(Images).batch_size(8).build(InMemDataset::new((0..160).collect()));
    let training =
        SupervisedTraining::new(folder, loader(), loader()).num_epochs(10).renderer(Box::new(SilentRenderer));
    let learner = Learner::new(model, AdamWConfig::new().init(), ConstantLr::new(1e-3));
    let result = training.with_training_strategy(strategy.into()).launch(learner);
    convert(&result.model)?.save(file)?;
    result.error.map_or(Ok(result.model), |error| Err(error.into()))
}

fn main() -> Result<(), Box<dyn Error>> {
    let [command, folder] =
        std::env::args().skip(1).collect::<Vec<_>>().try_into().expect("train or use, and a folder");
    let (device, file) = (Device::default(), Path::new(&folder).join("cnn.bpk"));
    let model = match command.as_str() {
        "train" => train(Path::new(&folder), &file)?,
        _ => PackedModel::load(&file, &device)?.load_into(Cnn::new(&device))?,
    };
    let (images, _) = Images.batch((100..104).collect(), &device);
    println!("{:?}", model.forward(images).into_data().try_to_vec::<f32>()?);
    Ok(())
}
