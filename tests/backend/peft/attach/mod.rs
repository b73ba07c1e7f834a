//! Adapters attached to the weights of a hand-written Burn model.

mod errors;
mod gradients;
mod merging;
mod oracle;
mod quantized;
mod records;
mod training;

use std::collections::HashMap;

use bitnet_burn::peft::{Attach, Attached, LoraConfig, TargetModules};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    nn::{
        Embedding, EmbeddingConfig, LayerNorm, LayerNormConfig, Linear, LinearConfig, LinearLayout,
        conv::{Conv2d, Conv2dConfig},
    },
    tensor::{Device, Int, Tensor, activation::relu},
};

use crate::support::values::*;

/// A table, a norm, a convolution and linear layers of both layouts.
#[derive(Module, Debug)]
struct Net {
    embed: Embedding,
    norm: LayerNorm,
    conv: Conv2d,
    fc: Vec<Linear>,
    head: Linear,
}

/// Number of weights and biases of the linear layers.
const FC: [usize; 2] = [36 * 12 + 12, 12 * 10 + 10];

impl Net {
    fn new(device: &Device) -> Self {
        Self::drawn(device, 900)
    }

    fn drawn(device: &Device, seed: u64) -> Self {
        Self::initial(device, LinearLayout::Col).map(&mut Drawn::new(seed, 0.3))
    }

    /// Returns a net without values.
    fn initial(device: &Device, layout: LinearLayout) -> Self {
        let second = LinearConfig::new(12, 10).with_layout(layout);
        Self {
            embed: EmbeddingConfig::new(7, 8).init(device),
            norm: LayerNormConfig::new(8).init(device),
            conv: Conv2dConfig::new([1, 2], [3, 3]).init(device),
            fc: vec![LinearConfig::new(36, 12).init(device), second.init(device)],
            head: LinearConfig::new(10, 3).with_bias(false).init(device),
        }
    }

    /// # Shapes
    ///
    /// - tokens: `[batch, 5]`
    /// - output: `[batch, 3]`
    fn forward(&self, tokens: Tensor<2, Int>) -> Tensor<2> {
        let [batch, _] = tokens.dims();
        let x = self.norm.forward(self.embed.forward(tokens));
        let x = self.conv.forward(x.reshape([batch, 1, 5, 8]));
        let x = relu(self.fc[0].forward(x.reshape([batch, 36])));
        self.head.forward(relu(self.fc[1].forward(x)))
    }
}

fn device() -> Device {
    Device::default().autodiff()
}

fn outputs(net: &Net) -> Vec<f32> {
    let tokens = [[0, 1, 2, 3, 4], [6, 5, 4, 3, 2], [1, 1, 0, 6, 3]];
    let device = net.head.weight.device();
    floats(net.forward(Tensor::from_ints(tokens, &device)))
}

/// The two hidden layers.
fn hidden(rank: usize) -> LoraConfig {
    let layers = TargetModules::Pattern(r"fc\.\d+".to_string());
    LoraConfig::new(rank).with_targets(layers)
}

fn attached(net: Net, config: LoraConfig) -> Attached<Net> {
    Attach::new(config).apply(net).unwrap()
}

/// Names and stored values of the float parameters, and those that train.
#[derive(Default)]
struct Values {
    path: Vec<String>,
    values: Vec<(String, Vec<f32>)>,
    trains: Vec<String>,
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if param.is_require_grad() {
            self.trains.push(path.clone());
        }
        self.values.push((path, floats(param.base())));
    }
}

fn values<M: Module>(module: &M) -> Values {
    let mut values = Values::default();
    module.visit(&mut values);
    values
}

/// Sets parameters by their paths.
#[derive(Default)]
struct Set {
    path: Vec<String>,
    values: HashMap<String, Vec<f32>>,
    /// Seed of the values of all factors `B` that have none.
    seed: Option<u64>,
}

impl ModuleMapper for Set {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let path = self.path.join(".");
        let mut values = self.values.remove(&path);
        if let (None, Some(seed), true) = (&values, &mut self.seed, path.contains(".lora.")) {
            *seed += 1;
            // Norms stay positive.
            let mean = if path.ends_with("magnitude") {
                1.0
            } else {
                0.0
            };
            let drawn = normal(param.shape().num_elements(), *seed).into_iter();
            values = Some(drawn.map(|v| 3.0 * v + mean).collect());
        }
        match values {
            None => param,
            Some(values) => param.map(|old| {
                let new = tensor(&values, old.dims(), old.dtype(), &old.device());
                new.set_require_grad(old.is_require_grad())
            }),
        }
    }
}

/// Sets factors and norms of all adapters to values as after a training.
fn drawn<M: Module>(model: M, seed: u64) -> M {
    let mut set = Set {
        seed: Some(seed),
        ..Set::default()
    };
    model.map(&mut set)
}

/// Rounding of sums of 36 products at most through three layers, relative to the largest value.
fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let bound = 128.0 * ROUNDING * f64::from(largest);
    assert_within(actual, expected, |_| bound, what);
}
