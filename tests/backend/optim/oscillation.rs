//! Tracking and freezing of oscillating weights, against the algorithm written for one weight.

use bitnet_burn::{
    functions::{Groups, ternary_fake_quant},
    optim::{
        FreezingThreshold, OscillationFreezingConfig, OscillationMonitor, QatOptimizer,
        QatOptimizerConfig,
    },
};
use burn::{
    optim::{Optimizer, Sgd, SgdConfig},
    tensor::{DType, Device, Tensor},
};

use crate::support::values::*;

fn sgd(
    momentum: f64,
    threshold: FreezingThreshold,
    monitor: &OscillationMonitor,
) -> QatOptimizer<Sgd> {
    let freezing = OscillationFreezingConfig::new()
        .with_momentum(momentum)
        .with_threshold(threshold);
    QatOptimizerConfig::new()
        .with_freezing(Some(freezing))
        .build(SgdConfig::new().build())
        .with_monitor(monitor)
        .for_latent_weights()
}

/// `mean|w|` and the ternary codes of all weights.
fn ternary(weights: &[f64]) -> (f64, Vec<f64>) {
    let gamma = weights.iter().map(|w| w.abs()).sum::<f64>() / weights.len() as f64;
    let code = |w: &f64| (w / gamma).round_ties_even().clamp(-1.0, 1.0);
    (gamma, weights.iter().map(code).collect())
}

/// Reference implementation of Nagel et al., weight by weight.
struct Reference {
    weights: Vec<f64>,
    codes: Vec<f64>,
    directions: Vec<f64>,
    frequencies: Vec<f64>,
    means: Vec<f64>,
    frozen: Vec<bool>,
    steps: usize,
    /// Flips, oscillations and frozen weights, summed over the steps.
    counts: [usize; 3],
}

impl Reference {
    fn new(weights: &[f32]) -> Self {
        let weights: Vec<f64> = weights.iter().map(|&w| w.into()).collect();
        let codes = ternary(&weights).1;
        let n = weights.len();
        Self {
            means: codes.clone(),
            codes,
            directions: vec![0.0; n],
            frequencies: vec![0.0; n],
            frozen: vec![false; n],
            weights,
            steps: 0,
            counts: [0; 3],
        }
    }

    fn step(&mut self, grads: &[f32], lr: f64, momentum: f64, threshold: FreezingThreshold) {
        let threshold = threshold.at(self.steps);
        self.steps += 1;
        for (i, &grad) in grads.iter().enumerate() {
            if !self.frozen[i] {
                self.weights[i] -= lr * f64::from(grad);
            }
        }
        let (gamma, codes) = ternary(&self.weights);
        for (i, new_code) in codes.into_iter().enumerate() {
            let mut centre = self.frozen[i] && new_code != self.codes[i];
            let mut code = match self.frozen[i] {
                true => self.codes[i],
                false => new_code,
            };
            let direction = match code - self.codes[i] {
                0.0 => 0.0,
                change => change.signum(),
            };
            let oscillated = direction * self.directions[i] == -1.0;
            if direction != 0.0 {
                self.directions[i] = direction;
            }
            let frequency = &mut self.frequencies[i];
            *frequency = momentum * f64::from(oscillated as u8) + (1.0 - momentum) * *frequency;
            if *frequency > threshold && !self.frozen[i] {
                self.frozen[i] = true;
                centre = true;
                code = self.means[i].round_ties_even();
            }
            self.means[i] = momentum * code + (1.0 - momentum) * self.means[i];
            self.codes[i] = code;
            if centre {
                self.weights[i] = code * gamma;
            }
            self.counts[0] += (direction != 0.0) as usize;
            self.counts[1] += oscillated as usize;
            self.counts[2] += self.frozen[i] as usize;
        }
    }
}

#[test]
fn every_step_is_that_of_the_algorithm_for_one_weight() {
    let device = Device::default();
    let (shape, lr, momentum) = ([4, 6], 1.0, 0.25);
    let threshold = FreezingThreshold::Cosine {
        start: 0.6,
        end: 0.3,
        total_steps: 24,
    };
    let monitor = OscillationMonitor::new();
    let optimizer = sgd(momentum, threshold, &monitor);
    let start = normal(24, 21);
    let mut reference = Reference::new(&start);
    let mut weight = tensor(&start, shape, DType::F32, &device);
    let mut state = None;
    for step in 0..32u64 {
        let grads = normal(24, 1000 + step);
        let grad = tensor(&grads, shape, DType::F32, &device);
        (weight, state) = optimizer.step(lr, weight, grad, state);
        reference.step(&grads, lr, momentum, threshold);

        let state = state.as_ref().unwrap().oscillation.as_ref().unwrap();
        let what = |part: &str| format!("{part} after step {step}");
        let frozen: Vec<bool> = state.frozen.to_data().iter().collect();
        assert_equal(&frozen, &reference.frozen, &what("frozen"));
        let single = |values: &[f64]| values.iter().map(|&v| v as f32).collect::<Vec<f32>>();
        let exact = [
            ("codes", &state.codes, &reference.codes),
            ("directions", &state.direction, &reference.directions),
        ];
        for (part, actual, expected) in exact {
            assert_equal(&floats(actual.clone()), &single(expected), &what(part));
        }
        // Two products and a sum per step are rounded, of values not above 1, and the errors shrink by
        // 1 - momentum each step: their sum is at most 3 / momentum roundings.
        let close = [
            ("frequencies", &state.frequency, &reference.frequencies),
            ("means", &state.mean_code, &reference.means),
        ];
        for (part, actual, expected) in close {
            let bound = |_: usize| 3.0 / momentum * ROUNDING;
            assert_within(
                &floats(actual.clone()),
                &single(expected),
                bound,
                &what(part),
            );
        }
        // A difference and a product are rounded in each step, of values below 2, and a scale is a
        // mean of 24 of them.
        let bound = |_: usize| 2.0 * (3.0 * (step + 1) as f64 + 26.0) * ROUNDING;
        let weights = single(&reference.weights);
        assert_within(&floats(weight.clone()), &weights, bound, &what("weights"));
    }
    let frozen = reference.frozen.iter().filter(|&&frozen| frozen).count();
    println!("{frozen} of 24 weights are frozen");
    assert!((4..24).contains(&frozen), "{frozen}");

    let report = monitor.take().unwrap();
    let part = |i: usize| reference.counts[i] as f64 / (24.0 * 32.0);
    assert_eq!(report.flipped, part(0));
    assert_eq!(report.oscillated, part(1));
    assert_eq!(report.frozen, part(2));
}

#[test]
fn a_frozen_weight_takes_no_update() {
    let device = Device::default();
    let optimizer = sgd(
        0.5,
        FreezingThreshold::Constant(0.4),
        &OscillationMonitor::new(),
    );
    // The scale is near 1, held by the seven others; the first weight crosses 0.5 and comes back.
    let weight = [0.4, 1.0, -1.0, 1.0, 1.2, -1.1, 0.9, 1.0];
    let mut weight = tensor(&weight, [2, 4], DType::F32, &device);
    let mut state = None;
    let first = |value: f32| {
        let mut grad = [0.0; 8];
        grad[0] = value;
        tensor(&grad, [2, 4], DType::F32, &device)
    };
    for grad in [-0.2, 0.2] {
        (weight, state) = optimizer.step(1.0, weight, first(grad), state);
    }
    // Up and down again is one oscillation: f = 0.5. The codes were 0, 1, 0, their mean 0.5 before
    // the last, which rounds to 0.
    let frozen = floats(weight.clone());
    assert_eq!(frozen[0], 0.0);
    for grad in [-0.2, -0.7, 5.0] {
        (weight, state) = optimizer.step(1.0, weight, first(grad), state);
        assert_equal(&floats(weight.clone()), &frozen, "weights");
    }
}

#[test]
fn scales_do_not_shrink_when_every_nonzero_weight_is_frozen() {
    let device = Device::default();
    // One oscillation exceeds the threshold; a weight that went from code 1 to -1 and back is frozen to
    // round(0.8 - 0.2) = 1.
    let optimizer = sgd(
        0.2,
        FreezingThreshold::Constant(0.15),
        &OscillationMonitor::new(),
    );
    let start = normal(24, 31);
    let mut weight = tensor(&start, [4, 6], DType::F32, &device);
    let mut state = None;
    let mut step = |weight: Tensor<2>, grad: &[f32]| {
        let grad = tensor(grad, [4, 6], DType::F32, &device);
        let (weight, new) = optimizer.step(1.0, weight, grad, state.take());
        state = new;
        let state = state.as_ref().unwrap().oscillation.as_ref().unwrap();
        let frozen: Vec<bool> = state.frozen.to_data().iter().collect();
        (weight, frozen.iter().filter(|&&frozen| frozen).count())
    };
    let gamma = |weight: &Tensor<2>| {
        ternary_fake_quant(weight.clone(), Groups::per_tensor(24))
            .1
            .into_scalar::<f32>()
    };
    let before = gamma(&weight);
    // Each weight is mirrored and back.
    let mut frozen = 0;
    for _ in 0..12 {
        let mirror: Vec<f32> = floats(weight.clone()).iter().map(|w| 2.0 * w).collect();
        (weight, frozen) = step(weight, &mirror);
    }
    assert!(frozen >= 12, "{frozen} of 24 are frozen");
    for _ in 0..50 {
        (weight, _) = step(weight, &[0.0; 24]);
    }
    // Set to the centers of their codes once, the frozen weights keep at least their share; set
    // anew at each step, they would multiply the scale by that share each time.
    let after = gamma(&weight);
    assert!(after > 0.5 * before, "{before} became {after}");
}

/// Trains `x Q(w)` to the outputs of weights that are not ternary, with a learning rate at which
/// the weights near a threshold jump across it; returns the flip rate of the last half, counted
/// from the codes of the forward passes, and the last loss.
fn toy_run(threshold: FreezingThreshold) -> (f64, f32) {
    let device = Device::default().autodiff();
    let (n, d_input, d_output) = (16, 8, 4);
    let x: Vec<f32> = normal(n * d_input, 41).iter().map(|v| 10.0 * v).collect();
    let x = tensor(&x, [n, d_input], DType::F32, &device);
    let target = tensor(&normal(32, 42), [d_input, d_output], DType::F32, &device);
    // A matrix product in elementary operations, which every backend compiles quickly.
    let outputs = |w: Tensor<2>| -> Tensor<2> {
        let products: Tensor<3> = x.clone().unsqueeze_dim::<3>(2) * w.unsqueeze_dim::<3>(0);
        products.sum_dim(1).squeeze_dim(1)
    };
    let y = outputs(target);

    let monitor = OscillationMonitor::new();
    let optimizer = sgd(0.1, threshold, &monitor);
    let mut weight = tensor(&normal(32, 43), [d_input, d_output], DType::F32, &device).inner();
    let mut state = None;
    let (steps, mut flips, mut loss_value) = (80, 0, 0.0);
    let mut codes: Vec<i8> = Vec::new();
    for step in 0..steps {
        let leaf = Tensor::<2>::from_inner(weight.clone()).require_grad();
        let (quantized, _) = ternary_fake_quant(leaf.clone(), Groups::per_tensor(32));
        let sign = |v: f32| (v > 0.0) as i8 - (v < 0.0) as i8;
        let new: Vec<i8> = floats(quantized.clone()).into_iter().map(sign).collect();
        if step > steps / 2 {
            flips += new.iter().zip(&codes).filter(|(a, b)| a != b).count();
        }
        codes = new;
        let loss = (outputs(quantized) - y.clone()).square().mean();
        loss_value = loss.clone().into_scalar::<f32>();
        let grad = leaf.grad(&loss.backward()).unwrap();
        (weight, state) = optimizer.step(0.3, weight, grad, state);
    }
    let report = monitor.take().unwrap();
    println!("{threshold:?}: loss {loss_value}, {report:?}");
    (flips as f64 / (32 * (steps / 2 - 1)) as f64, loss_value)
}

#[test]
fn freezing_lowers_the_flip_rate() {
    let (free, loss_free) = toy_run(FreezingThreshold::Never);
    let (frozen, loss_frozen) = toy_run(FreezingThreshold::Constant(0.15));
    println!("flip rate {free:.4} without, {frozen:.4} with freezing");
    assert!(free > 0.02, "nothing flips: {free}");
    assert!(
        frozen < free / 4.0,
        "{free} without, {frozen} with freezing"
    );
    assert!(
        loss_frozen < 2.0 * loss_free,
        "{loss_free} became {loss_frozen}"
    );
}

#[test]
fn the_threshold_follows_half_a_cosine_and_stays_at_its_end() {
    let threshold = FreezingThreshold::Cosine {
        start: 0.04,
        end: 0.01,
        total_steps: 100,
    };
    let expected = [(0, 0.04), (50, 0.025), (100, 0.01), (1000, 0.01)];
    for (step, value) in expected {
        let at = threshold.at(step);
        assert!((at - value).abs() < 1e-15, "step {step}: {at}");
    }
    assert_eq!(FreezingThreshold::Never.at(5), f64::INFINITY);
}

#[test]
fn the_configuration_reads_back_from_json() {
    let json = r#"{"momentum": 0.02, "threshold": {"constant": 0.05}}"#;
    let config: OscillationFreezingConfig = serde_json::from_str(json).unwrap();
    assert_eq!(
        config,
        OscillationFreezingConfig::new()
            .with_momentum(0.02)
            .with_threshold(FreezingThreshold::Constant(0.05))
    );
}
