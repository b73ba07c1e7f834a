//! The model of peft's AdaLoRA training: three adapted layers with tanh between them.

use bitnet_burn::{
    nn::Projection,
    peft::{AdaLora, AdaLoraConfig, AdaptedLinear, Adapter},
};
use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{Device, Tensor},
};

use super::{
    oracle::{Case, Oracle},
    values::*,
};

/// Names of the layers.
pub const LAYERS: [&str; 3] = ["fc1", "fc2", "fc3"];

#[derive(Module, Debug)]
pub struct Toy {
    pub fc1: AdaptedLinear<Linear>,
    pub fc2: AdaptedLinear<Linear>,
    pub fc3: AdaptedLinear<Linear>,
}

impl Toy {
    /// Returns the model before the first step.
    pub fn new(oracle: &Oracle, device: &Device) -> Self {
        let case = oracle.case("init");
        let alpha = config(oracle).alpha;
        let layer = |name: &str| {
            let transposed = |part: &str| transposed(&case, &format!("{name}.{part}"), device);
            let adapter = AdaLora::new(
                transposed("lora_A"),
                case.tensor::<2>(&format!("{name}.lora_E"), device)
                    .squeeze_dim(1),
                transposed("lora_B"),
                alpha,
            );
            AdaptedLinear::new(base(&case, name, device)).with_adapter("default", adapter)
        };
        Self {
            fc1: layer("fc1"),
            fc2: layer("fc2"),
            fc3: layer("fc3"),
        }
    }

    pub fn layers(&self) -> [&AdaptedLinear<Linear>; 3] {
        [&self.fc1, &self.fc2, &self.fc3]
    }

    pub fn adapters(&self) -> [&AdaLora; 3] {
        self.layers().map(|layer| match &layer.adapters[0] {
            Adapter::AdaLora(adapter) => adapter,
            other => panic!("{other}"),
        })
    }

    pub fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let x = self.fc1.forward(x).tanh();
        let x = self.fc2.forward(x).tanh();
        self.fc3.forward(x)
    }

    /// Returns the values of each adapter: `A` and `B` in the layout of PyTorch.
    pub fn factors(&self) -> [[Vec<f32>; 3]; 3] {
        self.adapters().map(|adapter| {
            [
                floats(adapter.a.val().transpose()),
                floats(adapter.e.val()),
                floats(adapter.b.val().transpose()),
            ]
        })
    }
}

/// Returns a matrix of PyTorch in Burn's layout, stored in the order of its values as by a checkpoint: sums over a
/// transposed view round otherwise.
fn transposed(case: &Case<'_>, name: &str, device: &Device) -> Tensor<2> {
    let data = case.tensor::<2>(name, device).transpose().into_data();
    Tensor::from_data(data, device)
}

/// Returns the frozen projection of a layer.
pub fn base(case: &Case<'_>, name: &str, device: &Device) -> Linear {
    let weight = transposed(case, &format!("base.{name}.weight"), device);
    let bias = case.tensor::<1>(&format!("base.{name}.bias"), device);
    let linear = Linear {
        weight: Param::from_tensor(weight),
        bias: Some(Param::from_tensor(bias)),
    };
    linear.freeze()
}

/// Returns the configuration of the training.
pub fn config(oracle: &Oracle) -> AdaLoraConfig {
    serde_json::from_value(oracle.about["config"].clone()).unwrap()
}

/// Returns the directions of the layers that are kept after a step, if there is a pattern.
pub fn pattern(oracle: &Oracle, step: usize) -> Option<Vec<Vec<bool>>> {
    let pattern = oracle.about["steps"][step]["rank_pattern"].as_object()?;
    let kept = |name: &str| {
        let kept = pattern[&format!("{name}.lora_E")].clone();
        serde_json::from_value(kept).unwrap()
    };
    Some(LAYERS.map(kept).to_vec())
}
