//! BitFit: differences of biases, merged into every base.

use bitnet_burn::{
    nn::{BitLinear, Linear4bit, PackedBitLinear, Projection},
    peft::{AdaptedLinear, BitFit, BitFitConfig},
};
use burn::{
    module::Param,
    nn::Linear,
    tensor::{DType, Device, Tensor},
};

use super::models::*;
use crate::support::values::*;

fn merges_without_loss<P: Base>() {
    let config = BitFitConfig::default();
    let (lm, _) = P::lm(1).with_adapter("default", config).unwrap();
    let lm = perturbed(lm, 10);
    let (merged, report) = lm.clone().merge(None);
    assert_eq!(report.modules.len(), 7);
    assert!(
        report.modules.iter().all(|module| module.loss == 0.0),
        "{report}"
    );
    for ((module, beside), (_, merged)) in lm.projections().zip(merged.projections()) {
        let [d_input, _] = beside.base.size();
        let x = tensor(&normal(3 * d_input, 2), [3, d_input], DType::F32, &device());
        let (beside, merged) = (floats(beside.forward(x.clone())), floats(merged.forward(x)));
        // `(x W + b) + d` against `x W + (b + d)`: three roundings of values of up to 1.
        assert_within(&merged, &beside, |_| 4.0 * ROUNDING, &module);
    }
}

#[test]
fn differences_merge_without_loss_into_every_base() {
    merges_without_loss::<Linear>();
    merges_without_loss::<PackedBitLinear>();
    if !on_cubecl_cpu() {
        merges_without_loss::<BitLinear>();
        merges_without_loss::<Linear4bit>();
    }
}

#[test]
fn outputs_have_the_type_of_the_model() {
    let device = Device::default();
    for dtype in float_types(&device) {
        let bias = rounded(&normal(6, 1), dtype);
        let base = Linear {
            weight: Param::from_tensor(tensor(&normal(8 * 6, 2), [8, 6], dtype, &device)),
            bias: Some(Param::from_tensor(tensor(&bias, [6], dtype, &device))),
        };
        let x = tensor(&normal(3 * 8, 3), [3, 8], dtype, &device);
        let of_base = floats(Projection::forward(&base, x.clone()));
        let difference = normal(6, 4);
        let bit_fit = BitFit::new(tensor(&difference, [6], DType::F32, &device));
        let layer = AdaptedLinear::new(base.clone()).with_adapter("default", bit_fit);
        let y = layer.forward(x.clone());
        assert_eq!(y.dtype(), dtype);
        let difference = rounded(&difference, dtype);
        let sums = of_base.iter().zip(difference.iter().cycle());
        let sums: Vec<f32> = sums.map(|(y, d)| y + d).collect();
        assert_equal(&floats(y), &rounded(&sums, dtype), "sums");

        let zeros = BitFit::new(Tensor::zeros([6], &device));
        let y = AdaptedLinear::new(base)
            .with_adapter("default", zeros)
            .forward(x);
        // Equal as numbers: -0 + 0 is 0.
        assert_equal(&floats(y), &of_base, "differences of 0");
    }
}

#[test]
#[should_panic(expected = "axis 0 expected 6, got 8")]
fn differences_are_as_many_as_outputs() {
    let device = Device::default();
    let base = Linear {
        weight: Param::from_tensor(Tensor::zeros([8, 6], &device)),
        bias: None,
    };
    let bit_fit = BitFit::new(Tensor::zeros([8], &device));
    let _ = AdaptedLinear::new(base).with_adapter("default", bit_fit);
}
