use std::{fs, path::Path};

use tempfile::TempDir;

/// Start of a line with the name of a file; the bytes up to the next such line are its content.
const MARK: &[u8] = b"--- ";

/// Creates a folder with the known files in the bytes; the first file of a repeated name is used.
pub fn folder(data: &[u8], names: &[&str]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, bytes) in parts(data) {
        let path = folder.path().join(name);
        if names.contains(&name) && !path.exists() {
            fs::write(path, bytes).expect("a file in it");
        }
    }
    folder
}

/// Creates a folder with one file.
pub fn one_file(name: &str, data: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    fs::write(folder.path().join(name), data).expect("a file in it");
    folder
}

/// Returns the bytes from which [`folder`] creates these files.
pub fn folder_bytes<'a>(files: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Vec<u8> {
    let mut data = Vec::new();
    for (name, bytes) in files {
        if !data.is_empty() {
            data.push(b'\n');
        }
        data.extend([MARK, name.as_bytes(), b"\n", bytes].concat());
    }
    data
}

fn parts(data: &[u8]) -> Vec<(&str, &[u8])> {
    let starts: Vec<usize> = (0..data.len())
        .filter(|&i| data[i..].starts_with(MARK) && (i == 0 || data[i - 1] == b'\n'))
        .collect();
    let ends = starts
        .iter()
        .skip(1)
        .map(|next| next - 1)
        .chain([data.len()]);
    let part = |(&start, end): (&usize, usize)| {
        let part = &data[start + MARK.len()..end.max(start + MARK.len())];
        let line = part.iter().position(|&byte| byte == b'\n')?;
        let name = std::str::from_utf8(&part[..line]).ok()?;
        Some((name, &part[line + 1..]))
    };
    starts.iter().zip(ends).filter_map(part).collect()
}

/// Returns whether a file of the folder exists.
pub fn has(folder: &TempDir, name: &str) -> bool {
    Path::exists(&folder.path().join(name))
}
