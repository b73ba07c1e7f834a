use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use burn::{
    optim::StateSink,
    tensor::{DType, Shape, TensorData},
};

use super::{
    page_file::{PageFile, Written},
    prefetch::Prefetch,
};

/// Error of a page file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} optimizer pages in {folder}: {source}")]
pub struct PageError {
    /// Folder of the file.
    pub folder: PathBuf,
    /// Failed operation: `create`, `write` or `read`.
    pub action: &'static str,
    /// Cause of the failure.
    pub source: io::Error,
}

/// Page file, prefetch and memory budget of the states of an optimizer.
#[derive(Debug)]
pub(super) struct PageStore {
    file: Arc<PageFile>,
    folder: PathBuf,
    prefetch: Prefetch,
    budget: u64,
    pinned: AtomicU64,
    error: Mutex<Option<PageError>>,
}

/// Share of the memory budget of a state in memory.
#[derive(Debug)]
pub(super) struct Pin {
    store: Arc<PageStore>,
    bytes: u64,
}

/// State in the file.
#[derive(Debug)]
pub(super) struct Page {
    place: Place,
    written: Written,
    tensors: Vec<(String, Shape, DType)>,
    /// State without its tensors.
    scalars: StateSink,
}

/// Range of the file, freed on drop.
#[derive(Debug)]
struct Place {
    store: Arc<PageStore>,
    offset: u64,
    len: usize,
}

impl PageStore {
    pub(super) fn create(folder: &Path, budget: u64) -> Result<Self, PageError> {
        let file = PageFile::create(folder);
        let store = file.and_then(|file| Self::new(file, folder, budget));
        store.map_err(|source| PageError {
            folder: folder.to_path_buf(),
            action: "create",
            source,
        })
    }

    fn new(file: PageFile, folder: &Path, budget: u64) -> io::Result<Self> {
        let file = Arc::new(file);
        Ok(Self {
            prefetch: Prefetch::start(file.clone())?,
            file,
            folder: folder.to_path_buf(),
            budget,
            pinned: AtomicU64::new(0),
            error: Mutex::new(None),
        })
    }

    #[cfg(test)]
    pub(super) fn with_file(file: std::fs::File) -> Self {
        Self::new(PageFile::new(file), Path::new("test"), 0).unwrap()
    }

    fn error(&self, action: &'static str, source: io::Error) -> PageError {
        PageError {
            folder: self.folder.clone(),
            action,
            source,
        }
    }

    /// Returns the first error since the last call.
    pub(super) fn take_error(&self) -> Option<PageError> {
        let mut error = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        error.take()
    }

    fn report(&self, error: PageError) {
        let mut first = self.error.lock().unwrap_or_else(PoisonError::into_inner);
        first.get_or_insert(error);
    }

    pub(super) fn bytes_in_memory(&self) -> u64 {
        self.pinned.load(Ordering::Relaxed)
    }

    pub(super) fn bytes_in_file(&self) -> u64 {
        self.file.num_bytes()
    }

    #[cfg(test)]
    pub(super) fn file(&self) -> &PageFile {
        &self.file
    }
}

impl Pin {
    /// Reserves memory for a state, if the budget has room.
    pub(super) fn within_budget(store: &Arc<PageStore>, bytes: u64) -> Option<Self> {
        let pinned = |pinned: u64| (pinned + bytes <= store.budget).then_some(pinned + bytes);
        let update = store
            .pinned
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, pinned);
        update.ok().map(|_| Self {
            store: store.clone(),
            bytes,
        })
    }

    /// Reserves memory for a state regardless of the budget.
    pub(super) fn beyond_budget(store: &Arc<PageStore>, bytes: u64) -> Self {
        store.pinned.fetch_add(bytes, Ordering::Relaxed);
        Self {
            store: store.clone(),
            bytes,
        }
    }
}

impl Clone for Pin {
    fn clone(&self) -> Self {
        Self::beyond_budget(&self.store, self.bytes)
    }
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.store.pinned.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Page {
    /// Writes a state, over an earlier page that is not shared, or to a new place. Returns `None`
    /// on failure; the store keeps the error.
    pub(super) fn write(
        store: &Arc<PageStore>,
        state: StateSink,
        earlier: Option<Arc<Self>>,
    ) -> Option<Self> {
        let StateSink { tensors, scalars } = state;
        let len = tensors.iter().map(|(_, data)| data.as_bytes().len()).sum();
        let earlier = earlier.and_then(Arc::into_inner).map(|page| page.place);
        let place = earlier.filter(|place| place.len == len);
        let place = place.unwrap_or_else(|| Place::new(store, len));
        let pieces = tensors.iter().map(|(_, data)| data.as_bytes());
        match store.file.write(place.offset, pieces) {
            Ok(written) => Some(Self {
                place,
                written,
                tensors: tensors
                    .into_iter()
                    .map(|(name, data)| (name, data.shape().clone(), data.dtype()))
                    .collect(),
                scalars: StateSink {
                    tensors: Vec::new(),
                    scalars,
                },
            }),
            Err(error) => {
                store.report(store.error("write", error));
                None
            }
        }
    }

    /// Reads the state in flattened form.
    pub(super) fn read(&self) -> Result<StateSink, PageError> {
        let store = &self.place.store;
        let bytes = store.prefetch.read(&store.file, self.written);
        let bytes = bytes.map_err(|error| store.error("read", error))?;
        let mut rest = &bytes[..];
        let tensors = self.tensors.iter().map(|(name, shape, dtype)| {
            let (tensor, others) = rest.split_at(shape.num_elements() * dtype.size());
            rest = others;
            let data = TensorData::from_bytes_vec(tensor.to_vec(), shape.clone(), *dtype);
            (name.clone(), data)
        });
        Ok(StateSink {
            tensors: tensors.collect(),
            scalars: self.scalars.scalars.clone(),
        })
    }
}

impl Place {
    fn new(store: &Arc<PageStore>, len: usize) -> Self {
        Self {
            store: store.clone(),
            offset: store.file.allocate(len),
            len,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.store.file.free(self.offset);
    }
}
