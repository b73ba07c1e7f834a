//! Models in other formats.

use std::path::Path;

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        gguf::{
            self, GgmlType,
            tokenizer::{SpecialIds, TokenizerOptions, to_metadata},
        },
        hf::{self, SaveOptions, ScaleConvention, WeightForm},
    },
    quant::FourBitConfig,
    text::{ChatTemplate, Tokenizer},
};
use burn::tensor::{Device, FloatDType};
use serde_json::{Value, json};

use super::{Arguments, Converted, Form};
use crate::{
    error::Failure,
    model_file::{ModelFile, TokenizerFolder, add_ends},
    output::Output,
    weight_form::four_bit_config,
};

/// Maximum size of a safetensors file, as that of transformers.
const SHARD_BYTES: usize = 5_000_000_000;

impl Arguments {
    fn form_of_model(&self, model: &PretrainedLm) -> Result<Form, Failure> {
        let form = self.to.unwrap_or(match &model.lm {
            _ if self.is_gguf() => Form::Gguf,
            CausalLm::Full(_) => Form::Float,
            CausalLm::Qat(_) | CausalLm::Packed(_) => Form::Packed,
            CausalLm::FourBit(_) => Form::FourBit,
        });
        for (option, given) in [
            ("--to peft", form == Form::Peft),
            ("--model", self.model.is_some()),
        ] {
            if given {
                return Err(Failure::usage(format!(
                    "{option} is for adapters, and {} is a model",
                    self.input.display()
                )));
            }
        }
        let gguf_only = [
            ("--type", self.weights.is_some()),
            ("--embeddings", self.embeddings.is_some()),
            ("--name", self.name.is_some()),
            ("--pre", self.pre.is_some()),
            ("--scales-in-weights", self.scales_in_weights),
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

    fn write(
        &self,
        form: Form,
        model: &mut PretrainedLm,
        tokenizer: Option<&TokenizerFolder>,
    ) -> Result<(), Failure> {
        let dtype = self.dtype.unwrap_or(FloatDType::F32);
        let scale = self.scale.unwrap_or(ScaleConvention::Multiply);
        let weights = match form {
            Form::FourBit => {
                let config = self.four_bit(model);
                WeightForm::FourBit { config, dtype }
            }
            Form::Packed => WeightForm::Packed(scale),
            Form::Float | Form::Peft => WeightForm::Float(dtype),
            Form::Gguf => {
                if let Some(folder) = tokenizer {
                    add_ends(model, &Tokenizer::from_file(folder.path())?);
                }
                return self.gguf(model, tokenizer);
            }
        };
        self.folder(model, weights, tokenizer)
    }

    fn folder(
        &self,
        model: &PretrainedLm,
        form: WeightForm,
        tokenizer: Option<&TokenizerFolder>,
    ) -> Result<(), Failure> {
        let options = SaveOptions::new(form)
            .with_family(self.family)
            .with_max_shard_bytes(self.max_shard_size.unwrap_or(SHARD_BYTES))
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
        self.check_output()?;
        let tokenizer = match tokenizer {
            Some(folder) => Some(self.tokenizer_metadata(folder.path(), model)?),
            None => None,
        };
        let options = gguf::SaveOptions::new(weights)
            .with_squared_relu(self.allow_squared_relu)
            .with_scales_in_weights(self.scales_in_weights)
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

pub(super) fn convert(arguments: &Arguments, output: Output) -> Result<Converted, Failure> {
    let file = ModelFile::find(&arguments.input)?;
    let mut model = file.load(&arguments.read, &Device::default(), output)?;
    let form = arguments.form_of_model(&model)?;
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
    if matches!(form, Form::Float | Form::Gguf) {
        model.lm = model.lm.dequantize();
    }
    arguments.write(form, &mut model, tokenizer.as_ref())?;
    Ok(Converted {
        input: file.path().to_path_buf(),
        kind: "model",
        form,
        tokenizer: Some(tokenizer.is_some()),
    })
}
