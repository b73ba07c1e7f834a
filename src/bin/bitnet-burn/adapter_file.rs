//! Adapter files of other programs.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::{
    interop::{
        gguf::{self, GgufMetadata, GgufReader},
        peft::{self, AdapterFolder},
    },
    nn::BitNetLmConfig,
    train::RunFolder,
};

use crate::error::Failure;

/// File of the configuration in folders of peft.
pub const PEFT_CONFIG: &str = "adapter_config.json";

/// File of the tensors beside it, which stands for its folder.
pub const PEFT_TENSORS: &str = "adapter_model.safetensors";

/// Location of an adapter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AdapterFile {
    /// Folder of peft.
    Peft(PathBuf),
    /// File of llama.cpp.
    Gguf(PathBuf),
}

impl AdapterFile {
    /// Recognizes a path by its content: a folder with `adapter_config.json`, a run folder with such a folder in it, or a
    /// GGUF file whose `general.type` is `adapter`. `None` for anything else, such as a model.
    pub fn find(path: &Path) -> Result<Option<Self>, Failure> {
        fs::metadata(path).map_err(Failure::io(path))?;
        let path = match path.parent().filter(|_| path.ends_with(PEFT_TENSORS)) {
            Some(folder) if folder.as_os_str().is_empty() => Path::new("."),
            Some(folder) => folder,
            None => path,
        };
        if path.is_dir() {
            let mut folders = [path.to_path_buf(), RunFolder::new(path).adapter()].into_iter();
            let found = folders.find(|folder| folder.join(PEFT_CONFIG).is_file());
            return Ok(found.map(Self::Peft));
        }
        // A file that cannot be read is reported by the command that expects a model.
        let reader = GgufReader::open_with(path, &gguf::LoadOptions::new().with_i2_s(true));
        let is_adapter = reader.is_ok_and(|reader| is_adapter(reader.metadata()));
        Ok(is_adapter.then(|| Self::Gguf(path.to_path_buf())))
    }

    /// Recognizes the path of an adapter.
    pub fn expect(path: &Path) -> Result<Self, Failure> {
        let found = Self::find(path)?;
        found.ok_or_else(|| {
            Failure::failed(format!(
                "{}: expected an adapter, a folder with {PEFT_CONFIG} or a GGUF file whose general.type is adapter, \
                 found neither",
                path.display()
            ))
        })
    }

    pub fn path(&self) -> &Path {
        match self {
            Self::Peft(path) | Self::Gguf(path) => path,
        }
    }

    /// Reads the adapter of a model.
    pub fn load(&self, model: &BitNetLmConfig) -> Result<AdapterFolder, Failure> {
        Ok(match self {
            Self::Peft(folder) => peft::load(folder)?,
            Self::Gguf(file) => gguf::load_adapter(file, model)?,
        })
    }
}

/// Returns whether a GGUF file is one of an adapter.
pub fn is_adapter(metadata: &GgufMetadata) -> bool {
    let kind = metadata.optional::<&str>("general.type");
    kind.is_ok_and(|kind| kind == Some("adapter"))
}
