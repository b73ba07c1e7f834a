//! Trains LoRA adapters beside frozen weights, and saves them as a folder that peft and the program `bitnet-burn` read:
//! `cargo run --release --features lora --example lora -- --help`.

mod memory;
mod merging;
mod options;

use std::{path::Path, process::ExitCode, sync::Arc};

use bitnet_burn::{
    interop::{CausalLm, hf, peft},
    nn::{BitLinear, BitNetLm},
    peft::{AdaptedLinear, AdapterBase, LoraConfig, TargetModules},
    quant::FourBitConfig,
    text::{
        Tokenizer,
        dataset::{SHAKESPEARE, TextData, TextDataConfig},
    },
    train::{LanguageModel, Trainer},
};
use bitnet_burn_examples::{
    Error, STEPS_PER_EPOCH, Text, run_example, train, training_config, warm_up_steps,
};
use burn::module::Module;

use options::{Base, Options};

fn main() -> ExitCode {
    run_example(run)
}

fn run(options: Options) -> Result<(), Error> {
    options.device.seed(options.seed);
    match &options.model {
        None => characters(&options),
        Some(folder) => pretrained(&options, folder),
    }
}

/// Adapts a packed character model to text in capitals, which it has hardly seen.
fn characters(options: &Options) -> Result<(), Error> {
    let text = Text::load(options.text.as_deref())?;
    let lm = character_model(options, &text)?;
    let capitals = text.in_capitals()?;
    println!("\nadapters beside packed weights, on the same text in capitals");
    let seed = options.seed.wrapping_add(1);
    let data = TextData {
        train: capitals.train_windows(seed, options.steps, STEPS_PER_EPOCH)?,
        valid: capitals.valid_windows()?,
        train_tokens: capitals.train_len(),
        valid_tokens: 0,
    };
    let lora = lora(options);
    let adapted = adapt(lm.pack().train(), &data, &lora, options)?;
    match options.merging {
        true => merging::compare(lm, adapted, &lora, &data, options),
        false => Ok(()),
    }
}

/// Trains a BitNet model of characters.
fn character_model(options: &Options, text: &Text) -> Result<BitNetLm<BitLinear>, Error> {
    println!("\nBitNet character model, all weights");
    let lm: BitNetLm<BitLinear> = text.lm_config().init(&options.device.clone().autodiff());
    let steps = options.base_steps;
    let config = training_config(steps, 1.5e-3, warm_up_steps(steps), options.seed);
    let lm = train(text, lm, config)?;
    println!("validation loss {:.4}", text.valid_loss(&lm)?);
    Ok(lm)
}

/// Adapts a model of a folder to a text.
fn pretrained(options: &Options, folder: &Path) -> Result<(), Error> {
    let device = options.device.clone().autodiff();
    let lm = hf::load(folder, &hf::LoadOptions::new(), &device)?.lm;
    let tokenizer = Arc::new(Tokenizer::from_file(folder)?);
    let (text, _excerpt) = text_file(options)?;
    let data = TextDataConfig {
        text: vec![text],
        context: options.context,
        batch: 4,
        validation_windows: 32,
        ..TextDataConfig::default()
    };
    let data = data.load(
        &tokenizer,
        None,
        options.steps,
        STEPS_PER_EPOCH,
        options.seed,
    )?;
    let lora = lora(options);
    match (lm, options.base) {
        (CausalLm::Full(lm), Base::Float) => adapt(lm, &data, &lora, options).map(drop),
        (CausalLm::Full(lm), Base::Nf4) => {
            let config = FourBitConfig::default();
            adapt(lm.into_four_bit(&config), &data, &lora, options).map(drop)
        }
        (CausalLm::Qat(lm), _) => {
            let adapted = adapt(lm.pack().train(), &data, &lora, options)?;
            match options.merging {
                true => merging::compare(lm, adapted, &lora, &data, options),
                false => Ok(()),
            }
        }
        (CausalLm::FourBit(lm), _) => adapt(lm, &data, &lora, options).map(drop),
        (CausalLm::Packed(lm), _) => adapt(lm, &data, &lora, options).map(drop),
    }
}

/// Returns the path of the text, and the temporary file that holds the excerpt.
fn text_file(options: &Options) -> Result<(std::path::PathBuf, Option<tempfile::TempPath>), Error> {
    if let Some(path) = &options.text {
        return Ok((path.clone(), None));
    }
    let file = tempfile::Builder::new()
        .suffix(".txt")
        .tempfile()?
        .into_temp_path();
    std::fs::write(&file, SHAKESPEARE)?;
    Ok((file.to_path_buf(), Some(file)))
}

fn lora(options: &Options) -> LoraConfig {
    LoraConfig::new(options.rank)
        .with_alpha(2.0 * options.rank as f64)
        .with_targets(TargetModules::AllLinear)
}

/// Trains adapters on all projections, and prints what they cost and achieve.
fn adapt<P: AdapterBase>(
    lm: BitNetLm<P>,
    data: &TextData,
    lora: &LoraConfig,
    options: &Options,
) -> Result<BitNetLm<AdaptedLinear<P>>, Error> {
    memory::reset_peak();
    let (lm, report) = lm.with_adapter("default", lora)?;
    println!("{report}");
    let before = loss(&lm, data)?;
    let warm_up = warm_up_steps(options.steps);
    let mut config = training_config(options.steps, options.learning_rate, warm_up, options.seed);
    config.peft = Some(lora.clone().into());
    let trainer = Trainer::new(LanguageModel::new(lm), config)?.with_token_losses();
    let trained = trainer.train(data.train.clone(), data.valid.clone())?;
    let after = loss(&trained.model.lm, data)?;
    peft::save(&options.out, &trained.model.lm, "default", lora)?;
    let peak = memory::peak();
    println!("loss before {before:.4}, after {after:.4}");
    if let Some(peak) = peak {
        println!("peak memory {peak:.0} MiB");
    }
    println!("saved the adapter to {}", options.out.display());
    let json = serde_json::json!({
        "trained_parameters": report.num_trainable,
        "parameters": report.num_params,
        "loss_before": before,
        "loss_after": after,
        "peak_mib": peak,
        "seconds": trained.report.seconds,
    });
    println!("{json}");
    Ok(trained.model.lm)
}

/// Returns the loss of a model on the validation data, in nats per token.
fn loss<P: bitnet_burn::nn::Projection>(lm: &BitNetLm<P>, data: &TextData) -> Result<f64, Error> {
    let lm = lm.valid();
    let device = lm.devices().into_iter().next().unwrap_or_default();
    let valid = data.valid.to_device(&device);
    let batches = valid.iter().map(|batch| batch.map_err(Error::from));
    Ok(bitnet_burn::text::evaluate(&lm, batches)?.loss)
}
