//! Static activation scales: observed over training text, then frozen.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm},
    qat::QuantControls,
    quant::{
        ActivationQuantizer, QatScheme,
        calibration::{ObserverConfig, SamplingPolicy},
    },
};
use bitnet_burn_examples::{Error, STEPS_PER_EPOCH, Text};
use burn::data::dataloader::DataLoader;

use crate::options::Options;

/// Returns the validation loss for each observer, with one scale per activation tensor.
pub fn losses(
    dynamic: &BitNetLm<BitLinear>,
    options: &Options,
    text: &Text,
) -> Result<Vec<(&'static str, f64)>, Error> {
    let scheme = QatScheme::b1_58().with_activation(Some(ActivationQuantizer::Static {
        bits: 8,
        symmetric: true,
    }));
    let lm = dynamic.clone().with_scheme(&scheme);
    let frozen = QuantControls::of(&lm);
    let observed = QuantControls::of(dynamic).filter(|path| path.ends_with("input_quant"));

    let mut losses = Vec::new();
    for (name, observer) in observers() {
        observed.observe(&observer, SamplingPolicy::default());
        let batches = options.calibration_batches;
        let windows = text.train_windows(options.seed, batches, STEPS_PER_EPOCH)?;
        for batch in windows.to_device(&options.device).iter() {
            dynamic.forward(batch?.inputs);
        }
        frozen.calibrate(&observed.finish_observation()?)?;
        losses.push((name, text.valid_loss(&lm)?));
    }
    Ok(losses)
}

/// Observers to compare; the first is the one to report.
fn observers() -> [(&'static str, ObserverConfig); 3] {
    [
        ("mse", ObserverConfig::mse()),
        ("percentile", ObserverConfig::percentile()),
        ("min-max", ObserverConfig::min_max()),
    ]
}
