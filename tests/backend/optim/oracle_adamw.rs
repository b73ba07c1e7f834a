//! Burn's AdamW, bare and wrapped, with clipping by the global norm, against PyTorch's.

use bitnet_burn::optim::{
    DecoupledWeightDecay, FusedAdamWConfig, QatOptimizerConfig, clip_grad_norm,
};
use burn::{
    module::{Module, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Tensor},
};

use crate::support::{
    oracle::{Case, Oracle},
    values::*,
};

#[derive(Module, Debug)]
struct OneParameter {
    param: Param<Tensor<2>>,
}

fn adamw(case: &Case) -> AdamWConfig {
    let beta = |i: usize| case.about["betas"][i].as_f64().unwrap() as f32;
    AdamWConfig::new()
        .with_beta_1(beta(0))
        .with_beta_2(beta(1))
        .with_epsilon(case.number("eps") as f32)
        .with_weight_decay(case.number("weight_decay") as f32)
}

#[test]
fn five_steps_of_burn_equal_pytorch() {
    five_steps_equal_pytorch(|case| adamw(case).init());
}

#[test]
fn five_fused_steps_equal_pytorch() {
    five_steps_equal_pytorch(|case| {
        let beta = |i: usize| case.about["betas"][i].as_f64().unwrap() as f32;
        FusedAdamWConfig::new()
            .with_beta_1(beta(0))
            .with_beta_2(beta(1))
            .with_epsilon(case.number("eps") as f32)
            .with_weight_decay(case.number("weight_decay") as f32)
            .init()
    });
}

#[test]
fn five_steps_of_ours_equal_pytorch() {
    five_steps_equal_pytorch(|case| {
        let weight_decay = DecoupledWeightDecay::new(case.number("weight_decay") as f32);
        let inner = adamw(case).with_weight_decay(0.0).build();
        let optimizer = QatOptimizerConfig::new().build(inner);
        optimizer.with_weight_decay(&weight_decay).into()
    });
}

fn five_steps_equal_pytorch(optimizer: impl Fn(&Case) -> ModuleOptimizer) {
    let device = Device::default().autodiff();
    for case in Oracle::open("k_adamw").cases() {
        let mut optimizer = optimizer(&case);
        let mut module = OneParameter {
            param: Param::from_tensor(case.tensor("param.0", &device)),
        };
        let lr = case.number("lr");
        for step in 1..=5 {
            let what = |part: &str| format!("{} step {step}: {part}", case.name);
            let mut grads = GradientsParams::new();
            let grad = case.tensor::<2>(&format!("grad.{step}"), &device.clone().inner());
            grads.register(module.param.id, grad);
            if let Some(max_norm) = case.about["clip_grad_norm"].as_f64() {
                let (clipped, norm) = clip_grad_norm(&module, grads, max_norm);
                grads = clipped;
                // 12 squares are added in f32 and a root is taken, on either side; the clipped
                // gradient has the quotient, the factor and the product on top.
                let expected = case.floats(&format!("grad_norm.{step}"));
                let bound = |i: usize| 2.0 * 14.0 * ROUNDING * expected[i] as f64;
                assert_within(&floats(norm.unwrap()), &expected, bound, &what("norm"));
                let expected = case.floats(&format!("grad_clipped.{step}"));
                let bound = |i: usize| 2.0 * 18.0 * ROUNDING * expected[i].abs() as f64;
                let clipped = grads.get::<2>(module.param.id).unwrap();
                assert_within(&floats(clipped), &expected, bound, &what("clipped"));
            }
            module = optimizer.step(lr, module, grads);

            // Burn computes 1 - beta_2^t in f32: beta_2 = 0.999 as f32 is off by half a rounding,
            // and 1 - 0.999 has lost ten bits, which makes the step (of size lr) off by up to
            // 2^-15; sums and products of the parameter itself add a rounding each.
            let expected = case.floats(&format!("param.{step}"));
            let steps = step as f64;
            let bound = |i: usize| {
                steps * (lr * 2f64.powi(-15) + 4.0 * ROUNDING * expected[i].abs() as f64)
            };
            let param = floats(module.param.val());
            let worst = assert_within(&param, &expected, bound, &what("param"));
            println!("{}: {worst:.3} of the bound", what("param"));
        }
    }
}

#[test]
fn gradients_below_the_norm_are_left_alone_and_none_are_no_norm() {
    let device = Device::default().autodiff();
    let module = OneParameter {
        param: Param::from_tensor(Tensor::<2>::zeros([1, 2], &device)),
    };
    let (grads, norm) = clip_grad_norm(&module, GradientsParams::new(), 1.0);
    assert!(grads.is_empty() && norm.is_none());

    let mut grads = GradientsParams::new();
    let small = Tensor::<2>::from_floats([[0.3, -0.4]], &device.inner());
    grads.register(module.param.id, small);
    let (grads, norm) = clip_grad_norm(&module, grads, 1.0);
    assert_within(&floats(norm.unwrap()), &[0.5], |_| 4.0 * ROUNDING, "norm");
    let grad = grads.get::<2>(module.param.id).unwrap();
    assert_equal(&floats(grad), &[0.3, -0.4], "gradient");
}

#[test]
fn a_gradient_that_is_not_finite_makes_a_norm_that_is_not() {
    let device = Device::default().autodiff();
    let module = OneParameter {
        param: Param::from_tensor(Tensor::<2>::zeros([1, 2], &device)),
    };
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut grads = GradientsParams::new();
        let grad = Tensor::<2>::from_floats([[0.3, bad]], &device.clone().inner());
        grads.register(module.param.id, grad);
        let (_, norm) = clip_grad_norm(&module, grads, 1.0);
        let norm = floats(norm.unwrap())[0];
        assert!(!norm.is_finite(), "{bad}: {norm}");
    }
}
