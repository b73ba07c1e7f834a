//! `bitnet-burn convert`.

mod adapter;
mod choices;
mod model;

use std::{fs, path::PathBuf};

use bitnet_burn::{
    interop::{
        gguf::GgmlType,
        hf::{Family, ScaleConvention},
    },
    quant::FourBitType,
};
use burn::tensor::FloatDType;
use clap::ValueEnum;
use serde_json::json;

pub use choices::DTYPES;
use choices::{FAMILIES, FOUR_BIT_TYPES, TYPES, size};

use crate::{
    adapter_file::AdapterFile,
    choice::one_of,
    error::Failure,
    inspect,
    model_file::{ReadArguments, SCALES},
    output::{self, Output},
};

const EXAMPLES: &str = "\
Examples:
  bitnet-burn convert run/model packed                         2 bits per weight, for transformers
  bitnet-burn convert run/model packed --scale divide          for loaders of HF1BitLLM and Falcon-E
  bitnet-burn convert run/model model.gguf                     F16, for llama.cpp
  bitnet-burn convert run/model model.gguf --type TQ2_0        2 bits per weight
  bitnet-burn convert run/model model.gguf --type I2_S --allow-i2-s     for bitnet.cpp
  bitnet-burn convert model.gguf packed                        and back
  bitnet-burn convert run/model half --to float --dtype bf16 --max-shard-size 2GB
  bitnet-burn convert llama qlora --to 4bit --dtype bf16       NF4 of bitsandbytes, the base of QLoRA
  bitnet-burn convert qlora llama --to float                   dequantized
  bitnet-burn convert run/adapter adapter.gguf --model llama   for llama.cpp: llama-cli -m llama.gguf --lora adapter.gguf
  bitnet-burn convert adapter.gguf adapter --model llama.gguf  and back";

/// Convert a model or an adapter to another format: folders of Hugging Face and peft, GGUF.
///
/// Codes and scales of quantized weights are preserved; those of 4 bits are dequantized for other formats.
/// LoRA adapters are converted from folders of peft to GGUF for llama.cpp, and back; files tell if they are models or
/// adapters.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a model or an adapter, or a GGUF file of one
    input: PathBuf,
    /// Output folder, or a file that ends in .gguf
    output: PathBuf,
    /// Output format [default: gguf for files that end so, else that of the model: packed if it is quantized, 4bit,
    /// or float; of an adapter peft]
    #[arg(long, value_name = "FORM")]
    to: Option<Form>,
    /// Model that an adapter was trained beside: a folder, or the GGUF file that it is to be used with
    #[arg(
        long,
        value_name = "MODEL",
        visible_alias = "base",
        help_heading = "Adapters"
    )]
    model: Option<PathBuf>,
    /// Data type of the floats of a folder [default: f32; of a 4-bit folder also that of the weights before]
    #[arg(long, value_name = "TYPE", value_parser = one_of(&DTYPES), help_heading = "Folders")]
    dtype: Option<FloatDType>,
    /// Use of the scales of packed weights [default: multiply]
    #[arg(long, value_name = "KIND", value_parser = one_of(&SCALES), help_heading = "Folders")]
    scale: Option<ScaleConvention>,
    /// Codes of 4 bits: nf4 or fp4 [default: those of the model, or nf4]
    #[arg(long, value_name = "NAME", value_parser = one_of(&FOUR_BIT_TYPES), help_heading = "Folders")]
    quant_type: Option<FourBitType>,
    /// Do not quantize the scales of 4-bit weights
    #[arg(long, help_heading = "Folders")]
    no_double_quant: bool,
    /// Architecture and tensor names [default: those of transformers]
    #[arg(long, value_name = "NAME", value_parser = one_of(&FAMILIES), help_heading = "Folders")]
    family: Option<Family>,
    /// Maximum size of a safetensors file, such as 500MB [default: 5GB]
    #[arg(long, value_name = "SIZE", value_parser = size, help_heading = "Folders")]
    max_shard_size: Option<usize>,
    /// Type of the projections: F32, F16, BF16, Q8_0, TQ1_0, TQ2_0 or I2_S [default: F16]
    #[arg(
        long = "type",
        value_name = "TYPE",
        value_parser = one_of(&TYPES),
        ignore_case = true,
        help_heading = "GGUF"
    )]
    weights: Option<GgmlType>,
    /// Type of embedding and head [default: that of the projections if it is a float type, else F16]
    #[arg(
        long,
        value_name = "TYPE",
        value_parser = one_of(&TYPES),
        ignore_case = true,
        help_heading = "GGUF"
    )]
    embeddings: Option<GgmlType>,
    /// Multiply the scales of BitNet weights into them: for a model to use with adapters, and its adapters
    #[arg(long, help_heading = "GGUF")]
    scales_in_weights: bool,
    /// Name of the model or the adapter in the file
    #[arg(long, help_heading = "GGUF")]
    name: Option<String>,
    /// llama.cpp's name of the pre-tokenizer [default: detected]
    #[arg(long, value_name = "NAME", help_heading = "GGUF")]
    pre: Option<String>,
    /// Write a model with squared ReLU, for which llama.cpp computes SiLU
    #[arg(long, help_heading = "GGUF")]
    allow_squared_relu: bool,
    /// Write a tokenizer whose merges llama.cpp applies differently
    #[arg(long, help_heading = "GGUF")]
    allow_inexact_merges: bool,
    /// Also embed the unchanged tokenizer.json into the file
    #[arg(long, help_heading = "GGUF")]
    embed_tokenizer: bool,
    /// Do not write a tokenizer
    #[arg(long)]
    no_tokenizer: bool,
    /// Replace an existing output
    #[arg(long)]
    overwrite: bool,
    #[command(flatten)]
    read: ReadArguments,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// Folder with floats: full precision, or latent weights
    #[value(alias = "hf")]
    Float,
    /// Folder with 2 bits per weight
    Packed,
    /// Folder with 4 bits per weight of bitsandbytes
    #[value(name = "4bit")]
    FourBit,
    /// File for llama.cpp
    Gguf,
    /// Folder of an adapter
    Peft,
}

/// A conversion that was done.
struct Converted {
    input: PathBuf,
    /// A model or an adapter.
    kind: &'static str,
    form: Form,
    /// `true` if a tokenizer was written; `None` for adapters, which have none.
    tokenizer: Option<bool>,
}

impl Arguments {
    fn is_gguf(&self) -> bool {
        self.output.extension().is_some_and(|name| name == "gguf")
    }

    /// Refuses an output that exists, but for an empty folder, and is not to be replaced.
    fn check_output(&self) -> Result<(), Failure> {
        let is_empty = fs::read_dir(&self.output).is_ok_and(|mut entries| entries.next().is_none());
        match self.output.exists() && !is_empty && !self.overwrite {
            true => Err(Failure::failed(format!(
                "{} already exists: replace it with --overwrite",
                self.output.display()
            ))),
            false => Ok(()),
        }
    }
}

impl Form {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.expect("no form is skipped").get_name().to_string()
    }
}

pub fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let converted = match AdapterFile::find(&arguments.input)? {
        Some(file) => adapter::convert(arguments, &file, output)?,
        None => model::convert(arguments, output)?,
    };
    let [before, after] = [&converted.input, &arguments.output].map(|path| inspect::size(path));
    let (input, name) = (&converted.input, converted.form.name());
    output.result(
        || {
            json!({
                "kind": converted.kind,
                "input": input,
                "output": arguments.output,
                "form": name,
                "bytes": after,
                "tokenizer": converted.tokenizer,
            })
        },
        || {
            format!(
                "converted {} ({}) to {name}: {} ({})",
                input.display(),
                output::bytes(before),
                arguments.output.display(),
                output::bytes(after)
            )
        },
    )
}
