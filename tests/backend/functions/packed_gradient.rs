//! Input gradients of packed layers, for modules trained before them.

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    quant::WeightGranularity,
};
use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};

use crate::support::{models::scheme, values::*};

/// Returns the input gradient of a layer, for outputs with these weights in the loss.
fn gradient(
    forward: impl Fn(Tensor<3>) -> Tensor<3>,
    x: &Tensor<3>,
    weights: &Tensor<3>,
) -> Vec<f32> {
    let x = Tensor::from_inner(x.clone()).require_grad();
    let y = forward(x.clone());
    let grads = (y * Tensor::from_inner(weights.clone())).sum().backward();
    floats(x.grad(&grads).expect("a gradient of the inputs"))
}

#[test]
fn a_packed_layer_passes_the_gradient_of_its_inputs() {
    let device = Device::default();
    let granularities = [
        WeightGranularity::PerTensor,
        WeightGranularity::PerChannel,
        WeightGranularity::PerGroup { group_size: 32 },
    ];
    // The second weight is unpacked in two parts.
    let sizes = if on_flex() {
        &[[64, 24], [1024, 1100]][..]
    } else {
        &[[64, 24]]
    };
    for granularity in granularities {
        for &[d_input, d_output] in sizes {
            let layer: BitLinear = BitLinearConfig::new(d_input, d_output)
                .with_bias(true)
                .with_scheme(scheme(granularity))
                .init(&device.clone().autodiff())
                .map(&mut Drawn::new(900, 0.2));
            let packed = layer.pack();
            let x = tensor(
                &normal(6 * d_input, 1),
                [2, 3, d_input],
                DType::F32,
                &device,
            );
            let weights = tensor(
                &normal(6 * d_output, 2),
                [2, 3, d_output],
                DType::F32,
                &device,
            );
            let trained = gradient(|x| layer.forward(x), &x, &weights);
            let found = gradient(|x| packed.forward(x), &x, &weights);
            assert!(trained.iter().any(|value| *value != 0.0));
            // Products of up to 1100 terms, of weights below 1 and gradients below 1.
            let bound = |_: usize| 2.0 * d_output as f64 * ROUNDING;
            assert_within(
                &found,
                &trained,
                bound,
                &format!("{granularity:?} {d_input}"),
            );
        }
    }
}

#[test]
fn without_gradients_nothing_is_tracked() {
    let device = Device::default();
    let layer = BitLinearConfig::new(32, 8).init(&device).pack();
    let y = layer.forward(Tensor::<2>::ones([1, 32], &device));
    assert!(!y.is_autodiff());
}
