//! The tensors of a folder: one safetensors file, or several with an index.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs::File,
    ops::Range,
    path::{Path, PathBuf},
};

use memmap2::Mmap;
use safetensors::{SafeTensors, tensor::TensorInfo};
use serde::{Deserialize, Serialize};

use super::{
    HfError,
    error::{TensorProblem, read_json},
};
use crate::interop::safetensors_header::check_header;

pub(super) const SINGLE_FILE: &str = "model.safetensors";
pub(super) const INDEX_FILE: &str = "model.safetensors.index.json";

/// `model.safetensors.index.json`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct ShardIndex {
    #[serde(default)]
    pub metadata: serde_json::Map<String, serde_json::Value>,
    /// File of each tensor.
    pub weight_map: BTreeMap<String, String>,
}

/// A safetensors file in memory as far as its pages were read.
#[derive(Debug)]
struct MappedFile {
    map: Mmap,
    data_start: usize,
}

/// Where a tensor is.
#[derive(Debug, Clone)]
pub(super) struct Entry {
    pub info: TensorInfo,
    file: usize,
}

/// The tensors of a folder, not read yet.
#[derive(Debug)]
pub(super) struct Checkpoint {
    files: Vec<MappedFile>,
    entries: BTreeMap<String, Entry>,
    /// The `__metadata__` of all files.
    metadata: Vec<HashMap<String, String>>,
}

impl Checkpoint {
    /// Opens `model.safetensors`, or the files that the index names.
    pub fn open(folder: &Path) -> Result<Self, HfError> {
        let mut checkpoint = Self {
            files: Vec::new(),
            entries: BTreeMap::new(),
            metadata: Vec::new(),
        };
        let single = folder.join(SINGLE_FILE);
        let index = folder.join(INDEX_FILE);
        if single.exists() || !index.exists() {
            checkpoint.add(&single)?;
            return Ok(checkpoint);
        }
        let weight_map = read_index(&index)?.weight_map;
        let mut problems = Vec::new();
        for shard in BTreeSet::from_iter(weight_map.values()) {
            checkpoint.add(&folder.join(shard))?;
            let names = weight_map.iter().filter(|(_, file)| *file == shard);
            let lacks = names.filter(|(name, _)| !checkpoint.is_in_last_file(name));
            problems.extend(lacks.map(|(name, shard)| TensorProblem::NotInShard {
                name: name.clone(),
                shard: shard.clone(),
            }));
        }
        HfError::check(folder, problems).map(|()| checkpoint)
    }

    fn is_in_last_file(&self, name: &str) -> bool {
        let entry = self.entries.get(name);
        entry.is_some_and(|entry| entry.file + 1 == self.files.len())
    }

    fn add(&mut self, path: &Path) -> Result<(), HfError> {
        let file = File::open(path).map_err(HfError::io(path))?;
        // SAFETY: the map is read only. As with every reader that maps files, another program that
        // shortens the file meanwhile ends this one.
        let map = unsafe { Mmap::map(&file) }.map_err(HfError::io(path))?;
        check_header(&map).map_err(|error| HfError::file(path, error))?;
        let header = SafeTensors::read_metadata(&map);
        let (length, metadata) = header.map_err(|error| HfError::file(path, error))?;
        let number = self.files.len();
        for (name, info) in metadata.tensors() {
            let entry = Entry {
                info: info.clone(),
                file: number,
            };
            if self.entries.insert(name.clone(), entry).is_some() {
                let reason = format!("{name} is in another file of the folder, too");
                return Err(HfError::file(path, reason));
            }
        }
        self.metadata.extend(metadata.metadata().clone());
        self.files.push(MappedFile {
            map,
            data_start: 8 + length,
        });
        Ok(())
    }

    /// Names, types and shapes.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = (&str, &TensorInfo)> {
        self.entries
            .iter()
            .map(|(name, entry)| (name.as_str(), &entry.info))
    }

    /// Type, shape and place of a tensor.
    pub fn get(&self, name: &str) -> Option<&Entry> {
        self.entries.get(name)
    }

    /// The bytes of a tensor.
    pub fn bytes(&self, entry: &Entry) -> &[u8] {
        let file = &self.files[entry.file];
        let (start, end) = entry.info.data_offsets;
        &file.map[file.data_start + start..file.data_start + end]
    }

    /// Lets go of the pages of bytes of a tensor that were read. They are a copy of what is on the disk,
    /// and with the tensor made of them a model would take its size twice.
    pub fn release(&self, entry: &Entry, bytes: Range<usize>) {
        #[cfg(unix)]
        {
            let file = &self.files[entry.file];
            let start = file.data_start + entry.info.data_offsets.0 + bytes.start;
            // SAFETY: the pages of a map of a file that nobody writes to are read again where needed.
            let released = unsafe {
                let advice = memmap2::UncheckedAdvice::DontNeed;
                file.map.unchecked_advise_range(advice, start, bytes.len())
            };
            // It is advice: without it the pages stay until the system wants them.
            let _ = released;
        }
        #[cfg(not(unix))]
        let _ = (entry, bytes);
    }

    /// Returns the values of a key in the `__metadata__` of each file.
    pub fn metadata(&self, key: &str) -> impl Iterator<Item = &str> {
        let values = self.metadata.iter().filter_map(move |file| file.get(key));
        values.map(String::as_str)
    }

    /// Bytes of all tensors.
    pub fn num_bytes(&self) -> usize {
        let sizes = self.entries.values().map(|entry| {
            let (start, end) = entry.info.data_offsets;
            end - start
        });
        sizes.sum()
    }
}

fn read_index(path: &Path) -> Result<ShardIndex, HfError> {
    let index: ShardIndex = read_json(path)?;
    let is_file_name = |shard: &String| {
        let name = PathBuf::from(shard);
        name.file_name().is_some_and(|name| name == shard.as_str())
    };
    match index.weight_map.values().find(|shard| !is_file_name(shard)) {
        Some(shard) => {
            let reason = format!("weight_map names {shard:?}, which is no file of the folder");
            Err(HfError::file(path, reason))
        }
        None => Ok(index),
    }
}
