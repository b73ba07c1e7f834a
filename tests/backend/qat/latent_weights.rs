//! Latent weights in bf16: the layer, their gradients and their updates.

use bitnet_burn::{
    functions::{Groups, bit_linear, stochastic_round},
    nn::{BitLinear, BitLinearConfig, BitNetLm, BitNetLmConfig},
    optim::{AdamW8bitConfig, QatOptimizer, QatOptimizerConfig},
    qat::cast_latent_weights,
};
use bitnet_burn_kernels::reference::{random_bits, stochastic_round_bf16};
use burn::{
    module::{Module, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer, Optimizer},
    tensor::{DType, Device, FloatDType, Int, Tensor},
};

use crate::support::values::*;

/// Returns whether the device supports bf16.
fn has_bf16() -> bool {
    computes_in(&Device::default(), DType::BF16)
}

#[test]
fn rounding_equals_the_reference_and_depends_on_the_seed() {
    let device = Device::default();
    if !has_bf16() {
        return;
    }
    // Several threads.
    let mut values = normal(40_000, 5);
    values[7] = f32::INFINITY;
    values[8] = f32::NEG_INFINITY;
    let x: Tensor<2> = tensor(&values, [200, 200], DType::F32, &device);
    let round = |seed| floats(stochastic_round(x.clone(), seed));
    let expected: Vec<f32> = (0..)
        .zip(&values)
        .map(|(i, &value)| stochastic_round_bf16(value, random_bits(9, i)).to_f32())
        .collect();
    assert_equal(&round(9), &expected, "rounded");
    assert_ne!(round(9), round(10));
    let empty = Tensor::<2>::zeros([0, 3], &device);
    assert_eq!(stochastic_round(empty, 0).dtype(), DType::BF16);
}

#[test]
fn a_layer_computes_with_them_as_with_the_same_values_in_f32() {
    let device = Device::default().autodiff();
    if !has_bf16() {
        return;
    }
    let weight = tensor::<2>(&normal(40 * 24, 1), [40, 24], DType::BF16, &device);
    let x: Tensor<2> = tensor(&normal(9 * 40, 2), [9, 40], DType::F32, &device);
    let bias: Tensor<1> = tensor(&normal(24, 3), [24], DType::F32, &device);
    for groups in [
        Groups::per_tensor(40 * 24),
        Groups::along_axis(&[40, 24], 0, 20),
    ] {
        let run = |weight: Tensor<2>| {
            let (weight, x) = (weight.detach().require_grad(), x.clone().require_grad());
            let y = bit_linear(x.clone(), weight.clone(), Some(bias.clone()), groups, 8);
            let grads = (y.clone() * y.clone().detach().sin()).sum().backward();
            let of_weight = weight.grad(&grads).unwrap();
            (y, x.grad(&grads).unwrap(), of_weight)
        };
        let (y, of_x, of_weight) = run(weight.clone());
        let (expected, expected_of_x, expected_of_weight) = run(weight.clone().cast(DType::F32));
        assert_eq!((y.dtype(), of_weight.dtype()), (DType::F32, DType::BF16));
        assert_equal(&floats(y), &floats(expected), "y");
        assert_equal(&floats(of_x), &floats(expected_of_x), "gradient of x");
        let expected = floats(expected_of_weight.cast(DType::BF16));
        assert_equal(&floats(of_weight), &expected, "gradient of the weight");
    }
}

fn lm(device: &Device) -> BitNetLm {
    let config = BitNetLmConfig::new(20, 32, 1, 2, 48).with_max_positions(8);
    config.init(device).map(&mut Drawn::new(1, 0.05))
}

fn tokens(device: &Device) -> Tensor<2, Int> {
    Tensor::from_ints([[1, 2, 3, 4], [9, 8, 7, 6]], device)
}

#[test]
fn only_latent_weights_are_cast_and_packed_models_compute_as_trained_ones() {
    let device = Device::default();
    if !has_bf16() {
        return;
    }
    let lm = cast_latent_weights(lm(&device), FloatDType::BF16);
    let dtype = |layer: &BitLinear| layer.weight.val().dtype();
    assert_eq!(dtype(&lm.model.layers[0].mlp.down_proj), DType::BF16);
    assert_eq!(lm.model.embed_tokens.weight.val().dtype(), DType::F32);
    assert_eq!(lm.model.norm.gamma.val().dtype(), DType::F32);
    let logits = floats(lm.forward(tokens(&device)));
    let packed = floats(lm.pack().forward(tokens(&device)));
    if on_cpu_library() {
        assert_equal(&packed, &logits, "packed");
    } else {
        assert_within(&packed, &logits, |_| 1e-2, "packed");
    }
}

fn loss(lm: &BitNetLm, device: &Device) -> Tensor<1> {
    let logits = lm.forward(tokens(device));
    let target = logits.clone().detach().zeros_like().add_scalar(1.0);
    (logits - target).square().mean()
}

#[test]
fn a_language_model_of_them_trains_with_rounding_and_moments_of_8_bits() {
    let device = Device::default().autodiff();
    // Minutes on CubeCL's CPU runtime.
    if !has_bf16() || on_cubecl_cpu() {
        return;
    }
    let mut lm = cast_latent_weights(lm(&device), FloatDType::BF16);
    let config = QatOptimizerConfig::new().with_stochastic_rounding(Some(3));
    let inner = AdamW8bitConfig::new().with_min_8bit_size(1024);
    let mut optimizer = ModuleOptimizer::from(config.build(inner.build()));
    let before = loss(&lm, &device).into_scalar::<f32>();
    for _ in 0..30 {
        let grads = GradientsParams::from_grads(loss(&lm, &device).backward(), &lm);
        lm = optimizer.step(1e-2, lm, grads);
    }
    let after = loss(&lm, &device).into_scalar::<f32>();
    assert!(after < 0.7 * before, "{after} after {before}");
    let weight = lm.model.layers[0].self_attn.q_proj.weight.val();
    assert_eq!(weight.dtype(), DType::BF16);
}

/// Burn's AdamW with stochastic rounding.
fn rounding(seed: u64) -> QatOptimizer<burn::optim::AdamW> {
    let config = QatOptimizerConfig::new().with_stochastic_rounding(Some(seed));
    config.build(AdamWConfig::new().with_weight_decay(0.0).build())
}

#[test]
fn steps_too_small_for_bf16_add_up() {
    let device = Device::default();
    if !has_bf16() {
        return;
    }
    let ones = Tensor::<2>::ones([64, 64], &device);
    let train = |optimizer: &QatOptimizer<burn::optim::AdamW>| {
        let (mut param, mut state) = (ones.clone().cast(DType::BF16), None);
        for _ in 0..32 {
            // Steps of the size of the learning rate, a sixteenth of the bf16 spacing below 1.
            let grad = ones.clone().cast(DType::BF16);
            (param, state) = optimizer.step(2f64.powi(-12), param, grad, state);
        }
        floats(param.cast(DType::F32).mean())[0]
    };
    let expected = 1.0 - 32.0 * 2f32.powi(-12);
    let mean = train(&rounding(0));
    assert!(
        (mean - expected).abs() < 2e-4,
        "{mean}, expected {expected}"
    );

    let nearest = QatOptimizerConfig::new();
    let nearest = nearest.build(AdamWConfig::new().with_weight_decay(0.0).build());
    assert_eq!(train(&nearest), 1.0, "rounding to nearest loses them");
}

#[test]
fn rounding_goes_on_after_a_record_as_without() {
    let device = Device::default();
    if !has_bf16() {
        return;
    }
    let optimizer = rounding(7);
    let param = tensor::<2>(&normal(400, 1), [20, 20], DType::BF16, &device);
    let grad = param.clone().cast(DType::F32).sin();
    let (param, state) = optimizer.step(1e-4, param, grad.clone(), None);
    let state = state.unwrap();
    let loaded = reloaded(&state);
    assert_eq!(loaded.rounding, state.rounding);
    let step = |optimizer: &QatOptimizer<_>, state| {
        floats(
            optimizer
                .step(1e-4, param.clone(), grad.clone(), Some(state))
                .0,
        )
    };
    assert_equal(
        &step(&rounding(7), loaded),
        &step(&optimizer, state),
        "next",
    );
}

#[test]
fn parameters_of_one_shape_are_rounded_by_other_numbers() {
    let device = Device::default();
    if !has_bf16() {
        return;
    }
    let optimizer = rounding(7);
    let param = tensor::<2>(&normal(400, 1), [20, 20], DType::BF16, &device);
    let grad = param.clone().cast(DType::F32).sin();
    let step = || floats(optimizer.step(1e-4, param.clone(), grad.clone(), None).0);
    assert_ne!(step(), step());
}

#[test]
fn a_layer_with_another_scheme_reads_them_too() {
    let device = Device::default();
    if !has_bf16() {
        return;
    }
    let scheme = bitnet_burn::quant::QatScheme {
        activation: None,
        ..bitnet_burn::quant::QatScheme::b1_58()
    };
    let layer = BitLinearConfig::new(16, 8)
        .with_scheme(scheme)
        .init(&device);
    let values = normal(16 * 8, 4);
    let layer = BitLinear {
        weight: Param::from_tensor(tensor(&values, [16, 8], DType::BF16, &device)),
        ..layer
    };
    let x: Tensor<2> = tensor(&normal(3 * 16, 2), [3, 16], DType::F32, &device);
    let y = layer.forward(x.clone());
    let weight = layer.weight.val().cast(DType::F32);
    let layer = BitLinear {
        weight: Param::from_tensor(weight),
        ..layer
    };
    assert_equal(&floats(y), &floats(layer.forward(x)), "y");
}
