//! `bitnet-burn inspect`.

mod adapter;
mod checkpoint;
mod gguf_file;
mod safetensors_file;
mod tensor;
mod text_files;

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use crate::{
    adapter_file::PEFT_CONFIG,
    error::Failure,
    output::{self, Output},
};

const EXAMPLES: &str = "\
Examples:
  bitnet-burn inspect run/model                 config.json, tensors, scales and codes
  bitnet-burn inspect model.gguf --no-values    names, types and shapes only, fast
  bitnet-burn inspect run/adapter               method, rank, scale and tensors of an adapter, also one in GGUF
  bitnet-burn inspect run                       the checkpoints of a run, with each file verified
  bitnet-burn inspect train.bin --json";

/// Print the content of a file or a folder.
///
/// Reads safetensors files, folders of Hugging Face and peft, GGUF files, folders of a run and its checkpoints,
/// token files (.bin) and tokenizer.json. Prints the histogram of the codes -1, 0 and 1 and the scale of
/// ternary weights, and the mean magnitude of floats.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// File or folder
    path: PathBuf,
    /// Do not read the values of tensors
    #[arg(long)]
    no_values: bool,
    /// Read tensors of GGUF type 36 as I2_S of bitnet.cpp
    #[arg(long)]
    allow_i2_s: bool,
}

/// Result as text and as JSON.
struct Found {
    kind: &'static str,
    json: Value,
    text: String,
}

pub fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let path = &arguments.path;
    let found = find(arguments)?;
    let bytes = size(path);
    output.result(
        || {
            let mut json = json!({"kind": found.kind, "path": path, "bytes": bytes});
            if let (Some(all), Value::Object(own)) = (json.as_object_mut(), found.json) {
                all.extend(own);
            }
            json
        },
        || {
            let (kind, bytes) = (found.kind, output::bytes(bytes));
            format!("{}: {kind}, {bytes}\n{}", path.display(), found.text)
        },
    )
}

fn find(arguments: &Arguments) -> Result<Found, Failure> {
    let path = arguments.path.as_path();
    let metadata = fs::metadata(path).map_err(Failure::io(path))?;
    let values = !arguments.no_values;
    if metadata.is_dir() {
        let has = |name: &str| path.join(name).exists();
        return match () {
            () if has("manifest.json") => checkpoint::one(path),
            () if has("checkpoints") => checkpoint::run(path),
            () if has(PEFT_CONFIG) => adapter::folder(path, values),
            () if has("config.json") || has("model.safetensors") => {
                safetensors_file::folder(path, values)
            }
            () if has("tokenizer.json") => text_files::tokenizer(path),
            () => checkpoint::folder(path),
        };
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = path.extension().unwrap_or_default().to_string_lossy();
    match (&*name, &*extension) {
        ("tokenizer.json", _) => text_files::tokenizer(path),
        (_, "gguf") => gguf_file::file(path, arguments.allow_i2_s, values),
        (_, "safetensors") => safetensors_file::file(path, values),
        (_, "bin") => text_files::tokens(path),
        _ => Err(Failure::failed(format!(
            "{}: expected a .safetensors, .gguf or .bin file, tokenizer.json, or a folder with one of them \
             or of a run, found another name",
            path.display()
        ))),
    }
}

/// Returns the bytes of a file, or of all files below a folder.
pub fn size(path: &Path) -> u64 {
    let Ok(metadata) = fs::metadata(path) else {
        return 0;
    };
    if !metadata.is_dir() {
        return metadata.len();
    }
    let entries = fs::read_dir(path).into_iter().flatten().flatten();
    entries.map(|entry| size(&entry.path())).sum()
}
