//! What measuring the errors of quantisation costs: a step of the language model of `train_lm`
//! without and with it. `cargo bench --bench error_monitor`

#[allow(dead_code)] // Its way of being trained is not that of a bench.
#[path = "../examples/train_lm/data.rs"]
mod data;
#[path = "../examples/train_lm/model.rs"]
mod model;

use bitnet_burn::{nn::BitLinear, qat::QuantControls};
use burn::{
    data::dataloader::DataLoader,
    tensor::Device,
    train::{TrainOutput, TrainStep},
};
use divan::Bencher;

use data::Corpus;
use model::LanguageModel;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() {
    divan::main();
}

/// A forward and backward pass, and the report of the quantisers if it is asked for.
fn step(bencher: Bencher, measures: bool) {
    let device = Device::default().autodiff();
    let corpus = Corpus::load(None).expect("the embedded text");
    let model = LanguageModel {
        lm: model::config(corpus.vocabulary.len()).init::<BitLinear>(&device),
    };
    let controls = QuantControls::of(&model);
    let loader = corpus.train_loader(0, 1).to_device(&device);
    let batch = loader.iter().next().expect("a batch").expect("in memory");
    bencher.bench_local(|| {
        if measures {
            controls.request_errors();
        }
        let TrainOutput { grads, item } = TrainStep::step(&model, batch.clone());
        let loss = item.loss.into_scalar::<f32>();
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
