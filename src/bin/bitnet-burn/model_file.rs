//! Model files of other programs, with their tokenizers.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::{
    interop::{
        PretrainedLm,
        gguf::{self, GgufReader},
        hf::{self, ScaleConvention},
    },
    text::{ChatTemplate, Tokenizer, UnknownKey},
    train::RunFolder,
};
use burn::tensor::Device;
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    adapter_file::AdapterFile,
    choice::{Choice, one_of},
    error::Failure,
    model_settings::Activation,
    output::Output,
};

/// Options for loading a model.
#[derive(clap::Args, Debug, Clone, Default)]
pub struct ReadArguments {
    /// Longest sequence of the model [default: that of the file]
    #[arg(long, value_name = "N")]
    pub max_positions: Option<usize>,
    /// Use of the scales of packed weights, if the folder does not define it
    #[arg(long, value_name = "KIND", value_parser = one_of(&SCALES))]
    pub input_scale: Option<ScaleConvention>,
    #[command(flatten)]
    pub gguf: GgufArguments,
}

/// Settings that a GGUF file may not define.
#[derive(clap::Args, Debug, Clone, Copy, Default)]
pub struct GgufArguments {
    /// Read tensors of GGUF type 36 as I2_S of bitnet.cpp; llama.cpp used this number for another type
    #[arg(long)]
    pub allow_i2_s: bool,
    /// Activation of the feed-forward blocks of a GGUF file [default: that of the file]
    #[arg(long, value_name = "NAME")]
    pub activation: Option<Activation>,
}

/// The two conventions of `weight_scale`.
pub const SCALES: [Choice<ScaleConvention>; 2] = [
    (
        "multiply",
        "weight = code * scale (autobitlinear: microsoft/bitnet-b1.58-2B-4T)",
        ScaleConvention::Multiply,
    ),
    (
        "divide",
        "weight = code / scale (bitlinear: HF1BitLLM, Falcon3, Falcon-E)",
        ScaleConvention::Divide,
    ),
];

/// Location of a model.
#[derive(Debug, Clone)]
pub enum ModelFile {
    Folder(PathBuf),
    Gguf(PathBuf),
}

impl ModelFile {
    /// Recognizes a path: a folder of Hugging Face, a run folder with such a folder in it, or a GGUF file.
    pub fn find(path: &Path) -> Result<Self, Failure> {
        let metadata = fs::metadata(path).map_err(Failure::io(path))?;
        if !path.join("config.json").is_file() && AdapterFile::find(path)?.is_some() {
            return Err(Failure::failed(format!(
                "{}: expected a model, found an adapter: name the model that it was trained beside here, and the adapter \
                 with --adapter",
                path.display()
            )));
        }
        if !metadata.is_dir() {
            return match path.extension().is_some_and(|name| name == "safetensors") {
                // Its config.json is beside it.
                true => Ok(Self::Folder(path.parent().unwrap_or(Path::new("")).into())),
                false => Ok(Self::Gguf(path.to_path_buf())),
            };
        }
        let folders = [path.to_path_buf(), RunFolder::new(path).model()];
        let found = folders
            .into_iter()
            .find(|f| f.join("config.json").is_file());
        found.map(Self::Folder).ok_or_else(|| {
            Failure::failed(format!(
                "{}: expected a folder with config.json, or a GGUF file, found a folder without one",
                path.display()
            ))
        })
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Folder(path) | Self::Gguf(path) => path,
        }
    }

    pub fn load(
        &self,
        options: &ReadArguments,
        device: &Device,
        output: Output,
    ) -> Result<PretrainedLm, Failure> {
        let model = match self {
            Self::Folder(folder) => {
                if options.gguf.activation.is_some() {
                    return Err(Failure::usage(
                        "--activation is for GGUF files, and this is a folder: its config.json has \
                         hidden_act",
                    ));
                }
                let load = hf::LoadOptions::new()
                    .with_max_positions(options.max_positions)
                    .with_scale_convention(options.input_scale);
                hf::load(folder, &load, device)?
            }
            Self::Gguf(path) => gguf::load(path, &options.gguf(), device)?,
        };
        note_unknown(&model.unknown_keys, output);
        Ok(model)
    }

    /// Returns a folder with the files of the model's tokenizer; `None` if it has none.
    pub fn tokenizer_folder(
        &self,
        options: &ReadArguments,
    ) -> Result<Option<TokenizerFolder>, Failure> {
        match self {
            Self::Folder(folder) => {
                let has_one = folder.join("tokenizer.json").is_file();
                Ok(has_one.then(|| TokenizerFolder::given(folder)))
            }
            Self::Gguf(path) => {
                let reader = GgufReader::open_with(path, &options.gguf())?;
                let metadata = reader.metadata();
                if metadata.get("tokenizer.ggml.model").is_none() {
                    return Ok(None);
                }
                let about = |failure: Failure| failure.about(path.display());
                let files = gguf::tokenizer::from_metadata(metadata);
                let files = files.map_err(Failure::from).map_err(about)?;
                TokenizerFolder::write([
                    ("tokenizer.json", files.tokenizer),
                    ("tokenizer_config.json", files.config),
                    ("generation_config.json", files.generation_config),
                ])
                .map(Some)
            }
        }
    }
}

impl ReadArguments {
    pub fn gguf(&self) -> gguf::LoadOptions {
        gguf::LoadOptions::new()
            .with_i2_s(self.gguf.allow_i2_s)
            .with_max_positions(self.max_positions)
            .with_activation(self.gguf.activation.map(Into::into))
    }
}

/// A folder with `tokenizer.json`; one that was made is removed when the value is dropped.
pub struct TokenizerFolder {
    path: PathBuf,
    _made: Option<TempDir>,
}

impl TokenizerFolder {
    fn given(path: &Path) -> Self {
        let path = path.to_path_buf();
        Self { path, _made: None }
    }

    fn write(files: [(&str, Value); 3]) -> Result<Self, Failure> {
        let folder = tempfile::tempdir();
        let folder = folder.map_err(|error| {
            Failure::failed(format!("cannot create a temporary folder: {error}"))
        })?;
        for (name, value) in files {
            let path = folder.path().join(name);
            fs::write(&path, value.to_string()).map_err(Failure::io(&path))?;
        }
        Ok(Self {
            path: folder.path().to_path_buf(),
            _made: Some(folder),
        })
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Loads the tokenizer of a model, or another one, and the chat template beside it.
pub fn tokenizer(
    file: &ModelFile,
    options: &ReadArguments,
    other: Option<&Path>,
) -> Result<(Tokenizer, Option<ChatTemplate>), Failure> {
    let folder = match other {
        Some(path) => {
            Failure::unless_present([&path.to_path_buf()])?;
            Some(TokenizerFolder::given(path))
        }
        None => file.tokenizer_folder(options)?,
    };
    let folder = folder.ok_or_else(|| {
        Failure::failed(format!(
            "{}: expected a tokenizer beside the model, found none: pass one with --tokenizer",
            file.path().display()
        ))
    })?;
    let mut tokenizer = Tokenizer::from_file(folder.path())?;
    if let (Some(_), ModelFile::Folder(folder)) = (other, file) {
        // End-of-text tokens are the model's, also with another tokenizer.
        tokenizer = tokenizer.with_model_folder(folder)?;
    }
    let template = match folder.path().is_dir() {
        true => ChatTemplate::from_folder(folder.path(), &tokenizer)?,
        false => None,
    };
    Ok((tokenizer, template))
}

/// Prints a line about unknown keys of a model's files.
pub fn note_unknown<'a>(keys: impl IntoIterator<Item = &'a UnknownKey>, output: Output) {
    const SHOWN: usize = 5;
    let keys: Vec<String> = keys.into_iter().map(UnknownKey::to_string).collect();
    let more = match keys.len().saturating_sub(SHOWN) {
        0 => String::new(),
        more => format!("; and {more} more"),
    };
    if !keys.is_empty() {
        output.note(format!(
            "ignored unknown keys: {}{more}",
            keys[..keys.len().min(SHOWN)].join("; ")
        ));
    }
}

/// Rejects a tokenizer with tokens that are not in the model's vocabulary.
pub fn check_vocabulary(model: &PretrainedLm, tokenizer: &Tokenizer) -> Result<(), Failure> {
    let (rows, tokens) = (model.config.vocab_size, tokenizer.vocab_size());
    match tokens <= rows {
        true => Ok(()),
        false => Err(Failure::failed(format!(
            "the tokenizer has {tokens} tokens, but the model has {rows}: pass the tokenizer that it was \
             trained with (--tokenizer)"
        ))),
    }
}

/// Adds the end-of-text tokens of a tokenizer to those of the model.
pub fn add_ends(model: &mut PretrainedLm, tokenizer: &Tokenizer) {
    for &end in tokenizer.eos_tokens() {
        if !model.eos_token_ids.contains(&end) {
            model.eos_token_ids.push(end);
        }
    }
}
