//! Dropout with gradient checkpointing. A separate program with one test at a time, since a device has one sequence of
//! random numbers for all threads.

use std::sync::{
    Arc, Mutex, MutexGuard, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, Projection},
    peft::{AdaLoraConfig, LoraConfig, PeftConfig, TargetModules},
    train::LanguageModel,
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, Distribution, Tensor},
};

#[allow(
    dead_code,
    unused_imports,
    unused_macros,
    reason = "other binaries use the rest"
)]
mod support;

use support::steps::*;

fn alone() -> MutexGuard<'static, ()> {
    static DEVICE: Mutex<()> = Mutex::new(());
    DEVICE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Returns the step of a seed, and the first random number after it.
fn step<P: Projection>(model: &LanguageModel<P>, seed: u64) -> (Step, u32) {
    let device = Device::default();
    device.seed(seed);
    let step = Step::of(model);
    let next = Tensor::<1>::random([1], Distribution::Default, &device);
    (step, bits(next)[0])
}

#[test]
fn a_block_that_is_computed_again_draws_the_same_numbers() {
    let _alone = alone();
    let lora = || LoraConfig::new(2).with_targets(TargetModules::AllLinear);
    let names = ["embed_tokens", "lm_head", "q_proj", "v_proj"];
    let ends = LoraConfig::new(2).with_targets(TargetModules::names(names));
    let ada_lora = AdaLoraConfig::new(100).with_ranks(3, 2);
    let methods: [PeftConfig; 4] = [
        lora().with_dropout(0.3).into(),
        lora().with_dora().with_dropout(0.2).into(),
        ends.with_dropout(0.4).into(),
        ada_lora
            .with_targets(TargetModules::AllLinear)
            .with_dropout(0.3)
            .into(),
    ];
    let lm = model::<Linear>(&config().with_tied_embeddings(false));
    for method in methods {
        let (lm, _) = lm.clone().with_adapter("default", &method).unwrap();
        let plain = LanguageModel::new(lm.map(&mut DrawTrained(90)));
        let on = plain.clone().with_gradient_checkpointing(true);
        let expected = step(&plain, 17);
        assert_eq!(step(&on, 17), expected, "{method:?}");
        assert_ne!(step(&on, 18).0.loss, expected.0.loss, "{method:?}");
    }
    // Latent weights quantize the inputs beside the adapter.
    let (lm, _) = model::<BitLinear>(&config())
        .with_adapter("default", lora().with_dropout(0.3))
        .unwrap();
    let plain = LanguageModel::new(lm.map(&mut DrawTrained(91)));
    let on = plain.clone().with_gradient_checkpointing(true);
    assert_eq!(step(&on, 17), step(&plain, 17));
}

#[test]
fn a_model_without_dropout_leaves_the_random_numbers_alone() {
    let _alone = alone();
    let lora = LoraConfig::new(2).with_targets(TargetModules::AllLinear);
    let (lm, _) = model::<Linear>(&config())
        .with_adapter("default", lora)
        .unwrap();
    let device = Device::default();
    device.seed(17);
    let first = bits(Tensor::<1>::random([1], Distribution::Default, &device));
    for is_on in [false, true] {
        let model = LanguageModel::new(lm.clone()).with_gradient_checkpointing(is_on);
        assert_eq!(step(&model, 17).1, first[0], "{is_on}");
    }
}

/// A projection that draws more numbers each time.
#[derive(Module, Debug)]
struct Unsteady {
    linear: Linear,
    #[module(skip)]
    calls: Arc<AtomicUsize>,
}

impl Projection for Unsteady {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        let calls = self.calls.fetch_add(1, Ordering::SeqCst);
        let _ = Tensor::<1>::random([1 + calls], Distribution::Default, &x.device());
        Projection::forward(&self.linear, x)
    }

    fn draws_random_numbers(&self) -> bool {
        true
    }
}

#[test]
#[should_panic(expected = "a block draws the same random numbers when it is computed again")]
fn other_numbers_are_refused() {
    let _alone = alone();
    let lm: BitNetLm<Unsteady> = model::<Linear>(&config()).map_projections(|_, linear| Unsteady {
        linear,
        calls: Arc::default(),
    });
    Step::of(&LanguageModel::new(lm).with_gradient_checkpointing(true));
}
