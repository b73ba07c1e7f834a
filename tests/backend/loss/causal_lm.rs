//! [`CausalLmLoss`](bitnet_burn::loss::CausalLmLoss) against PyTorch's definition in `f64`.

use bitnet_burn::loss::CausalLmLoss;
use burn::{
    nn::loss::{CrossEntropyLossConfig, Reduction},
    tensor::{DType, Device, Int, Tensor, TensorData},
};

use crate::support::{loss_reference::*, values::*};

const SHAPE: [usize; 3] = [2, 3, 5];
const TARGETS: [i64; 6] = [4, -100, 0, 2, 2, -100];
const COUNTED: usize = 4;

fn targets(values: &[i64], device: &Device) -> Tensor<2, Int> {
    Tensor::from_data(TensorData::new(values.to_vec(), [2, 3]), device)
}

/// Returns logits with a standard deviation of 2.
fn logits() -> Vec<f32> {
    normal(30, 11).into_iter().map(|v| 20.0 * v).collect()
}

/// Log-sum-exp of one position, its probabilities, and the range of its logits.
fn softmax(x: &[f64]) -> (f64, Vec<f64>, f64) {
    let max = x.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let min = x.iter().copied().fold(f64::INFINITY, f64::min);
    let sum: f64 = x.iter().map(|v| (v - max).exp()).sum();
    let lse = max + sum.ln();
    (lse, x.iter().map(|v| (v - lse).exp()).collect(), max - min)
}

/// Sum over the positions that count, as PyTorch defines it: the cross-entropy to a one-hot target
/// mixed with a uniform one, and the z-loss; divided by `divisor`.
fn reference(
    logits: &[f64],
    vocab: usize,
    targets: &[i64],
    config: &CausalLmLoss,
    divisor: f64,
) -> Reference {
    let (mut value, mut gradient) = (0.0, vec![0.0; logits.len()]);
    let epsilon = config.label_smoothing;
    for (position, &target) in targets.iter().enumerate() {
        if Some(target) == config.ignore_index {
            continue;
        }
        let start = position * vocab;
        let (lse, p, _) = softmax(&logits[start..start + vocab]);
        value += config.z_loss * lse * lse / divisor;
        for j in 0..vocab {
            let one_hot = f64::from(u8::from(j as i64 == target));
            let wanted = (1.0 - epsilon) * one_hot + epsilon / vocab as f64;
            value += wanted * (lse - logits[start + j]) / divisor;
            let slope = p[j] - wanted + 2.0 * config.z_loss * lse * p[j];
            gradient[start + j] = slope / divisor;
        }
    }
    (value, gradient)
}

/// Error bounds of the loss of a position and of its gradient, in `f32`.
///
/// With logits in a range `R`, a difference to the largest has error `R u`, `exp` of it that and
/// `3 + 2 R` units in the last place (what WGSL allows) of two `u`; a sum of `V` of them adds
/// `V u`, its logarithm `2^-21 = 8 u`, the rest of the formula less than `16 u + R u`: together
/// less than `(V + 6 R + 32) u`, relative for probabilities and absolute for the loss. The z-loss
/// is a square: `2 |lse|` times that, and four roundings.
fn bounds(logits: &[f64], vocab: usize, config: &CausalLmLoss, counted: usize) -> (f64, f64) {
    let (mut value, mut gradient) = (0.0f64, 0.0f64);
    for x in logits.chunks(vocab) {
        let (lse, _, range) = softmax(x);
        // The largest logit is exact, but its sum with the logarithm is rounded to its size.
        let unit = ROUNDING * (vocab as f64 + 6.0 * range + 32.0);
        let unit_lse = unit + ROUNDING * lse.abs();
        let z = config.z_loss * (2.0 * lse.abs() * unit_lse + 4.0 * ROUNDING * lse * lse);
        // The terms are summed: one rounding of at most the largest sum per position.
        let sum = counted as f64 * ROUNDING * (range + lse.abs() + config.z_loss * lse * lse);
        value = value.max(unit + z + sum);
        let slope = unit + 2.0 * config.z_loss * (lse.abs() * unit + unit_lse);
        gradient = gradient.max(slope);
    }
    (value, gradient)
}

fn configs() -> Vec<CausalLmLoss> {
    let plain = CausalLmLoss::new;
    vec![
        plain(),
        plain().with_label_smoothing(0.1),
        plain().with_label_smoothing(1.0),
        plain().with_z_loss(0.01),
        plain().with_label_smoothing(0.2).with_z_loss(0.5),
    ]
}

#[test]
fn the_reference_has_the_slope_of_its_value() {
    for config in configs() {
        let loss = |x: &[f64]| reference(x, 5, &TARGETS, &config, COUNTED as f64);
        assert_consistent(loss, &wide(&logits()), 10.0);
    }
}

#[test]
fn values_and_gradients_equal_the_reference() {
    for config in configs() {
        for dtype in float_types(&Device::default()) {
            let logits = rounded(&logits(), dtype);
            let loss = &config;
            let (value, gradient) = evaluate(&logits, SHAPE, dtype, |x| {
                let targets = targets(&TARGETS, &x.device());
                loss.forward(x, targets)
            });
            let logits = wide(&logits);
            let expected = reference(&logits, 5, &TARGETS, &config, COUNTED as f64);
            let (bound, slope) = bounds(&logits, 5, &config, COUNTED);
            let what = format!("{config:?} {dtype:?}");
            assert_near(value, expected.0, bound, &what);
            let slope = slope / COUNTED as f64;
            assert_gradient(&gradient, &expected.1, dtype, |_| slope, &what);
        }
    }
}

#[test]
fn reductions_divide_the_sum_by_what_they_say() {
    let device = Device::default();
    let x = tensor(&logits(), SHAPE, DType::F32, &device);
    let reductions = [
        (Reduction::Sum, 1.0),
        (Reduction::BatchMean, 2.0),
        (Reduction::Mean, COUNTED as f64),
        (Reduction::Auto, COUNTED as f64),
    ];
    for (reduction, divisor) in reductions {
        let config = CausalLmLoss::new()
            .with_z_loss(0.01)
            .with_label_smoothing(0.1)
            .with_reduction(reduction);
        let loss = &config;
        let value = loss.forward(x.clone(), targets(&TARGETS, &device));
        let logits = wide(&logits());
        let (expected, _) = reference(&logits, 5, &TARGETS, &config, divisor);
        let bound = bounds(&logits, 5, &config, COUNTED).0 * COUNTED as f64 / divisor;
        let what = format!("{:?}", config.reduction);
        assert_near(value.into_scalar::<f32>() as f64, expected, bound, &what);
    }
}

#[test]
fn without_ignored_positions_all_count_and_a_token_can_be_ignored() {
    let device = Device::default();
    let all = [4, 1, 0, 2, 2, 3];
    for (ignore_index, counted) in [(None, 6.0), (Some(-100), 6.0), (Some(2), 4.0)] {
        let config = CausalLmLoss::new().with_ignore_index(ignore_index);
        let x = tensor(&logits(), SHAPE, DType::F32, &device);
        let value = config.forward(x, targets(&all, &device));
        let logits = wide(&logits());
        let (expected, _) = reference(&logits, 5, &all, &config, counted);
        let (bound, _) = bounds(&logits, 5, &config, 6);
        let value = value.into_scalar::<f32>() as f64;
        assert_near(value, expected, bound, &format!("{ignore_index:?}"));
    }
}

#[test]
fn without_positions_that_count_loss_and_gradients_are_zero() {
    for config in configs() {
        for reduction in [Reduction::Mean, Reduction::Sum, Reduction::BatchMean] {
            let loss = config.clone().with_reduction(reduction);
            let (value, gradient) = evaluate(&logits(), SHAPE, DType::F32, |x| {
                let targets = targets(&[-100; 6], &x.device());
                loss.forward(x, targets)
            });
            assert_eq!(value, 0.0, "{loss:?}");
            assert_equal(&gradient, &[0.0; 30], "gradient");
        }
    }
}

#[test]
fn a_batch_of_nothing_has_loss_zero() {
    let device = Device::default();
    for ignore_index in [None, Some(-100)] {
        let loss = CausalLmLoss::new().with_ignore_index(ignore_index);
        for [batch, positions] in [[0, 3], [2, 0]] {
            let logits = Tensor::zeros([batch, positions, 5], &device);
            let targets = Tensor::zeros([batch, positions], &device);
            let value = loss.forward(logits, targets).into_scalar::<f32>();
            assert_eq!(value, 0.0, "{batch} x {positions}");
        }
    }
}

#[test]
fn logits_of_ten_thousand_are_computed_to_the_last_digits() {
    // Their exponential is far beyond f32, and so is that of their differences.
    let logits: Vec<f32> = (0..30).map(|i| 1e4 * ((i * 7 % 11) as f32 - 5.0)).collect();
    for config in [
        CausalLmLoss::new(),
        CausalLmLoss::new().with_label_smoothing(0.1),
        CausalLmLoss::new().with_z_loss(1e-4),
    ] {
        let loss = &config;
        let (value, gradient) = evaluate(&logits, SHAPE, DType::F32, |x| {
            let targets = targets(&TARGETS, &x.device());
            loss.forward(x, targets)
        });
        let logits = wide(&logits);
        let expected = reference(&logits, 5, &TARGETS, &config, COUNTED as f64);
        // The derivation above for exponentials that are 0 or 1: the range does not enter them,
        // and the rest is relative.
        let bound = 32.0 * ROUNDING;
        let what = format!("{config:?}");
        assert_near(value, expected.0, bound * expected.0, &what);
        assert_gradient(
            &gradient,
            &expected.1,
            DType::F32,
            |i| bound * (1.0 + expected.1[i].abs()),
            &what,
        );
    }
}

#[test]
fn a_close_race_of_huge_logits_keeps_its_difference() {
    // 30000 and 30001 have a loss of ln(1 + e) and ln(1 + 1/e); their difference is exact.
    let device = Device::default();
    for (target, expected) in [(0, 1.3132616875182228), (1, 0.31326168751822286)] {
        let logits = Tensor::<3>::from_floats([[[30000.0, 30001.0]]], &device);
        let targets = Tensor::<2, Int>::from_ints([[target]], &device);
        let loss = CausalLmLoss::new().forward(logits, targets);
        let bound = ROUNDING * (2.0 + 6.0 + 32.0);
        assert_near(loss.into_scalar::<f32>() as f64, expected, bound, "loss");
    }
}

#[test]
fn a_token_that_is_masked_out_has_no_gradient() {
    // As in a padded vocabulary.
    let logits = [1.0, f32::NEG_INFINITY, 2.0];
    let (value, gradient) = evaluate(&logits, [1, 1, 3], DType::F32, |x| {
        let targets = Tensor::<2, Int>::from_ints([[2]], &x.device());
        CausalLmLoss::new().with_z_loss(0.1).forward(x, targets)
    });
    let config = CausalLmLoss::new().with_z_loss(0.1);
    let kept = [1.0, 2.0];
    let expected = reference(&kept, 2, &[1], &config, 1.0);
    let (bound, slope) = bounds(&kept, 2, &config, 1);
    assert_near(value, expected.0, bound, "loss");
    let expected = [expected.1[0], 0.0, expected.1[1]];
    assert_gradient(&gradient, &expected, DType::F32, |_| slope, "masked");
}

#[test]
fn it_agrees_with_the_cross_entropy_of_burn() {
    let device = Device::default();
    let ids = [4, 1, 0, 2, 2, 1];
    for smoothing in [None, Some(0.25)] {
        let config = CausalLmLoss::new()
            .with_ignore_index(Some(1))
            .with_label_smoothing(smoothing.unwrap_or(0.0));
        let x = tensor(&logits(), SHAPE, DType::F32, &device);
        let actual = config
            .forward(x.clone(), targets(&ids, &device))
            .into_scalar::<f32>();
        let burn = CrossEntropyLossConfig::new()
            .with_pad_tokens(Some(vec![1]))
            .with_smoothing(smoothing.map(|epsilon| epsilon as f32))
            .init(&device);
        let targets = targets(&ids, &device).reshape([6]);
        let expected = burn
            .forward(x.reshape([6, 5]), targets)
            .into_scalar::<f32>();
        // Each is within the bound of the true value.
        let bound = 2.0 * bounds(&wide(&logits()), 5, &config, 4).0;
        assert_near(actual as f64, expected as f64, bound, "loss");
    }
}

#[test]
#[should_panic(expected = "expected 3, got 4")]
fn targets_of_another_shape_are_refused() {
    let device = Device::default();
    let logits = Tensor::<3>::zeros([2, 3, 5], &device);
    let targets = Tensor::<2, Int>::zeros([2, 4], &device);
    CausalLmLoss::new().forward(logits, targets);
}

#[test]
#[should_panic(expected = "logits of shape [2, 3, 0] have no vocabulary")]
fn an_empty_vocabulary_is_refused() {
    let device = Device::default();
    let logits = Tensor::<3>::zeros([2, 3, 0], &device);
    let targets = Tensor::<2, Int>::zeros([2, 3], &device);
    CausalLmLoss::new().forward(logits, targets);
}

#[test]
#[should_panic(expected = "label_smoothing must be in [0, 1], got 1.5")]
fn a_smoothing_above_one_is_refused() {
    let _ = CausalLmLoss::new().with_label_smoothing(1.5);
}

#[test]
#[should_panic(expected = "z_loss must be zero or above and finite, got -1")]
fn a_negative_z_loss_is_refused() {
    let _ = CausalLmLoss::new().with_z_loss(-1.0);
}
