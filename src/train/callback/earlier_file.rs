use std::{fs, io, path::Path};

use crate::base::atomic_file::Destination;

/// Renames a file of an earlier training, `log.jsonl` to `log.earlier-1.jsonl`, so that a new
/// training does not overwrite it.
///
/// Only a regular file is renamed: pipes, devices and the target of a symbolic link stay.
pub(super) fn set_aside(path: &Path) -> io::Result<()> {
    let path = match Destination::of(path)? {
        Destination::File(path) if path.exists() => path,
        _ => return Ok(()),
    };
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or(String::new(), |extension| {
        format!(".{}", extension.to_string_lossy())
    });
    let mut names = (1..).map(|number| {
        let name = format!("{stem}.earlier-{number}{extension}");
        path.with_file_name(name)
    });
    // A dangling link occupies its name, too.
    let name = names.find(|name| fs::symlink_metadata(name).is_err());
    let name = name.expect("numbers do not end");
    fs::rename(&path, name)
}
