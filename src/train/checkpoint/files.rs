//! Files of one checkpoint.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    path::Path,
};

use burn::{tensor::Bytes, train::checkpoint::Checkpoint as Record};

use super::{
    CallbackTensors, CheckpointError, CheckpointManifest, FileEntry, Records,
    manifest::{FORMAT, VERSION},
};
use crate::base::file_error::FileError;

const MANIFEST: &str = "manifest.json";
const MANIFEST_SUM: &str = "manifest.crc32";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const SCHEDULER: &str = "scheduler.bpk";
const CALLBACKS: &str = "callbacks.bpk";

/// Writes a checkpoint into an empty folder.
pub(super) fn write(
    folder: &Path,
    records: Records,
    mut manifest: CheckpointManifest,
) -> Result<(), CheckpointError> {
    manifest.files = vec![
        write_record(folder, MODEL, records.model)?,
        write_record(folder, OPTIMIZER, records.optimizer)?,
        write_record(folder, SCHEDULER, records.scheduler)?,
    ];
    if !records.callbacks.is_empty() {
        let entry = write_record(folder, CALLBACKS, records.callbacks)?;
        manifest.files.push(entry);
    }
    let path = folder.join(MANIFEST);
    let json = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| CheckpointError::record(&path, error))?;
    write_file(&path, &json)?;
    let sum = format!("{:08x}\n", crc32fast::hash(&json));
    write_file(&folder.join(MANIFEST_SUM), sum.as_bytes())?;
    sync_folder(folder)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let write = || {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    Ok(write().map_err(FileError::at(path))?)
}

/// Syncs the names of files in a folder to disk, where the system supports it.
pub(super) fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    if cfg!(unix) {
        let synced = File::open(path).and_then(|folder| folder.sync_all());
        synced.map_err(FileError::at(path))?;
    }
    Ok(())
}

/// Writes a record and reads it back for its checksum.
fn write_record<R: Record>(
    folder: &Path,
    name: &str,
    record: R,
) -> Result<FileEntry, CheckpointError> {
    let path = folder.join(name);
    let saved = record.save(path.clone());
    saved.map_err(|error| CheckpointError::record(&path, error))?;
    let entry = || {
        File::open(&path)?.sync_all()?;
        entry_of(&path, name)
    };
    Ok(entry().map_err(FileError::at(&path))?)
}

/// Reads the length and the checksum of a file.
fn entry_of(path: &Path, name: &str) -> io::Result<FileEntry> {
    let mut file = File::open(path)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut bytes = 0;
    loop {
        match file.read(&mut buffer)? {
            0 => break,
            read => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
    Ok(FileEntry {
        name: name.to_string(),
        bytes,
        crc32: hasher.finalize(),
    })
}

/// Checks the length of a file and then, if it matches, its checksum.
fn compare(path: &Path, expected: &FileEntry, found: &FileEntry) -> Result<(), CheckpointError> {
    if found.bytes != expected.bytes {
        let reason = format!("has {} bytes, expected {}", found.bytes, expected.bytes);
        return Err(CheckpointError::damaged(path, reason));
    }
    compare_sums(path, expected.crc32, found.crc32)
}

fn compare_sums(path: &Path, expected: u32, found: u32) -> Result<(), CheckpointError> {
    if found == expected {
        return Ok(());
    }
    let reason = format!("has the checksum {found:08x}, expected {expected:08x}");
    Err(CheckpointError::damaged(path, reason))
}

pub(super) fn check(folder: &Path, entry: &FileEntry) -> Result<(), CheckpointError> {
    let path = folder.join(&entry.name);
    let found = entry_of(&path, &entry.name).map_err(FileError::at(&path))?;
    compare(&path, entry, &found)
}

/// Reads the records of a checkpoint with the checks of [`check`].
pub(super) fn read_records(
    folder: &Path,
    manifest: &CheckpointManifest,
) -> Result<Records, CheckpointError> {
    let has_tensors = manifest.files.iter().any(|entry| entry.name == CALLBACKS);
    let callbacks = match has_tensors {
        true => read_record(folder, manifest, CALLBACKS)?,
        false => CallbackTensors::default(),
    };
    Ok(Records {
        callbacks,
        model: read_record(folder, manifest, MODEL)?,
        optimizer: read_record(folder, manifest, OPTIMIZER)?,
        scheduler: read_record(folder, manifest, SCHEDULER)?,
    })
}

/// Reads a complete file and checks the same bytes that are used later.
fn read_record<R: Record>(
    folder: &Path,
    manifest: &CheckpointManifest,
    name: &str,
) -> Result<R, CheckpointError> {
    let path = folder.join(name);
    let entry = manifest.files.iter().find(|entry| entry.name == name);
    let entry = entry.ok_or_else(|| {
        let reason = format!("is no checkpoint: it lists no {name}");
        CheckpointError::damaged(&folder.join(MANIFEST), reason)
    })?;
    let bytes = fs::read(&path).map_err(FileError::at(&path))?;
    let found = FileEntry {
        name: name.to_string(),
        bytes: bytes.len() as u64,
        crc32: crc32fast::hash(&bytes),
    };
    compare(&path, entry, &found)?;
    R::checkpoint_from_bytes(Bytes::from_bytes_vec(bytes))
        .map_err(|error| CheckpointError::record(&path, error))
}

pub(super) fn read_manifest(folder: &Path) -> Result<CheckpointManifest, CheckpointError> {
    let path = folder.join(MANIFEST);
    let bytes = fs::read(&path).map_err(FileError::at(&path))?;
    let foreign =
        |reason: String| CheckpointError::damaged(&path, format!("is no checkpoint: {reason}"));
    // Format and version are checked first: another version may have other checksums.
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| foreign(error.to_string()))?;
    let format = value.get("format").and_then(|format| format.as_str());
    if format != Some(FORMAT) {
        return Err(foreign(format!("its format is {format:?}, not {FORMAT:?}")));
    }
    let version = value.get("version").and_then(|version| version.as_u64());
    let found = version.ok_or_else(|| foreign("it has no version".to_string()))?;
    if found != VERSION {
        return Err(CheckpointError::OtherVersion {
            path,
            supported: VERSION,
            found,
        });
    }
    let sum_path = folder.join(MANIFEST_SUM);
    let sum = fs::read_to_string(&sum_path).map_err(FileError::at(&sum_path))?;
    let expected = u32::from_str_radix(sum.trim_end(), 16)
        .map_err(|error| CheckpointError::record(&sum_path, error))?;
    compare_sums(&path, expected, crc32fast::hash(&bytes))?;
    serde_json::from_value(value).map_err(|error| foreign(error.to_string()))
}
