//! Adapters in other formats.

use bitnet_burn::{
    interop::{
        CausalLm,
        gguf::{self, GgmlType, GgufReader, SaveOptions},
        peft::{self, AdapterFolder},
    },
    nn::{BitNetLm, BitNetLmConfig},
    peft::AdapterBase,
};
use burn::tensor::Device;

use super::{Arguments, Converted, Form};
use crate::{
    adapter_file::AdapterFile,
    base::{BaseLm, LmTask},
    error::Failure,
    model_file::{ModelFile, note_unknown},
    output::Output,
};

impl Arguments {
    fn form_of_adapter(&self, file: &AdapterFile) -> Result<Form, Failure> {
        let form = self.to.unwrap_or(match self.is_gguf() {
            true => Form::Gguf,
            false => Form::Peft,
        });
        let wrong = |reason: &str| {
            let path = file.path().display();
            Err(Failure::usage(format!("{path} is an adapter{reason}")))
        };
        match (file, form) {
            (AdapterFile::Peft(_), Form::Gguf) | (AdapterFile::Gguf(_), Form::Peft) => {}
            (AdapterFile::Peft(_), Form::Peft) => {
                return wrong(" in a folder of peft already: name an output that ends in .gguf");
            }
            (AdapterFile::Gguf(_), Form::Gguf) => {
                return wrong(" in GGUF already: name a folder as the output");
            }
            _ => return wrong(", for which --to is gguf or peft"),
        }
        let of_models = [
            ("--dtype", self.dtype.is_some()),
            ("--scale", self.scale.is_some()),
            ("--quant-type", self.quant_type.is_some()),
            ("--no-double-quant", self.no_double_quant),
            ("--family", self.family.is_some()),
            ("--max-shard-size", self.max_shard_size.is_some()),
            ("--type", self.weights.is_some()),
            ("--embeddings", self.embeddings.is_some()),
            ("--pre", self.pre.is_some()),
            ("--allow-squared-relu", self.allow_squared_relu),
            ("--allow-inexact-merges", self.allow_inexact_merges),
            ("--embed-tokenizer", self.embed_tokenizer),
            ("--no-tokenizer", self.no_tokenizer),
        ];
        match of_models.iter().find(|(_, given)| *given) {
            Some((option, _)) => wrong(&format!(", and {option} is for models")),
            None => Ok(form),
        }
    }

    /// Returns how the base of an adapter is written: a file says whether scales are beside its weights.
    fn base_options(&self, base: &ModelFile) -> Result<SaveOptions, Failure> {
        let in_weights = match base {
            ModelFile::Folder(_) => self.scales_in_weights,
            ModelFile::Gguf(path) => {
                let reader = GgufReader::open_with(path, &self.read.gguf())?;
                !reader
                    .tensors()
                    .any(|tensor| tensor.name().ends_with(".scale"))
            }
        };
        let options = SaveOptions::new(GgmlType::F16).with_scales_in_weights(in_weights);
        Ok(options.with_name(self.name.clone()))
    }
}

pub(super) fn convert(
    arguments: &Arguments,
    file: &AdapterFile,
    output: Output,
) -> Result<Converted, Failure> {
    let form = arguments.form_of_adapter(file)?;
    arguments.check_output()?;
    let base = arguments.model.as_deref().ok_or_else(|| {
        Failure::usage(format!(
            "{} is an adapter: name the model that it was trained beside with --model",
            file.path().display()
        ))
    })?;
    let base = ModelFile::find(base)?;
    let options = arguments.base_options(&base)?;
    let model = base.load(&arguments.read, &Device::default(), output)?;
    let adapter = file.load(&model.config)?;
    note_unknown(&adapter.unknown_keys, output);
    BaseLm::new(model.lm, None)?.run(Conversion {
        arguments,
        name: file.path().display().to_string(),
        adapter,
        form,
        model: &model.config,
        options,
    })?;
    Ok(Converted {
        input: file.path().to_path_buf(),
        kind: "adapter",
        form,
        tokenizer: None,
    })
}

/// Adapter to write beside a model of any form.
struct Conversion<'a> {
    arguments: &'a Arguments,
    /// Name of the adapter, for messages.
    name: String,
    adapter: AdapterFolder,
    form: Form,
    model: &'a BitNetLmConfig,
    options: SaveOptions,
}

impl LmTask for Conversion<'_> {
    type Output = ();

    fn run<P: AdapterBase>(
        self,
        lm: BitNetLm<P>,
        _form: fn(BitNetLm<P>) -> CausalLm,
    ) -> Result<(), Failure> {
        let (path, name, config) = (&self.arguments.output, &self.name, &self.adapter.config);
        let lm = self.adapter.attach(lm, name)?;
        match self.form {
            Form::Gguf => gguf::save_adapter(path, &lm, self.model, name, config, &self.options)?,
            _ => peft::save(path, &lm, name, config)?,
        }
        Ok(())
    }
}
