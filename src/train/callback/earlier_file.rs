use std::{
    fs, io,
    path::{Path, PathBuf},
};

use crate::base::atomic_file::Destination;

/// Gives a file of an earlier training another name, `log.earlier-1.jsonl` for `log.jsonl`, so that a
/// new one does not overwrite it. Returns the name, if there was such a file.
///
/// Only a regular file is moved: pipes and devices stay, and of a symbolic link what it leads to.
pub(super) fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    let path = match Destination::of(path)? {
        Destination::File(path) if path.exists() => path,
        _ => return Ok(None),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or(String::new(), |extension| {
        format!(".{}", extension.to_string_lossy())
    });
    let mut names = (1..).map(|number| {
        let name = format!("{stem}.earlier-{number}{extension}");
        path.with_file_name(name)
    });
    // A link to nothing has its name, too.
    let name = names.find(|name| fs::symlink_metadata(name).is_err());
    let name = name.expect("numbers do not end");
    fs::rename(&path, &name)?;
    Ok(Some(name))
}
