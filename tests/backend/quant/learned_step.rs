//! Trained step sizes and offsets: LSQ and LSQ+, values and all three gradients against the papers'
//! formulas in scalar f64 code.

use bitnet_burn::{
    functions::{Groups, QuantRange, learned_step_fake_quant},
    nn::BitLinearConfig,
    qat::{ActivationFakeQuant, FakeQuant, PackedWeight, Prepare, convert},
    quant::{ActivationQuantizer, BitWidth, QatScheme, Ste, WeightGranularity, WeightQuantizer},
};
use burn::{
    module::{Module, ParamGroup},
    nn::LinearConfig,
    optim::{AdamWConfig, GradientsParams},
    tensor::{DType, Device, Tensor},
};

use crate::support::values::*;

const SHAPE: [usize; 2] = [6, 10];

/// Computes gradients of `x`, steps and offsets for `L = sum(Q(x) * g)`, by the formulas of LSQ+.
fn expected_gradients(
    [x, g]: [&[f32]; 2],
    [steps, offsets]: [&[f32]; 2],
    groups: Groups,
    codes: QuantRange,
    grad_scale: f32,
) -> [Vec<f64>; 3] {
    let count = groups.num_groups();
    let (mut dx, mut dstep, mut doffset) = (vec![0.0; x.len()], vec![0.0; count], vec![0.0; count]);
    for i in 0..x.len() {
        let group = groups.scale_index(i);
        // In f32 as in the operation: at a bound or a tie a rounding decides.
        let v = x[i] / steps[group] + -offsets[group] / steps[group];
        let (v32, v, grad) = (v, v as f64, g[i] as f64);
        let scaled = grad * grad_scale as f64;
        if v32 < codes.min {
            dstep[group] += scaled * codes.min as f64;
            doffset[group] += scaled;
        } else if v32 > codes.max {
            dstep[group] += scaled * codes.max as f64;
            doffset[group] += scaled;
        } else {
            dx[i] = grad;
            dstep[group] += scaled * (v32.round_ties_even() as f64 - v);
        }
    }
    [dx, dstep, doffset]
}

#[test]
fn gradients_are_those_of_the_papers_for_every_grouping() {
    let device = Device::default().autodiff();
    let (x, g) = (normal(60, 1), normal(60, 2));
    for groups in groupings(&SHAPE) {
        for codes in [
            QuantRange::TERNARY,
            QuantRange::signed(2),
            QuantRange::unsigned(4),
        ] {
            let what = format!("{groups:?} {codes:?}");
            let count = groups.num_groups();
            // About half of the values are outside of the codes of few bits.
            let steps: Vec<f32> = (0..count).map(|i| 0.04 + 0.003 * (i % 5) as f32).collect();
            let offsets: Vec<f32> = (0..count).map(|i| 0.01 * (i % 3) as f32).collect();
            let leaf = |values: &[f32]| {
                tensor(values, groups.scale_shape(), DType::F32, &device).require_grad()
            };
            let (s, o) = (leaf(&steps), leaf(&offsets));
            let w = tensor(&x, SHAPE, DType::F32, &device).require_grad();
            let upstream = tensor(&g, SHAPE, DType::F32, &device);
            let quantized =
                learned_step_fake_quant(w.clone(), s.clone(), o.clone(), groups, codes, 0.25);
            let grads = (quantized * upstream).sum().backward();

            let [dx, dstep, doffset] =
                expected_gradients([&x, &g], [&steps, &offsets], groups, codes, 0.25);
            let narrow = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<_>>();
            assert_equal(&floats(w.grad(&grads).unwrap()), &narrow(&dx), &what);
            // A term is a difference of numbers up to 16 with a rounding of their size, times a
            // gradient below 0.5; `size` of them are added.
            let bound = groups.size as f64 * 0.25 * 0.5 * 16.0 * 2.0 * ROUNDING * 2.0;
            let actual = floats(s.grad(&grads).unwrap());
            assert_within(
                &actual,
                &narrow(&dstep),
                |_| bound,
                &format!("steps {what}"),
            );
            let actual = floats(o.grad(&grads).unwrap());
            assert_within(
                &actual,
                &narrow(&doffset),
                |_| bound,
                &format!("offsets {what}"),
            );
        }
    }
}

fn lsq_scheme(granularity: WeightGranularity) -> QatScheme {
    let config = WeightQuantizer::learned_step(BitWidth::Ternary).with_granularity(granularity);
    QatScheme::b1_58().with_weight(config).with_activation(None)
}

#[test]
fn a_prepared_model_trains_its_steps_and_packs_to_what_it_trained() {
    let device = Device::default().autodiff();
    let x = tensor(&normal(16 * 12, 3), [16, 12], DType::F32, &device);
    let target = tensor(&normal(16 * 6, 4), [16, 6], DType::F32, &device);
    for granularity in [WeightGranularity::PerTensor, WeightGranularity::PerChannel] {
        let scheme = lsq_scheme(granularity);
        let linear = LinearConfig::new(12, 6).init(&device);
        let prepare = Prepare::new(scheme.clone()).with_group(ParamGroup::from_path("weight"));
        let mut model = prepare.apply(linear).unwrap().model;
        let steps = |model: &burn::nn::Linear| {
            let fake_quant = model.weight.reparameterization::<FakeQuant>().unwrap();
            floats(fake_quant.scale.as_ref().unwrap().val())
        };
        let before = steps(&model);
        let mut optimizer = AdamWConfig::new().init();
        for _ in 0..training_steps() {
            let loss = (model.forward(x.clone()) - target.clone()).square().mean();
            let grads = GradientsParams::from_grads(loss.backward(), &model);
            model = optimizer.step(0.01, model, grads);
        }
        assert_ne!(steps(&model), before, "the steps did not train");

        let trained = floats(model.weight.val());
        let packed = convert(&model).unwrap();
        let weight: &PackedWeight = &packed.weights["weight"];
        let unpacked = floats(weight.unpack_like([12, 6], 1));
        assert_equal(&unpacked, &trained, &format!("{granularity:?}"));

        // The steps are part of a record.
        let other = prepare
            .apply(LinearConfig::new(12, 6).init(&device))
            .unwrap()
            .model;
        let loaded = other.load_record(model.clone().into_record());
        assert_equal(&floats(loaded.weight.val()), &trained, "loaded");
    }
}

#[test]
fn a_layer_that_trains_its_steps_packs_to_plain_tensors_and_the_same_outputs() {
    let device = Device::default().autodiff();
    let layer = BitLinearConfig::new(16, 8)
        .with_scheme(lsq_scheme(WeightGranularity::PerChannel))
        .init(&device);
    let packed = layer.pack();
    assert!(!packed.weight.scales.val().is_autodiff());
    let valid = layer.valid();
    let unpacked = packed.weight.unpack_like([16, 8], 1);
    assert_equal(
        &floats(unpacked),
        &floats(valid.quantized_weight()),
        "weight",
    );
    let x = tensor(&normal(48, 5), [3, 16], DType::F32, &Device::default());
    assert_eq!(packed.forward(x).dims(), [3, 8]);
}

#[test]
fn small_weights_start_with_the_scale_that_they_are_quantized_with() {
    let weight = Tensor::<2>::full([2, 2], 1e-6, &Device::default());
    let quantizer = WeightQuantizer::learned_step(BitWidth::Bits(8));
    let groups = Groups::per_tensor(4);
    // 2 * 1e-5 / sqrt(127) is below the least step.
    let (_, steps) = quantizer.fake_quant(weight, groups, Ste::Identity);
    assert!((floats(steps)[0] as f64 - 1e-5).abs() <= 4.0 * ROUNDING * 1e-5);
}

#[test]
fn a_step_that_would_be_negative_is_the_smallest_and_keeps_its_gradient() {
    let device = Device::default().autodiff();
    let linear = LinearConfig::new(4, 2).with_bias(false).init(&device);
    let scheme = lsq_scheme(WeightGranularity::PerTensor);
    let weight = linear.weight.val();
    let mut fake_quant = FakeQuant::new(&scheme, weight.clone(), 1);
    let negative = Tensor::<2>::full([1, 1], -0.5, &device).require_grad();
    fake_quant.scale = Some(burn::module::Param::from_tensor(negative));
    let quantized = fake_quant.forward(weight);
    let largest = floats(quantized.clone().abs().max())[0];
    // -0.5 + (0.5 + 1e-5) is 1e-5 except for the rounding of the sum in the bracket.
    assert!((largest as f64 - 1e-5).abs() <= ROUNDING, "{largest}");
    let grads = quantized.sum().backward();
    assert!(fake_quant.scale.unwrap().val().grad(&grads).is_some());
}

#[test]
fn a_trained_offset_moves_towards_one_sided_activations() {
    let device = Device::default().autodiff();
    let quantizer = ActivationQuantizer::LearnedStep {
        bits: 4,
        offset: true,
        absmean: 0.8,
    };
    let scheme = QatScheme::b1_58().with_activation(Some(quantizer));
    let mut quantizer = ActivationFakeQuant::new(&scheme, &device).unwrap();
    // All in 0.2 to 3.2, of which the symmetric start clamps the upper part.
    let values: Vec<f32> = (0..64).map(|i| 0.2 + 3.0 * i as f32 / 63.0).collect();
    let x = tensor(&values, [8, 8], DType::F32, &device);
    let error = |quantizer: &ActivationFakeQuant| {
        (quantizer.forward(x.clone()) - x.clone()).square().mean()
    };
    let before = floats(error(&quantizer))[0];
    let mut optimizer = AdamWConfig::new().with_weight_decay(0.0).init();
    let steps = if on_cubecl_cpu() { 5 } else { 200 };
    for _ in 0..steps {
        let grads = GradientsParams::from_grads(error(&quantizer).backward(), &quantizer);
        quantizer = optimizer.step(0.05, quantizer, grads);
    }
    let after = floats(error(&quantizer))[0];
    assert!(
        after < 0.5 * before || on_cubecl_cpu() && after < before,
        "{before} to {after}"
    );
}
