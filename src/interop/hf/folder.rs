//! A folder that is written as a whole.

use std::{
    ffi::OsStr,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process,
};

use super::HfError;
use crate::base::atomic_file::replace;

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

/// Folder of further chat templates.
const TEMPLATE_FOLDER: &str = "additional_chat_templates";

/// Ends the name of a chat template.
const TEMPLATE_SUFFIX: &str = ".jinja";

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
        // Beside what a link leads to, which may be on another disk.
        let linked = fs::canonicalize(target)
            .ok()
            .filter(|_| target.is_symlink());
        let target = linked.as_deref().unwrap_or(target);
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

    /// Writes a JSON file.
    pub fn write_json(&self, name: &str, value: &impl serde::Serialize) -> Result<(), HfError> {
        let path = self.file(name);
        let json = serde_json::to_vec_pretty(value);
        let mut json = json.map_err(|error| HfError::file(&path, error))?;
        json.push(b'\n');
        fs::write(&path, json).map_err(HfError::io(&path))
    }

    /// Copies the files of a tokenizer and the chat templates, as far as a folder has them.
    pub fn copy_tokenizer(&self, from: &Path) -> Result<(), HfError> {
        for name in TOKENIZER_FILES {
            let source = from.join(name);
            if source.is_file() {
                fs::copy(&source, self.file(name)).map_err(HfError::io(&source))?;
            }
        }
        self.copy_templates(&from.join(TEMPLATE_FOLDER))
    }

    fn copy_templates(&self, from: &Path) -> Result<(), HfError> {
        if !from.is_dir() {
            return Ok(());
        }
        let to = self.file(TEMPLATE_FOLDER);
        fs::create_dir_all(&to).map_err(HfError::io(&to))?;
        for entry in fs::read_dir(from).map_err(HfError::io(from))? {
            let source = entry.map_err(HfError::io(from))?.path();
            let is_template = |name: &&OsStr| name.to_string_lossy().ends_with(TEMPLATE_SUFFIX);
            if let Some(name) = source.file_name().filter(is_template) {
                fs::copy(&source, to.join(name)).map_err(HfError::io(&source))?;
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
            replace(&self.path.join(name), &self.target.join(name))?;
        }
        self.publish_templates()?;
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

    /// The further templates, in the place of those of a model that was there before.
    fn publish_templates(&self) -> io::Result<()> {
        let (from, to) = (
            self.path.join(TEMPLATE_FOLDER),
            self.target.join(TEMPLATE_FOLDER),
        );
        let new = file_names_if_any(&from)?;
        for name in file_names_if_any(&to)? {
            if name.ends_with(TEMPLATE_SUFFIX) && !new.contains(&name) {
                fs::remove_file(to.join(name))?;
            }
        }
        if !new.is_empty() {
            fs::create_dir_all(&to)?;
        }
        for name in &new {
            replace(&from.join(name), &to.join(name))?;
        }
        Ok(())
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

fn file_names_if_any(folder: &Path) -> io::Result<Vec<String>> {
    match folder.is_dir() {
        true => file_names(folder),
        false => Ok(Vec::new()),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn further_templates_are_those_of_the_new_model() {
        let (from, to) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let further = from.path().join(TEMPLATE_FOLDER);
        fs::create_dir(&further).unwrap();
        fs::write(further.join("tool_use.jinja"), "new").unwrap();
        fs::write(further.join("notes.txt"), "no template").unwrap();
        let target = to.path().join("model");
        let old = target.join(TEMPLATE_FOLDER);
        fs::create_dir_all(&old).unwrap();
        fs::write(old.join("rag.jinja"), "old").unwrap();
        fs::write(old.join("notes.txt"), "of the user").unwrap();
        let new = NewFolder::create(&target, true).unwrap();
        new.copy_tokenizer(from.path()).unwrap();
        new.finish().unwrap();
        let mut names = file_names(&old).unwrap();
        names.sort();
        assert_eq!(names, ["notes.txt", "tool_use.jinja"]);
        assert_eq!(
            fs::read_to_string(old.join("tool_use.jinja")).unwrap(),
            "new"
        );
    }

    #[cfg(unix)]
    #[test]
    fn links_to_the_folder_and_in_it_stay() {
        use std::os::unix::fs::symlink;
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name);
        fs::create_dir_all(path("disk/model")).unwrap();
        fs::write(path("disk/blob"), "old").unwrap();
        symlink("../blob", path("disk/model/config.json")).unwrap();
        symlink("disk/model", path("link")).unwrap();
        let new = NewFolder::create(&path("link"), true).unwrap();
        fs::write(new.file("config.json"), "new").unwrap();
        new.finish().unwrap();
        assert!(path("link").is_symlink());
        assert!(path("disk/model/config.json").is_symlink());
        assert_eq!(fs::read_to_string(path("disk/blob")).unwrap(), "new");
        assert_eq!(file_names(&path("disk")).unwrap(), ["blob"]);
        let entries = fs::read_dir(path("disk")).unwrap().count();
        assert_eq!(entries, 2, "something is left");
    }
}
