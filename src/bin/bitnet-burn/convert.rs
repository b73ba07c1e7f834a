//! `bitnet-burn convert`.

use std::path::{Path, PathBuf};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{
            self, GgmlType,
            tokenizer::{SpecialIds, TokenizerOptions, to_metadata},
        },
        hf::{self, Family, SaveOptions, ScaleConvention, WeightForm},
    },
    nn::{BitNetLm, Linear4bit},
    quant::{FourBitConfig, FourBitType},
    text::{ChatTemplate, Tokenizer},
};
use burn::tensor::{Device, FloatDType};
use clap::ValueEnum;
use serde_json::{Value, json};

use crate::{
    choice::{Choice, one_of},
    error::Failure,
    inspect,
    model_file::{ModelFile, ReadArguments, SCALES, TokenizerFolder, add_ends},
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
  bitnet-burn convert qlora llama --to float                   dequantized";

/// Convert a model to another format: float, packed or 4-bit folders of Hugging Face, GGUF.
///
/// Codes and scales of quantized weights are preserved; those of 4 bits are dequantized for other formats.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a model, or a GGUF file
    input: PathBuf,
    /// Output folder, or a file that ends in .gguf
    output: PathBuf,
    /// Output format [default: gguf for files that end so, else that of the model: packed if it is quantized, 4bit,
    /// or float]
    #[arg(long, value_name = "FORM")]
    to: Option<Form>,
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
    /// Maximum size of a safetensors file, such as 500MB
    #[arg(long, value_name = "SIZE", default_value = "5GB", value_parser = size, help_heading = "Folders")]
    max_shard_size: usize,
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
    /// Name of the model in the file
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
}

/// Data types of floats in files.
pub const DTYPES: [Choice<FloatDType>; 3] = [
    ("f32", "", FloatDType::F32),
    ("f16", "", FloatDType::F16),
    ("bf16", "", FloatDType::BF16),
];

const FOUR_BIT_TYPES: [Choice<FourBitType>; 2] = [
    (
        "nf4",
        "quantiles of the normal distribution",
        FourBitType::Nf4,
    ),
    ("fp4", "floats of 4 bits", FourBitType::Fp4),
];

const FAMILIES: [Choice<Family>; 6] = [
    (
        "bitnet",
        "BitNetForCausalLM of transformers",
        Family::BitNet,
    ),
    ("1bitllm", "BitnetForCausalLM of 1bitLLM", Family::OneBitLlm),
    ("llama", "LlamaForCausalLM", Family::Llama),
    ("mistral", "MistralForCausalLM", Family::Mistral),
    ("qwen2", "Qwen2ForCausalLM", Family::Qwen2),
    ("qwen3", "Qwen3ForCausalLM", Family::Qwen3),
];

const TYPES: [Choice<GgmlType>; 7] = [
    ("F32", "", GgmlType::F32),
    ("F16", "", GgmlType::F16),
    ("BF16", "", GgmlType::BF16),
    ("Q8_0", "", GgmlType::Q8_0),
    ("TQ1_0", "", GgmlType::TQ1_0),
    ("TQ2_0", "", GgmlType::TQ2_0),
    ("I2_S", "", GgmlType::I2_S),
];

/// Parses a size as transformers writes it: `5GB`, `500MB`, `200KB`, or a number of bytes.
fn size(text: &str) -> Result<usize, String> {
    let upper = text.to_ascii_uppercase();
    let units = [
        ("GB", 1_000_000_000),
        ("MB", 1_000_000),
        ("KB", 1_000),
        ("B", 1),
    ];
    let unit = units.into_iter().find(|(unit, _)| upper.ends_with(unit));
    let (digits, factor) = match unit {
        Some((unit, factor)) => (&upper[..upper.len() - unit.len()], factor),
        None => (upper.as_str(), 1),
    };
    let count: Option<usize> = digits.trim().parse().ok();
    let bytes = count.and_then(|count| count.checked_mul(factor));
    bytes
        .filter(|bytes| *bytes > 0)
        .ok_or_else(|| "expected a size such as 500MB or 5GB".to_string())
}

impl Arguments {
    fn form(&self, model: &PretrainedLm) -> Result<Form, Failure> {
        let is_gguf = self.output.extension().is_some_and(|name| name == "gguf");
        let form = self.to.unwrap_or(match &model.lm {
            _ if is_gguf => Form::Gguf,
            CausalLm::Full(_) => Form::Float,
            CausalLm::Qat(_) | CausalLm::Packed(_) => Form::Packed,
            CausalLm::FourBit(_) => Form::FourBit,
        });
        let gguf_only = [
            ("--type", self.weights.is_some()),
            ("--embeddings", self.embeddings.is_some()),
            ("--name", self.name.is_some()),
            ("--pre", self.pre.is_some()),
            ("--embed-tokenizer", self.embed_tokenizer),
        ];
        let folders_only = [
            ("--dtype", self.dtype.is_some()),
            ("--scale", self.scale.is_some()),
            ("--family", self.family.is_some()),
            ("--quant-type", self.quant_type.is_some()),
            ("--no-double-quant", self.no_double_quant),
        ];
        let (options, meant) = match form {
            Form::Gguf => (&folders_only[..], "folders, and this is GGUF"),
            _ => (&gguf_only[..], "GGUF, and this is a folder"),
        };
        match options.iter().find(|(_, given)| *given) {
            Some((option, _)) => Err(Failure::usage(format!("{option} is for {meant}"))),
            None => Ok(form),
        }
    }

    /// Returns the configuration of 4-bit weights: that of a model which has them, or the one asked for.
    fn four_bit(&self, model: &PretrainedLm) -> FourBitConfig {
        let of_model = match &model.lm {
            CausalLm::FourBit(lm) => four_bit_config(lm),
            _ => None,
        };
        let mut config = of_model.unwrap_or_default();
        config.quant_type = self.quant_type.unwrap_or(config.quant_type);
        config.double_quant &= !self.no_double_quant;
        config
    }

    fn folder(
        &self,
        model: &PretrainedLm,
        form: WeightForm,
        tokenizer: Option<&TokenizerFolder>,
    ) -> Result<(), Failure> {
        let options = SaveOptions::new(form)
            .with_family(self.family)
            .with_max_shard_bytes(self.max_shard_size)
            .with_tokenizer(tokenizer.map(|folder| folder.path().to_path_buf()))
            .with_overwrite(self.overwrite);
        Ok(hf::save(&self.output, model, &options)?)
    }

    fn gguf(
        &self,
        model: &PretrainedLm,
        tokenizer: Option<&TokenizerFolder>,
    ) -> Result<(), Failure> {
        let weights = self.weights.unwrap_or(GgmlType::F16);
        for given in [Some(weights), self.embeddings] {
            if given == Some(GgmlType::I2_S) && !self.read.gguf.allow_i2_s {
                return Err(Failure::usage(
                    "I2_S has the type number 36 in files of bitnet.cpp only; llama.cpp used it for another \
                     type: add --allow-i2-s, or use TQ2_0 for llama.cpp",
                ));
            }
        }
        if self.output.exists() && !self.overwrite {
            return Err(Failure::failed(format!(
                "{} already exists: replace it with --overwrite",
                self.output.display()
            )));
        }
        let tokenizer = match tokenizer {
            Some(folder) => Some(self.tokenizer_metadata(folder.path(), model)?),
            None => None,
        };
        let options = gguf::SaveOptions::new(weights)
            .with_squared_relu(self.allow_squared_relu)
            .with_embeddings(self.embeddings)
            .with_name(self.name.clone())
            .with_tokenizer(tokenizer);
        Ok(gguf::save(&self.output, model, &options)?)
    }

    fn tokenizer_metadata(
        &self,
        folder: &Path,
        model: &PretrainedLm,
    ) -> Result<gguf::GgufMetadata, Failure> {
        let tokenizer = Tokenizer::from_file(folder)?;
        let mut config = tokenizer.config().clone();
        // Files of their own override tokenizer_config.json.
        if folder.join("chat_template.jinja").is_file() {
            let templates = match ChatTemplate::sources_of_folder(folder)?.as_slice() {
                [(_, template)] => json!(template),
                all => (all.iter())
                    .map(|(name, template)| json!({"name": name, "template": template}))
                    .collect(),
            };
            config.insert("chat_template".to_string(), templates);
        }
        let ids = SpecialIds {
            bos: tokenizer.bos(),
            eos: tokenizer.eos(),
            ..Default::default()
        };
        let mut options = TokenizerOptions::new(model.config.vocab_size)
            .with_special_ids(ids)
            .with_inexact_merges(self.allow_inexact_merges)
            .with_embedded_json(self.embed_tokenizer);
        if let Some(pre) = &self.pre {
            options = options.with_pre(pre);
        }
        let json = tokenizer.json()?;
        Ok(to_metadata(&json, Some(&Value::Object(config)), &options)?)
    }
}

/// Returns the configuration of the weights of a model in 4 bits.
pub fn four_bit_config(lm: &BitNetLm<Linear4bit>) -> Option<FourBitConfig> {
    let mut projections = lm.projections().filter(|(_, p)| !p.is_full_precision());
    projections.next().map(|(_, p)| *p.weight.config())
}

pub fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let file = ModelFile::find(&arguments.input)?;
    let mut model = file.load(&arguments.read, &Device::default(), output)?;
    let form = arguments.form(&model)?;
    let tokenizer = match arguments.no_tokenizer {
        true => None,
        false => file.tokenizer_folder(&arguments.read)?,
    };
    if tokenizer.is_none() && form == Form::Gguf && !arguments.no_tokenizer {
        return Err(Failure::failed(format!(
            "{}: expected a tokenizer beside the model, found none, and llama.cpp opens no file without \
             one: add --no-tokenizer to write it anyway",
            file.path().display()
        )));
    }
    let dtype = arguments.dtype.unwrap_or(FloatDType::F32);
    let scale = arguments.scale.unwrap_or(ScaleConvention::Multiply);
    if matches!(form, Form::Float | Form::Gguf) {
        model.lm = model.lm.dequantize();
    }
    match form {
        Form::FourBit => {
            let config = arguments.four_bit(&model);
            let form = WeightForm::FourBit { config, dtype };
            arguments.folder(&model, form, tokenizer.as_ref())
        }
        Form::Float => arguments.folder(&model, WeightForm::Float(dtype), tokenizer.as_ref()),
        Form::Packed => arguments.folder(&model, WeightForm::Packed(scale), tokenizer.as_ref()),
        Form::Gguf => {
            if let Some(folder) = &tokenizer {
                add_ends(&mut model, &Tokenizer::from_file(folder.path())?);
            }
            arguments.gguf(&model, tokenizer.as_ref())
        }
    }?;
    let [before, after] = [file.path(), &arguments.output].map(inspect::size);
    let name = form.to_possible_value().expect("no form is skipped");
    let name = name.get_name();
    output.result(
        || {
            json!({
                "input": file.path(),
                "output": arguments.output,
                "form": name,
                "bytes": after,
                "tokenizer": tokenizer.is_some(),
            })
        },
        || {
            format!(
                "converted {} ({}) to {name}: {} ({})",
                file.path().display(),
                output::bytes(before),
                arguments.output.display(),
                output::bytes(after)
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_units() {
        assert_eq!(size("5GB"), Ok(5_000_000_000));
        assert_eq!(size("20 kb"), Ok(20_000));
        assert_eq!(size("7"), Ok(7));
        for wrong in ["", "GB", "-1MB", "0", "5TB", "99999999999GB"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }
}
