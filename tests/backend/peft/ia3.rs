//! (IA)³ against peft, and its types.

use bitnet_burn::{
    nn::Projection,
    peft::{AdaptedLinear, Ia3},
};
use burn::{
    module::Param,
    nn::Linear,
    tensor::{DType, Device, Tensor},
};

use super::models::device;
use crate::support::{
    oracle::{Case, Oracle},
    values::*,
};

fn layer(case: &Case<'_>, i: usize) -> AdaptedLinear<Linear> {
    let of = |name: &str| format!("{i}.{name}");
    let base = Linear {
        weight: Param::from_tensor(case.tensor::<2>(&of("weight"), &device()).transpose()),
        bias: Some(Param::from_tensor(case.tensor(&of("bias"), &device()))),
    };
    let l = case.tensor(&of("l"), &device());
    let ia3 = match i {
        0 => Ia3::of_outputs(l),
        _ => Ia3::of_inputs(l),
    };
    AdaptedLinear::new(base).with_adapter("default", ia3)
}

/// Rounding of sums of 6 products in two layers, of magnitudes up to the largest value.
fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let bound = 32.0 * ROUNDING * f64::from(largest);
    assert_within(actual, expected, |_| bound, what);
}

#[test]
fn outputs_and_merged_weights_and_biases_are_those_of_peft() {
    let oracle = Oracle::open("ia3_llama");
    let case = oracle.case("bias");
    let layers = [0, 1].map(|i| layer(&case, i));
    let x = case.tensor::<2>("x", &device());
    let y = layers[1].forward(layers[0].forward(x));
    assert_close(&floats(y), &case.floats("y"), "y");
    for (i, layer) in layers.iter().enumerate() {
        let weight = floats(layer.dense_weight().transpose());
        let of = |name: &str| case.floats(&format!("{i}.{name}"));
        assert_close(&weight, &of("merged_weight"), "weight");
        let [d_input, _] = layer.base.weight.dims();
        let of_zero = layer.forward(Tensor::<2>::zeros([1, d_input], &device()));
        assert_close(&floats(of_zero), &of("merged_bias"), "bias");
    }
}

#[test]
fn products_are_rounded_once_to_the_type_of_the_model() {
    let device = Device::default();
    for dtype in float_types(&device) {
        let weight = tensor(&normal(8 * 6, 1), [8, 6], dtype, &device);
        let base = Linear {
            weight: Param::from_tensor(weight),
            bias: None,
        };
        let x = tensor(&normal(3 * 8, 2), [3, 8], dtype, &device);
        let of_base = floats(Projection::forward(&base, x.clone()));
        let factors = |n: usize| {
            normal(n, 3)
                .into_iter()
                .map(|v| 1.0 + v)
                .collect::<Vec<f32>>()
        };
        let l = |n: usize| tensor(&factors(n), [n], DType::F32, &device);

        let layer = AdaptedLinear::new(base.clone());
        let outputs = layer.clone().with_adapter("default", Ia3::of_outputs(l(6)));
        let y = outputs.forward(x.clone());
        assert_eq!(y.dtype(), dtype);
        let products = of_base.iter().zip(factors(6).into_iter().cycle());
        let products: Vec<f32> = products.map(|(y, l)| y * l).collect();
        assert_equal(&floats(y), &rounded(&products, dtype), "outputs");

        let inputs = layer.clone().with_adapter("default", Ia3::of_inputs(l(8)));
        let values = floats(x.clone());
        let scaled = values.iter().zip(factors(8).into_iter().cycle());
        let scaled: Vec<f32> = scaled.map(|(x, l)| x * l).collect();
        let expected = tensor(&rounded(&scaled, dtype), [3, 8], dtype, &device);
        let expected = floats(Projection::forward(&base, expected));
        assert_equal(&floats(inputs.forward(x.clone())), &expected, "inputs");

        // Zeros keep their sign, too.
        let ones = Ia3::of_outputs(Tensor::ones([6], &device));
        let y = floats(layer.with_adapter("default", ones).forward(x));
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        assert_equal(&bits(&y), &bits(&of_base), "factors of 1");
    }
}

#[test]
#[should_panic(expected = "axis 0 expected 6, got 8")]
fn factors_are_as_many_as_outputs() {
    let device = Device::default();
    let base = Linear {
        weight: Param::from_tensor(Tensor::zeros([8, 6], &device)),
        bias: None,
    };
    let ia3 = Ia3::of_outputs(Tensor::ones([8], &device));
    let _ = AdaptedLinear::new(base).with_adapter("default", ia3);
}
