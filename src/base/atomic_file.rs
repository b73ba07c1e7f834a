//! Atomic file writes.
//!
//! A file is written under a temporary name and renamed, so that an older file stays until the new one is
//! complete. Only a regular file is replaced. A symbolic link stays, and its target is replaced; a
//! character device or a pipe is written to directly; everything else is an error.

use std::{
    fs::{self, File, FileType, OpenOptions},
    io,
    path::{Path, PathBuf},
};

use burn_pack::AtomicFile;

/// Maximum number of symbolic links in a chain, as on Linux.
const MAX_LINKS: usize = 40;

/// The destination of a write, with symbolic links resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Destination {
    /// A regular file, or a path without a file; never a link.
    File(PathBuf),
    /// A character device or a pipe, which is written to directly.
    Stream(PathBuf),
}

impl Destination {
    /// Resolves a path.
    ///
    /// # Errors
    ///
    /// If the path is a folder, a block device or a socket, or its metadata cannot be read.
    pub(crate) fn of(path: &Path) -> io::Result<Self> {
        let metadata = match fs::metadata(path) {
            Ok(metadata) => metadata,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return end_of_links(path).map(Self::File);
            }
            Err(error) => return Err(error),
        };
        if metadata.is_file() {
            return match fs::symlink_metadata(path)?.is_symlink() {
                true => fs::canonicalize(path).map(Self::File),
                false => Ok(Self::File(path.to_path_buf())),
            };
        }
        match is_stream(metadata.file_type()) {
            true => Ok(Self::Stream(path.to_path_buf())),
            false => Err(not_writable(&metadata)),
        }
    }

    /// Opens the file for appending.
    #[cfg(feature = "train")]
    pub(crate) fn append(&self) -> io::Result<File> {
        match self {
            Self::File(path) => OpenOptions::new().create(true).append(true).open(path),
            Self::Stream(path) => OpenOptions::new().append(true).open(path),
        }
    }
}

/// Returns the end of a chain of dangling links; any other path is returned unchanged.
fn end_of_links(path: &Path) -> io::Result<PathBuf> {
    let mut path = path.to_path_buf();
    for _ in 0..MAX_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(metadata) if metadata.is_symlink() => {
                path = folder(&path).join(fs::read_link(&path)?);
            }
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => return Ok(path),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

fn not_writable(metadata: &fs::Metadata) -> io::Error {
    match metadata.is_dir() {
        true => io::Error::new(
            io::ErrorKind::IsADirectory,
            "expected a file or nothing, found a folder",
        ),
        false => io::Error::new(
            io::ErrorKind::InvalidInput,
            "expected a file, a pipe or a character device, found something else",
        ),
    }
}

#[cfg(unix)]
fn is_stream(file_type: FileType) -> bool {
    use std::os::unix::fs::FileTypeExt;
    file_type.is_char_device() || file_type.is_fifo()
}

#[cfg(not(unix))]
fn is_stream(_file_type: FileType) -> bool {
    false
}

fn folder(path: &Path) -> &Path {
    let parent = path.parent();
    let parent = parent.filter(|parent| !parent.as_os_str().is_empty());
    parent.unwrap_or(Path::new("."))
}

/// A file that gets its name when it is [finished](Self::finish) and is removed if it is dropped
/// before. The bytes for a pipe or a device are written to it at once.
pub(crate) struct NewFile {
    file: File,
    /// Scratch file that is renamed at the end; `None` for a pipe or a device.
    scratch: Option<AtomicFile>,
}

impl core::fmt::Debug for NewFile {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        let path = self.scratch.as_ref().map(AtomicFile::path);
        f.debug_struct("NewFile").field("scratch", &path).finish()
    }
}

impl NewFile {
    /// Creates a file with the final name `path`, or opens the pipe or device of this name.
    ///
    /// # Errors
    ///
    /// If the path is a folder or another special file, or the folder is not writable.
    pub(crate) fn create(path: &Path) -> io::Result<Self> {
        match Destination::of(path)? {
            Destination::Stream(path) => Ok(Self {
                file: OpenOptions::new().write(true).open(path)?,
                scratch: None,
            }),
            Destination::File(path) => {
                // Fails with the error kind of a missing folder, which the next call does not return.
                fs::metadata(folder(&path))?;
                let (scratch, file) = AtomicFile::create(&path).map_err(io_error)?;
                let scratch = Some(scratch);
                Ok(Self { file, scratch })
            }
        }
    }

    /// Returns the file to write to.
    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Syncs the file to disk and renames it to its final name.
    ///
    /// # Errors
    ///
    /// If writing fails, for example on a full disk. The older file is then unchanged.
    pub(crate) fn finish(self) -> io::Result<()> {
        let Some(scratch) = self.scratch else {
            return Ok(());
        };
        // An error of an earlier write is reported by this handle only.
        self.file.sync_all()?;
        drop(self.file);
        scratch.commit().map_err(io_error)
    }
}

impl io::Write for NewFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

fn io_error(error: burn_pack::Error) -> io::Error {
    match error {
        burn_pack::Error::IoError(message) => io::Error::other(message),
        error => io::Error::other(error.to_string()),
    }
}

/// Writes a file atomically: an older file stays until the new one is complete, and if a step fails.
///
/// # Errors
///
/// If `write` fails, the path is not a file, pipe or character device, or the disk rejects the file.
pub fn write(path: &Path, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
    let mut file = NewFile::create(path)?;
    write(file.file())?;
    file.finish()
}

/// Renames a complete file, replacing an older file of the new name.
///
/// # Errors
///
/// As [`write`].
#[cfg(feature = "interop")]
pub(crate) fn replace(from: &Path, to: &Path) -> io::Result<()> {
    if Destination::of(to)? == Destination::File(to.to_path_buf()) {
        return fs::rename(from, to);
    }
    // The target of a link may be on another disk.
    write(to, |file| io::copy(&mut File::open(from)?, file).map(drop))?;
    fs::remove_file(from)
}

#[cfg(test)]
mod tests;
