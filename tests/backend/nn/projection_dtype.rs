//! Models whose projections have another float type than their activations.

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig},
    peft::{LoraConfig, TargetModules},
};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param},
    nn::Linear,
    tensor::{DType, Device, FloatDType, Int, Tensor},
};

use crate::support::values::*;

/// Rounds the values of parameters to bf16, and keeps their type.
struct Rounded;

impl ModuleMapper for Rounded {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| {
            let values = rounded(&floats(value.clone()), DType::BF16);
            let rounded = tensor(&values, value.dims(), DType::F32, &value.device());
            rounded.set_require_grad(value.is_require_grad())
        })
    }
}

/// Collects the gradients of what trains, in the order of the parameters.
struct Gradients(burn::tensor::Gradients, Vec<Vec<f32>>);

impl ModuleVisitor for Gradients {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            self.1.push(floats(param.val().grad(&self.0).unwrap()));
        }
    }
}

/// Returns the logits and the gradients of an adapter beside a base.
fn trained(base: BitNetLm<Linear>) -> (Vec<f32>, Vec<Vec<f32>>) {
    let lora = LoraConfig::new(3).with_targets(TargetModules::AllLinear);
    let (mut lm, _) = base.with_adapter("default", lora).unwrap();
    let mut drawn = Drawn::new(40, 0.1);
    lm = lm.map_projections(|_, mut linear| {
        let adapters = linear.adapters.into_iter();
        linear.adapters = adapters.map(|adapter| adapter.map(&mut drawn)).collect();
        linear
    });
    let tokens = Tensor::<2, Int>::from_ints([[3, 0, 15, 8], [1, 1, 9, 4]], &lm.devices()[0]);
    let logits = lm.forward(tokens);
    let values = floats(logits.clone());
    let mut gradients = Gradients(logits.powi_scalar(2).sum().backward(), Vec::new());
    lm.visit(&mut gradients);
    (values, gradients.1)
}

#[test]
fn projections_in_bf16_compute_as_the_same_values_in_f32() {
    let device = Device::default().autodiff();
    if !computes_in(&device, DType::BF16) {
        return;
    }
    let lm: BitNetLm<Linear> = BitNetLmConfig::new(16, 32, 2, 4, 48).init(&device);
    let lm = lm.map(&mut Drawn::new(7, 0.1)).map(&mut Rounded);
    let bf16 = lm.clone().with_projection_dtype(FloatDType::BF16);
    for (path, projection) in bf16.projections() {
        assert_eq!(projection.weight.val().dtype(), DType::BF16, "{path}");
    }
    let ((logits, gradients), (expected, expected_gradients)) = (trained(bf16), trained(lm));
    // Products of up to 48 terms in another order, over two layers: at most about 300 roundings
    // of values of the size of the largest.
    let close = |a: &[f32], b: &[f32], name: &str| {
        let largest = b.iter().fold(0.0f32, |largest, v| largest.max(v.abs()));
        assert!(largest > 0.0, "{name}");
        assert_within(a, b, |_| 300.0 * ROUNDING * f64::from(largest), name);
    };
    close(&logits, &expected, "logits");
    assert_eq!(gradients.len(), 2 * 14);
    for (i, (a, b)) in gradients.iter().zip(&expected_gradients).enumerate() {
        close(a, b, &format!("gradient {i}"));
    }
}
