//! Fixed scales for activations: observed over training text, then frozen.

use std::error::Error;

use bitnet_burn::{
    nn::BitLinear,
    qat::QuantControls,
    quant::{
        QatScheme, StaticConfig,
        calibration::{MinMaxConfig, MseConfig, ObserverConfig, PercentileConfig, SamplingPolicy},
    },
};
use burn::{data::dataloader::DataLoader, module::Module, train::InferenceStep};

use crate::{
    data::Corpus,
    model::{self, LanguageModel},
    options::Options,
    validation::valid_loss,
};

/// The validation loss with the ranges of each observer, one scale per tensor of activations.
pub fn losses(
    dynamic: &LanguageModel<BitLinear>,
    options: &Options,
    corpus: &Corpus,
) -> Result<Vec<(&'static str, f64)>, Box<dyn Error>> {
    let scheme = QatScheme::b1_58().with_activation(Some(StaticConfig::default().into()));
    let config = model::config(corpus.vocabulary.len()).with_scheme(scheme);
    let model = LanguageModel {
        lm: config.init::<BitLinear>(&options.device),
    };
    let model = model.try_load_record(dynamic.clone().into_record())?;
    let frozen = QuantControls::of(&model);
    let observed = QuantControls::of(dynamic).filter(|path| path.ends_with("input_quant"));

    let mut losses = Vec::new();
    for (name, observer) in observers() {
        observed.observe(&observer, SamplingPolicy::default());
        let loader = corpus.train_loader(options.seed, options.calibration_batches);
        for batch in loader.to_device(&options.device).iter() {
            dynamic.step(batch?);
        }
        frozen.calibrate(&observed.finish_observation()?)?;
        losses.push((name, valid_loss(&model, corpus, &options.device)));
    }
    Ok(losses)
}

/// The way to the ranges that counts, then others to compare with.
fn observers() -> [(&'static str, ObserverConfig); 3] {
    [
        ("mse", MseConfig::default().into()),
        ("percentile", PercentileConfig::default().into()),
        ("min-max", MinMaxConfig::default().into()),
    ]
}
