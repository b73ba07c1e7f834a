//! LoRA, rsLoRA and DoRA against peft: outputs, all gradients, and merged weights.

use bitnet_burn::{
    nn::{BitLinear, Projection},
    peft::{AdaptedLinear, Adapter, AdapterBase, Lora},
    quant::QatScheme,
};
use burn::{
    module::{Module, Param},
    nn::Linear,
    tensor::{DType, Device, Tensor, activation::relu},
};

use crate::support::{
    oracle::{Case, Oracle},
    values::*,
};

fn device() -> Device {
    Device::default().autodiff()
}

/// Returns a matrix of PyTorch in Burn's layout.
fn transposed(case: &Case<'_>, name: &str) -> Tensor<2> {
    case.tensor::<2>(name, &device()).transpose()
}

fn linear(case: &Case<'_>, weight: &str, bias: &str) -> Linear {
    Linear {
        weight: Param::from_tensor(transposed(case, weight)),
        bias: Some(Param::from_tensor(case.tensor(bias, &device()))),
    }
}

fn of(adapter: &Adapter) -> &Lora {
    adapter.as_lora().unwrap()
}

/// Returns a layer of the case with its adapter.
fn layer(case: &Case<'_>, name: &str) -> AdaptedLinear<Linear> {
    let base = linear(
        case,
        &format!("base.{name}.weight"),
        &format!("base.{name}.bias"),
    );
    let factor = |factor: &str| transposed(case, &format!("{name}.lora_{factor}.weight"));
    let mut lora = Lora::new(
        factor("A"),
        factor("B"),
        case.about["scaling"].as_f64().unwrap(),
    );
    if case.about["use_dora"] == true {
        let magnitude = format!("{name}.lora_magnitude_vector.weight");
        lora = lora.with_magnitude(case.tensor(&magnitude, &device()));
    }
    AdaptedLinear::new(base.freeze()).with_adapter("default", lora)
}

/// Rounding of the sums of 24 products at most, in two layers, of magnitudes up to the largest value.
fn assert_close(actual: &[f32], expected: &[f32], what: &str) {
    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let bound = 64.0 * ROUNDING * f64::from(largest);
    assert_within(actual, expected, |_| bound, what);
}

fn assert_gradient<const D: usize>(grad: Option<Tensor<D>>, case: &Case<'_>, name: &str) {
    let grad = grad.unwrap_or_else(|| panic!("no gradient of {name}"));
    let expected = case.floats(&format!("grad.{name}"));
    let grad = match D {
        2 => floats(grad.transpose()),
        _ => floats(grad),
    };
    assert_close(&grad, &expected, name);
}

#[test]
fn outputs_gradients_and_merged_weights_are_those_of_peft() {
    let oracle = Oracle::open("g_lora");
    for name in [
        "lora_r4_a8",
        "rslora_r4_a8",
        "dora_r4_a8",
        "dora_rslora_r2_a16",
    ] {
        let case = oracle.case(name);
        let (fc1, fc2) = (layer(&case, "fc1"), layer(&case, "fc2"));
        let x = case.tensor::<2>("x", &device()).require_grad();
        let y = fc2.forward(relu(fc1.forward(x.clone())));
        assert_close(&floats(y.clone()), &case.floats("y"), "y");

        let grads = (y * case.tensor("grad_output", &device())).sum().backward();
        assert_close(
            &floats(x.grad(&grads).unwrap()),
            &case.floats("grad_x"),
            "x",
        );
        for (name, layer) in [("fc1", &fc1), ("fc2", &fc2)] {
            let lora = of(layer.adapter("default").unwrap());
            assert_gradient(
                lora.a.val().grad(&grads),
                &case,
                &format!("{name}.lora_A.weight"),
            );
            assert_gradient(
                lora.b.val().grad(&grads),
                &case,
                &format!("{name}.lora_B.weight"),
            );
            if let Some(magnitude) = &lora.magnitude {
                let name = format!("{name}.lora_magnitude_vector.weight");
                assert_gradient(magnitude.val().grad(&grads), &case, &name);
            }
            assert!(
                layer.base.weight.val().grad(&grads).is_none(),
                "the base is frozen"
            );
            let merged = case.floats(&format!("merged.{name}.weight"));
            let dense = floats(layer.dense_weight().transpose());
            assert_close(&dense, &merged, name);
        }
    }
}

#[test]
fn an_adapter_beside_a_bitlinear_sees_the_input_before_it_is_quantized() {
    let oracle = Oracle::open("g_lora");
    let case = oracle.case("lora_on_autobitlinear");
    let base = BitLinear::from_linear(linear(&case, "weight", "bias"), &QatScheme::b1_58());
    let factor = |name: &str| transposed(&case, name);
    let lora = Lora::new(factor("lora_A"), factor("lora_B"), 2.0);
    let layer = AdaptedLinear::new(base.freeze()).with_adapter("default", lora);
    let packed = AdaptedLinear::new(layer.base.pack());
    let packed = packed.with_adapter("default", layer.adapters[0].clone());

    let x = case.tensor::<2>("x", &device()).require_grad();
    for y in [layer.forward(x.clone()), packed.forward(x.clone())] {
        assert_close(&floats(y.clone()), &case.floats("y"), "y");
        let grads = (y * case.tensor("grad_output", &device())).sum().backward();
        assert_close(
            &floats(x.grad(&grads).unwrap()),
            &case.floats("grad_x"),
            "x",
        );
        let lora = of(&layer.adapters[0]);
        assert_gradient(lora.a.val().grad(&grads), &case, "lora_A");
        assert_gradient(lora.b.val().grad(&grads), &case, "lora_B");
    }
}

#[test]
fn gradients_equal_finite_differences_of_a_dropped_input_too() {
    // With a dropout of almost nothing the formula for dropped inputs is computed on the input itself.
    let device = device();
    let draw = |shape: [usize; 2], seed| {
        tensor(
            &normal(shape[0] * shape[1], seed),
            shape,
            DType::F32,
            &device,
        )
    };
    let base = Linear {
        weight: Param::from_tensor(draw([8, 6], 1)),
        bias: None,
    };
    let dense = base.dense_weight() + draw([8, 2], 2).matmul(draw([2, 6], 3)).without_autodiff();
    let norms: Tensor<1> = dense.square().sum_dim(0).sqrt().squeeze_dim(0);
    let layer = |dropout: f64| {
        let lora = Lora::new(draw([8, 2], 2), draw([2, 6], 3), 1.0);
        let lora = lora
            .with_magnitude(norms.clone().autodiff() * 1.5)
            .with_dropout(dropout);
        AdaptedLinear::new(base.clone().freeze()).with_adapter("default", lora)
    };
    let x = draw([5, 8], 4);
    let exact = floats(layer(0.0).forward(x.clone()));
    let dropped = floats(layer(1e-12).forward(x.clone()));
    assert_close(&dropped, &exact, "both ways to the output");
}
