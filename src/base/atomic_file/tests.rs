//! Files that are whole or not there.

use std::{
    fs,
    io::{self, Write},
    path::Path,
};

use super::write;

fn put(path: &Path, text: &str) -> io::Result<()> {
    write(path, |file| file.write_all(text.as_bytes()))
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap();
    let name = |entry: io::Result<fs::DirEntry>| entry.unwrap().file_name();
    let mut names: Vec<_> = entries.map(name).collect();
    names.sort();
    let text = |name: std::ffi::OsString| name.to_string_lossy().into_owned();
    names.into_iter().map(text).collect()
}

#[test]
fn an_older_file_stays_until_the_new_one_is_whole() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    put(&path, "old").unwrap();
    let failed = write(&path, |file| {
        file.write_all(b"half")?;
        Err(io::Error::other("no more"))
    });
    assert_eq!(failed.unwrap_err().to_string(), "no more");
    assert_eq!(fs::read_to_string(&path).unwrap(), "old");
    put(&path, "new").unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "new");
    assert_eq!(names(folder.path()), ["file"]);
}

#[test]
fn a_folder_is_an_error_and_a_missing_one_too() {
    let folder = tempfile::tempdir().unwrap();
    let error = put(folder.path(), "text").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
    assert_eq!(
        error.to_string(),
        "expected a file or nothing, found a folder"
    );
    let error = put(&folder.path().join("none/file"), "text").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::NotFound);
    assert_eq!(names(folder.path()), Vec::<String>::new());
}

#[cfg(unix)]
#[test]
fn a_link_stays_and_what_it_leads_to_is_written() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("elsewhere")).unwrap();
    symlink("elsewhere/file", path("link")).unwrap();
    // First without an older file, then over one.
    for text in ["first", "second"] {
        put(&path("link"), text).unwrap();
        assert!(path("link").is_symlink());
        let written = fs::read_to_string(path("elsewhere/file")).unwrap();
        assert_eq!(written, text);
    }
    assert_eq!(names(&path("elsewhere")), ["file"]);

    symlink("round", path("round")).unwrap();
    let error = put(&path("round"), "text").unwrap_err();
    assert!(error.to_string().contains("symbolic links"), "{error}");
}

#[cfg(target_os = "linux")]
#[test]
fn devices_and_pipes_are_written_to_as_they_are() {
    use std::os::unix::fs::{FileTypeExt, symlink};
    let folder = tempfile::tempdir().unwrap();
    let link = folder.path().join("full");
    symlink("/dev/full", &link).unwrap();
    for path in [Path::new("/dev/full"), &link] {
        let error = put(path, "text").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::StorageFull);
    }
    put(Path::new("/dev/null"), "text").unwrap();
    assert!(link.is_symlink());

    let pipe = folder.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    if !made.is_ok_and(|status| status.success()) {
        return;
    }
    let reader = std::thread::spawn({
        let pipe = pipe.clone();
        move || fs::read_to_string(pipe).unwrap()
    });
    put(&pipe, "text").unwrap();
    assert_eq!(reader.join().unwrap(), "text");
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
}
