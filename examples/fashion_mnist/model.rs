//! A stock Burn model, without any code for quantization.

use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig, PaddingConfig2d, Relu,
        conv::{Conv2d, Conv2dConfig},
        loss::CrossEntropyLossConfig,
    },
    tensor::{Device, Tensor},
    train::{ClassificationOutput, InferenceStep, TrainOutput, TrainStep},
};

use crate::data::{CLASSES, ImageBatch, SIDE};

/// Convolutional network of two strided convolutions and two linear layers.
#[derive(Module, Debug)]
pub struct Cnn {
    conv1: Conv2d,
    conv2: Conv2d,
    linear1: Linear,
    linear2: Linear,
    relu: Relu,
}

impl Cnn {
    pub fn new(device: &Device) -> Self {
        let conv = |channels| {
            Conv2dConfig::new(channels, [3, 3])
                .with_stride([2, 2])
                .with_padding(PaddingConfig2d::Explicit(1, 1, 1, 1))
                .init(device)
        };
        // Each convolution halves both sides of the image.
        let features = 32 * (SIDE / 4) * (SIDE / 4);
        Self {
            conv1: conv([1, 16]),
            conv2: conv([16, 32]),
            linear1: LinearConfig::new(features, 128).init(device),
            linear2: LinearConfig::new(128, CLASSES).init(device),
            relu: Relu::new(),
        }
    }

    /// Computes the logits of the classes.
    ///
    /// # Shapes
    ///
    /// - images: `[batch, 1, 28, 28]`
    /// - output: `[batch, 10]`
    pub fn forward(&self, images: Tensor<4>) -> Tensor<2> {
        let x = self.relu.forward(self.conv1.forward(images));
        let x = self.relu.forward(self.conv2.forward(x));
        let x = self.relu.forward(self.linear1.forward(x.flatten(1, 3)));
        self.linear2.forward(x)
    }
}

impl InferenceStep for Cnn {
    type Input = ImageBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: ImageBatch) -> ClassificationOutput {
        let scores = self.forward(batch.images);
        let loss = CrossEntropyLossConfig::new().init(&scores.device());
        let loss = loss.forward(scores.clone(), batch.labels.clone());
        ClassificationOutput::new(loss, scores, batch.labels)
    }
}

impl TrainStep for Cnn {
    type Input = ImageBatch;
    type Output = ClassificationOutput;

    fn step(&self, batch: ImageBatch) -> TrainOutput<ClassificationOutput> {
        let output = InferenceStep::step(self, batch);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}
