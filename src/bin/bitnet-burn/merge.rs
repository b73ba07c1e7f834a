//! `bitnet-burn merge`.

use std::path::PathBuf;

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        hf::{self, SaveOptions},
    },
    nn::{BitNetLm, BitNetLmConfig},
    peft::{AdapterBase, MergeReport},
    quant::{WeightGranularity, WeightQuantizer},
};
use burn::tensor::{Device, FloatDType};
use serde_json::json;

use crate::{
    adapters::attached,
    choice::one_of,
    convert::DTYPES,
    error::Failure,
    model_file::{ModelFile, ReadArguments},
    output::Output,
    weight_form::{is_tied, weight_form},
};

const EXAMPLES: &str = "\
Examples:
  bitnet-burn merge llama merged --adapter run/adapter
  bitnet-burn merge bitnet-packed merged --adapter run/adapter      quantized again, with what that loses
  bitnet-burn merge bitnet merged --adapter run/adapter             into the latent weights, to train on";

/// Merge adapters into the weights of a model.
///
/// Weights in full precision and latent weights take up the adapters but for rounding. Those of 4 bits and packed ones
/// are quantized again, which can undo a small adapter: the error is printed. Keep the adapter beside the model then, or merge it
/// into the latent weights and train on.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a model, or a GGUF file
    model: PathBuf,
    /// Output folder
    output: PathBuf,
    /// Folder of an adapter as peft saves it, or a GGUF adapter; may be repeated
    #[arg(long, value_name = "PATH", required = true)]
    adapter: Vec<PathBuf>,
    /// Data type of the floats in the folder
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = one_of(&DTYPES))]
    dtype: FloatDType,
    /// Replace an existing output
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    read: ReadArguments,
}

pub fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let file = ModelFile::find(&arguments.model)?;
    let mut model = file.load(&arguments.read, &Device::default(), output)?;
    let merge = Merge {
        paths: &arguments.adapter,
        model: &model.config,
        output,
    };
    let form = model.lm.form();
    let (lm, report) = match model.lm {
        CausalLm::Full(lm) => merge.run(lm, CausalLm::Full)?,
        CausalLm::Qat(lm) => merge.run(lm, CausalLm::Qat)?,
        CausalLm::Packed(lm) => merge.run(lm, CausalLm::Packed)?,
        CausalLm::FourBit(lm) => merge.run(lm, CausalLm::FourBit)?,
    };
    // Adapters of the embedding table or of the head make two of them.
    model.config.tied_embeddings = is_tied(&lm);
    let weights = weight_form(&lm, arguments.dtype);
    let tokenizer = file.tokenizer_folder(&arguments.read)?;
    let options = SaveOptions::new(weights)
        .with_tokenizer(tokenizer.as_ref().map(|folder| folder.path().to_path_buf()))
        .with_overwrite(arguments.overwrite);
    hf::save(&arguments.output, &PretrainedLm { lm, ..model }, &options)?;
    let worst = report.worst();
    output.result(
        || {
            json!({
                "model": file.path(),
                "output": arguments.output,
                "form": form,
                "modules": report.modules.len(),
                "error": worst.map(|worst| worst.loss),
                "worst": worst.map(|worst| &worst.name),
            })
        },
        || {
            format!(
                "{report}\nsaved the model to {}",
                arguments.output.display()
            )
        },
    )
}

struct Merge<'a> {
    paths: &'a [PathBuf],
    model: &'a BitNetLmConfig,
    output: Output,
}

impl Merge<'_> {
    fn run<P: AdapterBase>(
        &self,
        lm: BitNetLm<P>,
        causal_lm: fn(BitNetLm<P>) -> CausalLm,
    ) -> Result<(CausalLm, MergeReport), Failure> {
        // The files of packed models hold one scale for each weight.
        let per_tensor = WeightQuantizer::ternary(WeightGranularity::PerTensor);
        let lm = attached(lm, self.model, self.paths, self.output)?;
        let (lm, report) = lm.merge(Some(&per_tensor));
        Ok((causal_lm(lm), report))
    }
}
