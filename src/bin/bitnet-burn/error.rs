//! Errors that end the program.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use bitnet_burn::{
    DeviceError,
    interop::{gguf, hf::HfError, peft::PeftFileError},
    monitor::HistoryError,
    peft::PeftError,
    text::{TextError, dataset::TextDataError},
    train::{
        RunFolderError, TrainerError, checkpoint::CheckpointError, config::TrainingConfigError,
    },
};
use burn::data::dataset::DatasetError;

/// Error message of one sentence, with its exit code.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Invalid or conflicting arguments.
    #[error("{0} (--help lists the options)")]
    Usage(String),
    /// Error of a file, the data or the device.
    #[error("{0}")]
    Failed(String),
}

impl Failure {
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    pub fn failed(message: impl Into<String>) -> Self {
        Self::Failed(message.into())
    }

    /// Converts I/O errors of a path, for `map_err`.
    pub fn io(path: &Path) -> impl Fn(io::Error) -> Self + '_ {
        |error| {
            let path = path.display();
            Self::Failed(match error.kind() {
                io::ErrorKind::NotFound => format!(
                    "{path}: expected a file or a folder, found nothing of this name: check the path"
                ),
                _ => format!("{path}: {error}"),
            })
        }
    }

    /// Rejects missing paths before anything is computed.
    pub fn unless_present<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) -> Result<(), Self> {
        for path in paths {
            fs::metadata(path).map_err(Self::io(path))?;
        }
        Ok(())
    }

    /// Prefixes the message with its subject.
    pub fn about(self, subject: impl fmt::Display) -> Self {
        match self {
            Self::Usage(message) => Self::Usage(format!("{subject}: {message}")),
            Self::Failed(message) => Self::Failed(format!("{subject}: {message}")),
        }
    }

    pub fn exit_code(&self) -> ExitCode {
        match self {
            Self::Usage(_) => ExitCode::from(2),
            Self::Failed(_) => ExitCode::FAILURE,
        }
    }
}

/// Names of library settings in error messages, and the flags that replace them.
const FLAGS: [(&str, &str); 15] = [
    (
        "LoadOptions::with_activation",
        "--activation relu2 or --activation silu",
    ),
    ("SaveOptions::with_squared_relu", "--allow-squared-relu"),
    ("LoadOptions::with_max_positions", "--max-positions"),
    ("LoadOptions::with_scale_convention", "--input-scale"),
    ("allow to overwrite it", "replace it with --overwrite"),
    ("SaveOptions::with_scales_in_weights", "--scales-in-weights"),
    ("BitNetLm::merge", "bitnet-burn merge"),
    ("TextDataConfig::text", "--text"),
    ("TextDataConfig::validation", "--validation"),
    ("TextDataConfig::tokenizer", "--tokenizer FILE"),
    ("TextDataConfig::records", "--records"),
    ("TextDataConfig::context", "--context"),
    ("RunFolder::new", "--out"),
    ("RunFolder::overwrite", "--overwrite"),
    ("RunFolder::resume", "--resume"),
];

fn with_flags(message: String) -> String {
    let named = FLAGS.iter();
    named.fold(message, |message, (of_library, flag)| {
        message.replace(of_library, flag)
    })
}

/// Converts errors of the library, whose messages are sentences.
macro_rules! from_library {
    ($($error:ty),* $(,)?) => {
        $(impl From<$error> for Failure {
            fn from(error: $error) -> Self {
                Self::Failed(with_flags(error.to_string()))
            }
        })*
    };
}

from_library!(
    CheckpointError,
    DatasetError,
    HfError,
    HistoryError,
    PeftError,
    PeftFileError,
    TextError,
    TrainerError,
    TrainingConfigError,
    gguf::GgufError,
    gguf::tokenizer::TokenizerError,
);

impl From<DeviceError> for Failure {
    fn from(error: DeviceError) -> Self {
        match error {
            DeviceError::Unknown { name, known } => {
                Self::Usage(format!("--device is one of {known}, got `{name}`"))
            }
            DeviceError::NotCompiled { name } => Self::Failed(format!(
                "the device {name} is not compiled in: build the program with `--features cli,{name}`"
            )),
        }
    }
}

impl From<TextDataError> for Failure {
    fn from(error: TextDataError) -> Self {
        let message = with_flags(error.to_string());
        match error {
            TextDataError::Settings(_) => Self::Usage(message),
            _ => Self::Failed(message),
        }
    }
}

impl From<RunFolderError> for Failure {
    fn from(error: RunFolderError) -> Self {
        let message = with_flags(error.to_string());
        match error {
            RunFolderError::Io { path, source } => Self::io(&path)(source),
            RunFolderError::OtherSettings { .. } => Self::Usage(message),
            _ => Self::Failed(message),
        }
    }
}
