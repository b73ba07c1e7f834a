//! Learning rates of a configured training, by step.

use bitnet_burn::train::config::LearningRateConfig;

fn rates(config: &LearningRateConfig, total_steps: usize, steps: usize) -> Vec<f64> {
    let mut scheduler = config.init(total_steps, &Default::default()).unwrap();
    (0..steps).map(|_| scheduler.step().base()).collect()
}

fn cosine(warm_up_steps: usize, end: f64) -> LearningRateConfig {
    LearningRateConfig::Cosine {
        peak: 2e-3,
        warm_up_steps,
        end,
    }
}

#[track_caller]
fn check(rates: &[f64], expected: &[f64]) {
    assert_eq!(rates.len(), expected.len());
    for (step, (rate, expected)) in rates.iter().zip(expected).enumerate() {
        let close = (rate - expected).abs() < 1e-15;
        assert!(close, "step {step}: {rate}, expected {expected}");
    }
}

/// `torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, t_max, eta_min)` after `step` of its steps.
fn cosine_annealing_lr(base: f64, t_max: usize, eta_min: f64, step: usize) -> f64 {
    let angle = std::f64::consts::PI * step as f64 / t_max as f64;
    eta_min + (base - eta_min) * (1.0 + angle.cos()) / 2.0
}

#[test]
fn a_cosine_has_its_end_at_the_last_step_and_keeps_it() {
    for end in [0.0, 0.1, 1.0] {
        let rates = rates(&cosine(4, end), 10, 30);
        check(&rates[..4], &[5e-4, 1e-3, 1.5e-3, 2e-3]);
        let decay: Vec<f64> = (0..6)
            .map(|step| cosine_annealing_lr(2e-3, 5, end * 2e-3, step))
            .collect();
        check(&rates[4..10], &decay);
        assert_eq!(rates[9], end * 2e-3);
        assert!(
            rates[9..].iter().all(|&rate| rate == end * 2e-3),
            "{rates:?}"
        );
    }
}

#[test]
fn a_cosine_without_a_warm_up_goes_from_the_first_step_to_the_last() {
    let rates = rates(&cosine(0, 0.1), 5, 7);
    let decay: Vec<f64> = (0..5)
        .map(|step| cosine_annealing_lr(2e-3, 4, 2e-4, step))
        .collect();
    check(&rates[..5], &decay);
    check(&rates[4..], &[2e-4; 3]);
}

#[test]
fn the_shortest_trainings_have_a_rate_at_each_step() {
    check(&rates(&cosine(0, 0.1), 1, 3), &[2e-3; 3]);
    check(&rates(&cosine(0, 0.1), 2, 3), &[2e-3, 2e-4, 2e-4]);
    check(&rates(&cosine(1, 0.1), 2, 3), &[2e-3, 2e-4, 2e-4]);
    check(&rates(&cosine(2, 0.1), 3, 4), &[1e-3, 2e-3, 2e-4, 2e-4]);
}

#[test]
fn a_cosine_goes_on_from_its_record_in_each_stage() {
    let config = cosine(3, 0.1);
    let whole = rates(&config, 8, 12);
    for done in [2, 3, 5, 7, 9] {
        let mut scheduler = config.init(8, &Default::default()).unwrap();
        (0..done).for_each(|_| drop(scheduler.step()));
        let record = scheduler.to_record();
        let resumed = config.init(8, &Default::default()).unwrap();
        let mut resumed = resumed.load_record(record);
        let rest: Vec<f64> = (done..12).map(|_| resumed.step().base()).collect();
        assert_eq!(rest, whole[done..], "after {done} steps");
    }
}

#[test]
fn two_stages_end_above_zero_and_stay_at_zero_after_the_last_step() {
    let config = LearningRateConfig::TwoStage {
        peak_1: 2e-3,
        peak_2: 1e-3,
        warm_up_steps: 0,
        decay: bitnet_burn::optim::LrDecay::Linear,
    };
    let rates = rates(&config, 4, 6);
    check(&rates, &[2e-3, 1.5e-3, 5e-4, 2.5e-4, 0.0, 0.0]);
}
