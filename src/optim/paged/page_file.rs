use std::{
    collections::HashMap,
    fs::File,
    io::{self, Read, Seek, SeekFrom, Write},
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

/// Temporary file of pages, unnamed where the system supports it: it is removed however the process
/// ends.
#[derive(Debug)]
pub(super) struct PageFile {
    file: Mutex<File>,
    slots: Mutex<Slots>,
}

#[derive(Debug, Default)]
struct Slots {
    end: u64,
    writes: u64,
    /// Last write by offset; its number is 0 before the first.
    used: HashMap<u64, Written>,
    /// Offsets by length.
    free: HashMap<usize, Vec<u64>>,
}

/// Place in the file as of some write; it may be overwritten later.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Written {
    pub offset: u64,
    pub len: usize,
    write: u64,
}

impl PageFile {
    pub(super) fn create(folder: &Path) -> io::Result<Self> {
        Ok(Self::new(tempfile::tempfile_in(folder)?))
    }

    pub(super) fn new(file: File) -> Self {
        Self {
            file: Mutex::new(file),
            slots: Mutex::default(),
        }
    }

    fn slots(&self) -> MutexGuard<'_, Slots> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn file(&self, offset: u64) -> io::Result<MutexGuard<'_, File>> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        Ok(file)
    }

    /// Allocates a place of `len` bytes.
    pub(super) fn allocate(&self, len: usize) -> u64 {
        let mut slots = self.slots();
        let free = slots.free.get_mut(&len).and_then(Vec::pop);
        let offset = free.unwrap_or_else(|| {
            let end = slots.end;
            slots.end += len as u64;
            end
        });
        let unwritten = Written {
            offset,
            len,
            write: 0,
        };
        slots.used.insert(offset, unwritten);
        offset
    }

    /// Frees a place.
    pub(super) fn free(&self, offset: u64) {
        let mut slots = self.slots();
        if let Some(page) = slots.used.remove(&offset) {
            slots.free.entry(page.len).or_default().push(offset);
        }
    }

    /// Writes pieces consecutively into a place large enough for them.
    pub(super) fn write<'a>(
        &self,
        offset: u64,
        pieces: impl Iterator<Item = &'a [u8]>,
    ) -> io::Result<Written> {
        let mut file = self.file(offset)?;
        let mut len = 0;
        for piece in pieces {
            file.write_all(piece)?;
            len += piece.len();
        }
        let mut slots = self.slots();
        slots.writes += 1;
        let write = slots.writes;
        let written = Written { offset, len, write };
        slots.used.insert(offset, written);
        Ok(written)
    }

    /// Returns the last write into a place.
    pub(super) fn last_write(&self, offset: u64) -> Option<Written> {
        self.slots().used.get(&offset).copied()
    }

    pub(super) fn read(&self, page: Written) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; page.len];
        self.file(page.offset)?.read_exact(&mut bytes)?;
        Ok(bytes)
    }

    /// Returns the size of the file in bytes.
    pub(super) fn num_bytes(&self) -> u64 {
        self.slots().end
    }

    #[cfg(test)]
    pub(super) fn truncate(&self) {
        self.file(0).unwrap().set_len(0).unwrap();
    }
}
