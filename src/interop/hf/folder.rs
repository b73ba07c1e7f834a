//! A folder that is written as a whole.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
};

use super::HfError;

/// Files beside the model that belong to its tokenizer.
const TOKENIZER_FILES: [&str; 11] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "tokenizer.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "chat_template.jinja",
    "chat_template.json",
    "generation_config.json",
];

/// A folder beside the model with further chat templates.
const TEMPLATES: &str = "additional_chat_templates";

/// A folder beside the one that will have its files. What is there stays until all of them are whole;
/// files that were not finished go with the value.
#[derive(Debug)]
pub(super) struct NewFolder {
    target: PathBuf,
    path: PathBuf,
}

impl NewFolder {
    pub fn create(target: &Path, overwrite: bool) -> Result<Self, HfError> {
        if !overwrite && !is_free(target).map_err(HfError::io(target))? {
            return Err(HfError::Exists {
                path: target.to_path_buf(),
            });
        }
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let parent = target
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or(Path::new("."));
        fs::create_dir_all(parent).map_err(HfError::io(parent))?;
        let path = parent.join(format!(".{name}.{}.new", process::id()));
        // Of a process of this number that was killed.
        if path.exists() {
            fs::remove_dir_all(&path).map_err(HfError::io(&path))?;
        }
        fs::create_dir(&path).map_err(HfError::io(&path))?;
        Ok(Self {
            target: target.to_path_buf(),
            path,
        })
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// Copies the files of a tokenizer and the chat templates, as far as a folder has them.
    pub fn copy_tokenizer(&self, from: &Path) -> Result<(), HfError> {
        let templates = from.join(TEMPLATES);
        if templates.is_dir() {
            let new = self.file(TEMPLATES);
            fs::create_dir(&new).map_err(HfError::io(&new))?;
            for name in file_names(&templates).map_err(HfError::io(&templates))? {
                let source = templates.join(&name);
                fs::copy(&source, new.join(&name)).map_err(HfError::io(&source))?;
            }
        }
        for name in TOKENIZER_FILES {
            let source = from.join(name);
            if source.is_file() {
                fs::copy(&source, self.file(name)).map_err(HfError::io(&source))?;
            }
        }
        Ok(())
    }

    /// Puts the files where they belong, and removes the weights that were there before.
    pub fn finish(self) -> Result<(), HfError> {
        let io = HfError::io(&self.target);
        self.publish().map_err(io)
    }

    fn publish(&self) -> io::Result<()> {
        let names = file_names(&self.path)?;
        for name in &names {
            File::open(self.path.join(name))?.sync_all()?;
        }
        fs::create_dir_all(&self.target)?;
        for name in &names {
            fs::rename(self.path.join(name), self.target.join(name))?;
        }
        let [templates, target] = [&self.path, &self.target].map(|folder| folder.join(TEMPLATES));
        if templates.is_dir() {
            if target.is_dir() {
                fs::remove_dir_all(&target)?;
            }
            fs::rename(templates, target)?;
        }
        // Weights of a model in more files, or in fewer.
        for name in file_names(&self.target)? {
            let weights = name.starts_with("model")
                && (name.ends_with(".safetensors") || name.ends_with(".safetensors.index.json"));
            if weights && !names.contains(&name) {
                fs::remove_file(self.target.join(name))?;
            }
        }
        match cfg!(unix) {
            true => File::open(&self.target)?.sync_all(),
            false => Ok(()),
        }
    }
}

impl Drop for NewFolder {
    fn drop(&mut self) {
        // Empty after `finish`; there is nobody to tell if it cannot be removed.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn is_free(target: &Path) -> io::Result<bool> {
    match fs::read_dir(target) {
        Ok(mut entries) => Ok(entries.next().is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        Err(error) => Err(error),
    }
}

fn file_names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    Ok(names)
}
