//! Language models for the tests of adapters.

use bitnet_burn::{
    nn::{
        BitLinear, BitNetLm, BitNetLmConfig, Linear4bit, PackedBitLinear, Projection,
        ProjectionBias, TrainableProjection,
    },
    peft::AdapterBase,
    quant::FourBitConfig,
};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId},
    nn::Linear,
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

pub fn device() -> Device {
    Device::default().autodiff()
}

fn trainable<P: TrainableProjection>(config: BitNetLmConfig, seed: u64) -> BitNetLm<P> {
    config.init(&device()).map(&mut Drawn::new(seed, 0.15))
}

/// Returns a model of two layers without biases.
pub fn lm<P: TrainableProjection>() -> BitNetLm<P> {
    let config = BitNetLmConfig::new(64, 32, 2, 4, 48).with_tied_embeddings(false);
    trainable(config, 800)
}

/// Returns a model with its projections in 4 bits.
pub fn in_four_bit(lm: BitNetLm<Linear>) -> BitNetLm<Linear4bit> {
    let config = FourBitConfig::default();
    lm.map_projections(|_, linear| Linear4bit::from_linear(&linear, &config))
}

/// A base of adapters, in a model of one layer whose queries, keys and values have biases.
pub trait Base: AdapterBase {
    /// Whether outputs are steps of the input.
    const QUANTIZES_INPUT: bool;

    fn lm(seed: u64) -> BitNetLm<Self>;
}

fn of_one_layer<P: TrainableProjection>(seed: u64) -> BitNetLm<P> {
    let config = BitNetLmConfig::new(64, 32, 1, 4, 48).with_tied_embeddings(false);
    trainable(config.with_bias(ProjectionBias::QKV), seed)
}

impl Base for Linear {
    const QUANTIZES_INPUT: bool = false;

    fn lm(seed: u64) -> BitNetLm<Self> {
        of_one_layer(seed)
    }
}

impl Base for Linear4bit {
    const QUANTIZES_INPUT: bool = false;

    fn lm(seed: u64) -> BitNetLm<Self> {
        in_four_bit(of_one_layer(seed))
    }
}

impl Base for BitLinear {
    const QUANTIZES_INPUT: bool = true;

    fn lm(seed: u64) -> BitNetLm<Self> {
        of_one_layer(seed)
    }
}

impl Base for PackedBitLinear {
    const QUANTIZES_INPUT: bool = true;

    fn lm(seed: u64) -> BitNetLm<Self> {
        of_one_layer::<BitLinear>(seed).pack().train()
    }
}

pub fn logits<P: Projection>(lm: &BitNetLm<P>) -> Vec<f32> {
    floats(lm.forward(tokens()))
}

pub fn tokens() -> Tensor<2, Int> {
    Tensor::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], &device())
}

/// Returns a module as if it was trained. Parameters that train get normally distributed values in place of those of
/// Burn's random numbers; factors and norms, which have a mean, change by them.
pub fn perturbed<M: Module>(module: M, seed: u64) -> M {
    let name = String::new();
    module.map(&mut Perturbed { seed, name })
}

struct Perturbed {
    seed: u64,
    /// Name of the parameter.
    name: String,
}

impl ModuleMapper for Perturbed {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.name = name.to_string();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if !param.is_require_grad() {
            return param;
        }
        self.seed += 1;
        let noise = normal(param.shape().num_elements(), self.seed);
        let has_mean = ["l", "magnitude"].contains(&self.name.as_str());
        param.map(|value| {
            let noise = tensor(&noise, value.dims(), value.dtype(), &value.device());
            match has_mean {
                true => (value.set_require_grad(false) + noise).require_grad(),
                false => noise.require_grad(),
            }
        })
    }
}

/// A parameter of a module.
pub struct Value {
    pub path: String,
    pub id: ParamId,
    pub trains: bool,
    pub values: Vec<f64>,
}

/// Returns the parameters of a module, with packed weights.
pub fn values<M: Module>(module: &M) -> Vec<Value> {
    let mut found = Values::default();
    module.visit(&mut found);
    found.values
}

/// Returns the paths of the parameters that train.
pub fn trained<M: Module>(module: &M) -> Vec<String> {
    let values = values(module).into_iter();
    values.filter(|v| v.trains).map(|v| v.path).collect()
}

#[derive(Default)]
struct Values {
    path: Vec<String>,
    values: Vec<Value>,
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.values.push(Value {
            path: self.path.join("."),
            id: param.id,
            trains: param.is_require_grad(),
            values: param.val().into_data().iter::<f64>().collect(),
        });
    }

    fn visit_int<const D: usize>(&mut self, param: &Param<Tensor<D, Int>>) {
        self.values.push(Value {
            path: self.path.join("."),
            id: param.id,
            trains: false,
            values: param.val().into_data().iter::<f64>().collect(),
        });
    }
}
