//! LoRA, rsLoRA and DoRA of peft: outputs, all gradients, and merged weights.

use bitnet_burn::peft::{AdaptedWeight, Attach, merge_adapters};

use super::*;
use crate::support::oracle::{Case, Oracle};

#[derive(Module, Debug)]
struct Pair {
    fc1: Linear,
    fc2: Linear,
}

/// Returns the values of a matrix of PyTorch in Burn's layout.
fn transposed(case: &Case<'_>, name: &str) -> Tensor<2> {
    case.tensor::<2>(name, &device()).transpose()
}

fn base(case: &Case<'_>, name: &str) -> Linear {
    let bias = case.tensor(&format!("base.{name}.bias"), &device());
    Linear {
        weight: Param::from_tensor(transposed(case, &format!("base.{name}.weight"))),
        bias: Some(Param::from_tensor(bias)),
    }
}

/// Returns the layers of a case with their adapters.
fn pair(case: &Case<'_>) -> Pair {
    let pair = Pair {
        fc1: base(case, "fc1"),
        fc2: base(case, "fc2"),
    };
    let config = LoraConfig {
        alpha: case.number("lora_alpha"),
        use_dora: case.about["use_dora"] == true,
        use_rslora: case.about["use_rslora"] == true,
        ..LoraConfig::new(case.number("r") as usize).with_targets(TargetModules::AllLinear)
    };
    let mut set = Set::default();
    for name in ["fc1", "fc2"] {
        for (factor, of_peft) in [("a", "lora_A"), ("b", "lora_B")] {
            let values = floats(transposed(case, &format!("{name}.{of_peft}.weight")));
            set.values
                .insert(format!("{name}.weight.adapter.lora.{factor}"), values);
        }
        if config.use_dora {
            let values = case.floats(&format!("{name}.lora_magnitude_vector.weight"));
            set.values
                .insert(format!("{name}.weight.adapter.lora.magnitude"), values);
        }
    }
    let pair = Attach::new(config).apply(pair).unwrap().model.map(&mut set);
    assert!(set.values.is_empty(), "all factors are set");
    pair
}

fn assert_gradient<const D: usize>(grad: Option<Tensor<D>>, case: &Case<'_>, name: &str) {
    let grad = grad.unwrap_or_else(|| panic!("no gradient of {name}"));
    let grad = if D == 2 {
        floats(grad.transpose())
    } else {
        floats(grad)
    };
    assert_close(&grad, &case.floats(&format!("grad.{name}")), name);
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
        let pair = pair(&case);
        let x = case.tensor::<2>("x", &device()).require_grad();
        let y = pair.fc2.forward(relu(pair.fc1.forward(x.clone())));
        assert_close(&floats(y.clone()), &case.floats("y"), "y");
        let grads = (y * case.tensor("grad_output", &device())).sum().backward();
        assert_close(
            &floats(x.grad(&grads).unwrap()),
            &case.floats("grad_x"),
            "x",
        );
        let merged = merge_adapters(pair.clone()).unwrap();
        for (name, layer, merged) in [
            ("fc1", &pair.fc1, &merged.fc1),
            ("fc2", &pair.fc2, &merged.fc2),
        ] {
            let lora = &layer
                .weight
                .reparameterization::<AdaptedWeight>()
                .unwrap()
                .lora;
            assert_eq!(lora.scaling, case.number("scaling"));
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
            let expected = case.floats(&format!("merged.{name}.weight"));
            assert_close(&floats(merged.weight.base().transpose()), &expected, name);
        }
    }
}
