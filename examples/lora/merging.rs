//! Ways to deploy an adapter of a ternary model in 2 bits, and what each loses.

use bitnet_burn::{
    interop::peft,
    nn::{BitLinear, BitNetLm, PackedBitLinear, Projection},
    peft::{AdaptedLinear, Attach, LoraConfig, QuantizedPart},
    qat::Prepare,
    quant::{QatScheme, WeightGranularity, WeightQuantizer},
    text::dataset::TextData,
    train::{LanguageModel, Trainer},
};
use bitnet_burn_examples::{Error, training_config, warm_up_steps};
use burn::{
    module::{Module, ParamGroup},
    nn::Linear,
};

use crate::{loss, options::Options};

/// Inputs that share a scale, where a weight has more than one.
const GROUP_SIZE: usize = 64;

/// Prints the validation loss of each way. `latent` is the model of the packed base before it was packed.
pub fn compare(
    latent: BitNetLm<BitLinear>,
    adapted: BitNetLm<AdaptedLinear<PackedBitLinear>>,
    lora: &LoraConfig,
    data: &TextData,
    options: &Options,
) -> Result<(), Error> {
    println!("\nloss, by what becomes of the adapter");
    let print = |way: &str, loss: f64| println!("{loss:.4}  {way}");
    print("beside the packed weights, in float", loss(&adapted, data)?);
    let groups = WeightQuantizer::ternary(WeightGranularity::PerGroup {
        group_size: GROUP_SIZE,
    });
    for (way, quantizer) in [
        ("merged into the packed weights", None),
        ("the same, with a scale for 64 inputs", Some(&groups)),
    ] {
        let (merged, report) = adapted.clone().merge(quantizer);
        print(way, loss(&merged, data)?);
        println!("        {report}");
    }
    let merged = peft::load(&options.out)?.attach(latent.clone(), "default")?;
    let (merged, _) = merged.merge(None);
    print("merged into the latent weights", loss(&merged, data)?);
    // The base of an adapter is frozen, and stays so when it is merged.
    let trained = trained(merged.unfreeze(), data, options)?;
    print(
        "the same, and all weights trained for as many steps",
        loss(&trained, data)?,
    );
    let trained = self::trained(latent.clone().train(), data, options)?;
    print(
        "no adapter: all weights trained for as many steps",
        loss(&trained, data)?,
    );
    println!("with activations in float:");
    for (way, part) in [
        (
            "trained beside quantized weights, in float",
            QuantizedPart::Base,
        ),
        (
            "trained inside the quantizer, in 2 bits",
            QuantizedPart::Sum,
        ),
    ] {
        let lm = prepared(latent.clone())?;
        let attach = Attach::new(lora.clone()).with_quantized_part(part);
        let trained = self::trained(attach.apply(lm)?.model, data, options)?;
        print(way, loss(&trained, data)?);
    }
    Ok(())
}

/// Returns a model of Burn's layers with the same weights, quantized.
fn prepared(latent: BitNetLm<BitLinear>) -> Result<BitNetLm<Linear>, Error> {
    let lm = latent.train().map_projections(|_, projection| Linear {
        weight: projection.weight,
        bias: projection.bias,
    });
    let projections = ParamGroup::from_predicate("_proj.weight");
    let prepare = Prepare::new(QatScheme::weight_only()).with_group(projections);
    Ok(prepare.apply(lm)?.model)
}

/// Trains what has gradients, with the settings of the adapter.
fn trained<P: Projection>(
    lm: BitNetLm<P>,
    data: &TextData,
    options: &Options,
) -> Result<BitNetLm<P>, Error> {
    let steps = options.steps;
    let warm_up = warm_up_steps(steps);
    let config = training_config(steps, options.learning_rate, warm_up, options.seed);
    let trainer = Trainer::new(LanguageModel::new(lm), config)?.with_token_losses();
    let trained = trainer.train(data.train.clone(), data.valid.clone())?;
    Ok(trained.model.lm)
}
