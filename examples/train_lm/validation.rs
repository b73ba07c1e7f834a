//! The loss of a model on text that it was not trained on.

use bitnet_burn::nn::Projection;
use burn::{
    data::dataloader::DataLoader,
    tensor::{Device, ElementConversion},
    train::InferenceStep,
};

use crate::{data::Corpus, model::LanguageModel};

/// Mean loss over all windows of the validation text, in nats per character.
pub fn valid_loss<P: Projection>(
    model: &LanguageModel<P>,
    corpus: &Corpus,
    device: &Device,
) -> f64 {
    let loader = corpus.valid_loader(device);
    let mut sum = 0.0;
    for batch in loader.iter() {
        let batch = batch.expect("windows of a text in memory");
        let windows = batch.inputs.dims()[0];
        let loss = model.step(batch).loss.into_scalar::<f32>();
        sum += loss.elem::<f64>() * windows as f64;
    }
    sum / loader.num_items() as f64
}
