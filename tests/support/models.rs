//! Models of Burn layers, and a scheme for their weights.

use bitnet_burn::quant::{QatScheme, WeightGranularity, WeightQuantizer};
use burn::{
    module::Module,
    nn::{
        Linear, LinearConfig,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Tensor, activation::relu},
};

use super::values::Drawn;

/// Two hidden layers and an output head.
#[derive(Module, Debug)]
pub struct Mlp {
    pub fc1: Linear,
    pub fc2: Linear,
    pub head: Linear,
}

impl Mlp {
    pub fn new(device: &Device) -> Self {
        let linear = |d_input, d_output| LinearConfig::new(d_input, d_output).init(device);
        Self {
            fc1: linear(8, 12),
            fc2: linear(12, 12),
            head: linear(12, 3),
        }
        .map(&mut Drawn::new(500, 0.2))
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = relu(self.fc1.forward(x));
        self.head.forward(relu(self.fc2.forward(x)))
    }
}

/// A convolution before the last layer.
#[derive(Module, Debug)]
pub struct Cnn {
    pub conv: Conv2d,
    pub last: Linear,
}

impl Cnn {
    pub fn new(device: &Device) -> Self {
        Self {
            conv: Conv2dConfig::new([2, 4], [3, 3]).init(device),
            last: LinearConfig::new(4 * 2 * 2, 3).init(device),
        }
        .map(&mut Drawn::new(510, 0.2))
    }

    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.last.forward(relu(self.conv.forward(x)).flatten(1, 3))
    }
}

/// Returns a scheme of ternary weights.
pub fn scheme(granularity: WeightGranularity) -> QatScheme {
    QatScheme::weight_only().with_weight(WeightQuantizer::ternary(granularity))
}
