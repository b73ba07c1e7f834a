//! Paged optimizer states: updates equal those of the same optimizer in memory, bit for bit.

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig},
    optim::{AdamW8bitConfig, PagedOptimizer, PagedOptimizerConfig, QatOptimizerConfig},
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer, Optimizer},
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

fn lm(device: &Device) -> BitNetLm {
    let config = BitNetLmConfig::new(20, 16, 2, 2, 32).with_max_positions(8);
    config.init(device).map(&mut Drawn::new(1, 0.1))
}

fn train(lm: BitNetLm, optimizer: &mut ModuleOptimizer, steps: usize) -> BitNetLm {
    let device = Device::default().autodiff();
    let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3, 4], [9, 8, 7, 6]], &device);
    (0..steps).fold(lm, |lm, _| {
        let loss = lm.forward(tokens.clone()).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &lm);
        optimizer.step(1e-2, lm, grads)
    })
}

/// Returns all parameters, concatenated.
fn parameters(lm: &BitNetLm) -> Vec<f32> {
    struct Values(Vec<f32>);
    impl ModuleVisitor for Values {
        fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
            self.0.extend(floats(param.val()));
        }
    }
    let mut values = Values(Vec::new());
    lm.visit(&mut values);
    values.0
}

fn steps() -> usize {
    if on_cubecl_cpu() { 2 } else { 5 }
}

/// Trains with `inner` in memory and paged with several budgets.
fn check<O: Optimizer + 'static>(inner: O, budgets: &[u64]) {
    let device = Device::default().autodiff();
    let start = lm(&device);
    let expected = train(start.clone(), &mut inner.clone().into(), steps());
    let expected = parameters(&expected);
    for &budget in budgets {
        let config = PagedOptimizerConfig::new(std::env::temp_dir()).with_budget(budget);
        let paged = config.build(inner.clone()).unwrap();
        let mut optimizer = ModuleOptimizer::from(paged.clone());
        let trained = train(start.clone(), &mut optimizer, steps());
        assert_equal(
            &parameters(&trained),
            &expected,
            &format!("budget {budget}"),
        );
        assert_used(&paged, budget);
        // States move with the optimizer.
        drop(optimizer);
        assert_eq!(paged.bytes_in_memory(), 0);
    }
}

/// Asserts that memory and file sizes match the budget.
fn assert_used<O: Optimizer>(paged: &PagedOptimizer<O>, budget: u64) {
    let (memory, file) = (paged.bytes_in_memory(), paged.bytes_in_file());
    assert!(memory <= budget, "{memory} of {budget}");
    match budget {
        0 => assert!(file > 0),
        u64::MAX => assert_eq!(file, 0),
        _ => assert!(
            file > 0 && memory > budget / 2,
            "{memory} of {budget}, {file}"
        ),
    }
    assert!(paged.take_error().is_none());
}

#[test]
fn steps_of_burns_adamw_are_the_same() {
    check(AdamWConfig::new().build(), &[0, 20_000, u64::MAX]);
}

#[test]
fn steps_of_moments_of_8_bits_in_ours_are_the_same() {
    let inner = AdamW8bitConfig::new().with_min_8bit_size(256).build();
    check(QatOptimizerConfig::new().build(inner), &[0, 3000]);
}

fn paged() -> ModuleOptimizer {
    let config = PagedOptimizerConfig::new(std::env::temp_dir()).with_budget(5000);
    config.build(AdamWConfig::new().build()).unwrap().into()
}

#[test]
fn records_are_those_of_the_optimizer_inside_and_load_into_either() {
    let device = Device::default().autodiff();
    let mut inner: ModuleOptimizer = AdamWConfig::new().init();
    let mut optimizer = paged();
    let start = lm(&device);
    let trained = train(start.clone(), &mut inner, 2);
    train(start, &mut optimizer, 2);
    let expected = parameters(&train(trained.clone(), &mut inner, 2));

    let record = optimizer.to_record();
    let inner = AdamWConfig::new().init().load_record(record);
    let parameters_of = |mut optimizer| parameters(&train(trained.clone(), &mut optimizer, 2));
    assert_equal(&parameters_of(inner), &expected, "in memory");
    let loaded = paged().load_record(optimizer.to_record());
    assert_equal(&parameters_of(loaded), &expected, "in pages");
}

#[test]
fn clones_go_different_ways() {
    let device = Device::default().autodiff();
    let mut optimizer = paged();
    let trained = train(lm(&device), &mut optimizer, 2);
    let mut copy = optimizer.clone();
    let expected = parameters(&train(trained.clone(), &mut copy, 2));
    // The copy has stepped, with its own pages.
    assert_equal(
        &parameters(&train(trained, &mut optimizer, 2)),
        &expected,
        "the first",
    );
}

#[test]
fn a_folder_that_is_not_there_is_an_error() {
    let config = PagedOptimizerConfig::new("/no/such/folder");
    let error = config.build(AdamWConfig::new().build()).err().unwrap();
    let error = error.to_string();
    assert!(
        error.starts_with("cannot create optimizer pages in /no/such/folder: "),
        "{error}"
    );
}
