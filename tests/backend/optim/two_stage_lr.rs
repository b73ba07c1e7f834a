//! BitNet's schedule of learning rates.

use core::f64::consts::PI;

use bitnet_burn::optim::{LrDecay, TwoStageLrSchedulerConfig};
use burn::lr_scheduler::{LrScheduler, LrSchedulerRecord};

fn config() -> TwoStageLrSchedulerConfig {
    TwoStageLrSchedulerConfig::new(1.2e-3, 8e-4, 1375)
}

#[track_caller]
fn check(config: &TwoStageLrSchedulerConfig, expected: &[(usize, f64)]) {
    for &(step, value) in expected {
        let lr = config.learning_rate(step);
        assert!((lr - value).abs() < 1e-15, "step {step}: {lr:e}, {value:e}");
    }
}

#[test]
fn the_linear_recipe_has_its_values_at_the_edges() {
    // 375 steps of warm-up, 1000 of decay, the drop at step 687.
    let expected = [
        (0, 1.2e-3 / 375.0),
        (374, 1.2e-3),
        (375, 1.2e-3),
        (686, 1.2e-3 * 0.689),
        (687, 8e-4 * 0.688),
        (1374, 8e-4 * 0.001),
        (1375, 0.0),
        (5000, 0.0),
    ];
    check(&config(), &expected);
}

#[test]
fn the_cosine_recipe_has_its_values_at_the_edges() {
    let config = config()
        .with_decay(LrDecay::Cosine)
        .with_second_stage(Some(875));
    let half = |part: f64| (1.0 + (PI * part).cos()) / 2.0;
    let expected = [
        (374, 1.2e-3),
        (375, 1.2e-3),
        (874, 1.2e-3 * half(0.499)),
        (875, 8e-4 * 0.5),
        (1374, 8e-4 * half(0.999)),
        (1375, 0.0),
    ];
    check(&config, &expected);
}

#[test]
fn without_warm_up_it_starts_at_the_peak() {
    let config = TwoStageLrSchedulerConfig::new(1.0, 0.5, 10).with_warmup_steps(0);
    let mut scheduler = config.init();
    let lrs: Vec<f64> = (0..11).map(|_| scheduler.step()).collect();
    let expected = [1.0, 0.9, 0.8, 0.7, 0.6, 0.25, 0.2, 0.15, 0.1, 0.05, 0.0];
    for (lr, expected) in lrs.iter().zip(expected) {
        assert!((lr - expected).abs() < 1e-15, "{lrs:?}");
    }
}

#[test]
fn a_scheduler_goes_on_from_its_record() {
    let mut scheduler = config().init();
    for _ in 0..690 {
        scheduler.step();
    }
    let bytes = scheduler.to_record().into_bytes().unwrap();
    let mut restored = config().init();
    restored.load_record(LrSchedulerRecord::from_bytes(bytes).unwrap());
    assert_eq!(restored.step(), config().learning_rate(690));
    assert_eq!(scheduler.step(), config().learning_rate(690));
}

#[test]
#[should_panic(expected = "got 375 of 100 steps")]
fn a_warm_up_longer_than_the_training_is_refused() {
    TwoStageLrSchedulerConfig::new(1e-3, 1e-4, 100).init();
}
