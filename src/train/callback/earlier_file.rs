use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Gives a file of an earlier training another name, `log.earlier-1.jsonl` for `log.jsonl`, so that a
/// new one does not overwrite it. Returns the name, if there was such a file.
pub(super) fn set_aside(path: &Path) -> io::Result<Option<PathBuf>> {
    if !path.exists() {
        return Ok(None);
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let extension = path.extension().map_or(String::new(), |extension| {
        format!(".{}", extension.to_string_lossy())
    });
    let mut names = (1..).map(|number| {
        let name = format!("{stem}.earlier-{number}{extension}");
        path.with_file_name(name)
    });
    let name = names.find(|name| !name.exists());
    let name = name.expect("numbers do not end");
    fs::rename(path, &name)?;
    Ok(Some(name))
}
