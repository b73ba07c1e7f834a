//! Files of one checkpoint.

use std::{
    fs::{self, File},
    io::{Read, Write},
    path::Path,
};

use burn::{tensor::Bytes, train::checkpoint::Checkpoint as Record};

use super::{
    CheckpointError, CheckpointManifest, Description, FileEntry, Records,
    manifest::{FORMAT, VERSION},
};

const MANIFEST: &str = "manifest.json";
const MANIFEST_SUM: &str = "manifest.crc32";
const MODEL: &str = "model.bpk";
const OPTIMIZER: &str = "optimizer.bpk";
const SCHEDULER: &str = "scheduler.bpk";

/// Writes a checkpoint into an empty folder.
pub(super) fn write(
    folder: &Path,
    records: Records,
    description: Description<'_>,
) -> Result<(), CheckpointError> {
    let files = vec![
        write_record(folder, MODEL, records.model)?,
        write_record(folder, OPTIMIZER, records.optimizer)?,
        write_record(folder, SCHEDULER, records.scheduler)?,
    ];
    let manifest = CheckpointManifest {
        format: FORMAT.to_string(),
        version: VERSION,
        position: description.position,
        fingerprint: description.fingerprint.to_string(),
        settings: description.settings.clone(),
        tensors: description.tensors.to_vec(),
        metric: description.metric,
        over: description.over,
        files,
        callbacks: description.callbacks,
    };
    let path = folder.join(MANIFEST);
    let json = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| CheckpointError::record(&path, error))?;
    write_file(&path, &json)?;
    let sum = format!("{:08x}\n", crc32fast::hash(&json));
    write_file(&folder.join(MANIFEST_SUM), sum.as_bytes())?;
    sync_folder(folder)
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let io = |source| CheckpointError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut file = File::create(path).map_err(io)?;
    file.write_all(bytes).map_err(io)?;
    file.sync_all().map_err(io)
}

/// Syncs the names of files in a folder to disk, where the system supports it.
pub(super) fn sync_folder(path: &Path) -> Result<(), CheckpointError> {
    match cfg!(unix) {
        true => File::open(path)
            .and_then(|folder| folder.sync_all())
            .map_err(CheckpointError::io(path)),
        false => Ok(()),
    }
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
    let file = File::open(&path).map_err(CheckpointError::io(&path))?;
    file.sync_all().map_err(CheckpointError::io(&path))?;
    let (bytes, crc32) = length_and_sum(&path)?;
    let name = name.to_string();
    Ok(FileEntry { name, bytes, crc32 })
}

fn length_and_sum(path: &Path) -> Result<(u64, u32), CheckpointError> {
    let io = |source| CheckpointError::Io {
        path: path.to_path_buf(),
        source,
    };
    let mut file = File::open(path).map_err(io)?;
    let mut hasher = crc32fast::Hasher::new();
    let mut buffer = vec![0; 1 << 20];
    let mut length = 0;
    loop {
        match file.read(&mut buffer).map_err(io)? {
            0 => return Ok((length, hasher.finalize())),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}

/// Checks the length of a file and then, if it matches, its checksum.
fn compare(path: &Path, entry: &FileEntry, bytes: u64, crc32: u32) -> Result<(), CheckpointError> {
    let path = path.to_path_buf();
    if bytes != entry.bytes {
        return Err(CheckpointError::Length {
            path,
            expected: entry.bytes,
            found: bytes,
        });
    }
    if crc32 != entry.crc32 {
        return Err(CheckpointError::Checksum {
            path,
            expected: entry.crc32,
            found: crc32,
        });
    }
    Ok(())
}

pub(super) fn check(folder: &Path, entry: &FileEntry) -> Result<(), CheckpointError> {
    let path = folder.join(&entry.name);
    let (bytes, crc32) = length_and_sum(&path)?;
    compare(&path, entry, bytes, crc32)
}

/// Reads the records of a checkpoint with the checks of [`check`].
pub(super) fn read_records(
    folder: &Path,
    manifest: &CheckpointManifest,
) -> Result<Records, CheckpointError> {
    Ok(Records {
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
    let entry = entry.ok_or_else(|| CheckpointError::NotACheckpoint {
        path: folder.join(MANIFEST),
        reason: format!("it lists no {name}"),
    })?;
    let bytes = fs::read(&path).map_err(CheckpointError::io(&path))?;
    compare(&path, entry, bytes.len() as u64, crc32fast::hash(&bytes))?;
    R::checkpoint_from_bytes(Bytes::from_bytes_vec(bytes))
        .map_err(|error| CheckpointError::record(&path, error))
}

pub(super) fn read_manifest(folder: &Path) -> Result<CheckpointManifest, CheckpointError> {
    let path = folder.join(MANIFEST);
    let bytes = fs::read(&path).map_err(CheckpointError::io(&path))?;
    let foreign = |reason: String| CheckpointError::NotACheckpoint {
        path: path.clone(),
        reason,
    };
    // Format and version are checked first: another version may have other checksums.
    let value: serde_json::Value =
        serde_json::from_slice(&bytes).map_err(|error| foreign(error.to_string()))?;
    let format = value.get("format").and_then(|format| format.as_str());
    if format != Some(FORMAT) {
        return Err(foreign(format!("its format is {format:?}, not {FORMAT:?}")));
    }
    let version = value.get("version").and_then(|version| version.as_u64());
    match version {
        Some(VERSION) => {}
        Some(found) => {
            return Err(CheckpointError::OtherVersion {
                path,
                supported: VERSION,
                found,
            });
        }
        None => return Err(foreign("it has no version".to_string())),
    }
    let sum_path = folder.join(MANIFEST_SUM);
    let sum = fs::read_to_string(&sum_path).map_err(CheckpointError::io(&sum_path))?;
    let expected = u32::from_str_radix(sum.trim_end(), 16)
        .map_err(|error| CheckpointError::record(&sum_path, error))?;
    let found = crc32fast::hash(&bytes);
    if found != expected {
        return Err(CheckpointError::Checksum {
            path,
            expected,
            found,
        });
    }
    serde_json::from_value(value).map_err(|error| foreign(error.to_string()))
}
