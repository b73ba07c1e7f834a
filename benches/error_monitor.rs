//! Cost of measuring quantization errors: a step of a two-layer language model without and with it.
//! `cargo bench --features text --bench error_monitor`

use bitnet_burn::{
    nn::{BitLinear, BitNetLmConfig},
    qat::QuantControls,
    text::dataset::RandomWindowsConfig,
    train::LanguageModel,
};
use burn::{
    tensor::Device,
    train::{TrainOutput, TrainStep},
};
use divan::Bencher;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Tokens per window, and windows per batch.
const CONTEXT: usize = 64;
const BATCH: usize = 32;
/// Number of tokens, equal to the number of characters of an English text.
const VOCAB_SIZE: usize = 65;

fn main() {
    divan::main();
}

/// Computes a forward and backward pass, and optionally the report of the quantizers.
fn step(bencher: Bencher, measures: bool) {
    let device = Device::default().autodiff();
    let lm = BitNetLmConfig::new(VOCAB_SIZE, 128, 2, 4, 384)
        .with_max_positions(CONTEXT)
        .with_tied_embeddings(false)
        .init::<BitLinear>(&device);
    let model = LanguageModel::new(lm);
    let controls = QuantControls::of(&model);
    let tokens: Vec<u32> = (0..10_000u32).map(|i| i * i % VOCAB_SIZE as u32).collect();
    let windows = RandomWindowsConfig::new(CONTEXT, BATCH, 1).init(tokens, &device);
    let batch = windows.and_then(|windows| windows.batch(0));
    let batch = batch.expect("enough tokens for a window");
    bencher.bench_local(|| {
        if measures {
            controls.request_errors();
        }
        let TrainOutput { grads, item } = TrainStep::step(&model, batch.clone());
        let loss = item.mean.into_scalar::<f32>();
        let errors = controls.collect_errors().expect("values of the device");
        assert_eq!(errors.len(), if measures { controls.len() } else { 0 });
        (grads, loss, errors)
    });
}

#[divan::bench]
fn without(bencher: Bencher) {
    step(bencher, false);
}

#[divan::bench]
fn with(bencher: Bencher) {
    step(bencher, true);
}
