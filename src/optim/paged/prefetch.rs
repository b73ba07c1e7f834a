use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use super::page_file::{PageFile, Written};

/// Reads the next page while the current step is computed.
///
/// Parameters step in the same order each time: the next page is the one that followed this page
/// the last time.
#[derive(Debug)]
pub(super) struct Prefetch {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    requests: Sender<Written>,
    results: Receiver<io::Result<Vec<u8>>>,
    /// Page that is being read, or was read and not yet requested.
    pending: Option<Written>,
    last: Option<u64>,
    next: HashMap<u64, u64>,
}

impl Prefetch {
    pub(super) fn start(file: Arc<PageFile>) -> io::Result<Self> {
        let (requests, incoming) = channel::<Written>();
        let (outgoing, results) = channel();
        thread::Builder::new()
            .name("optimizer-pages".into())
            // Ends when the sender of requests is dropped.
            .spawn(move || {
                for page in incoming {
                    if outgoing.send(file.read(page)).is_err() {
                        return;
                    }
                }
            })?;
        Ok(Self {
            state: Mutex::new(State {
                requests,
                results,
                pending: None,
                last: None,
                next: HashMap::new(),
            }),
        })
    }

    /// Returns the bytes of a page and starts to read the next one.
    pub(super) fn read(&self, file: &PageFile, page: Written) -> io::Result<Vec<u8>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = state.last.replace(page.offset) {
            state.next.insert(last, page.offset);
        }
        let prefetched = match state.pending.take() {
            Some(pending) => {
                let bytes = state.results.recv().map_err(io::Error::other)?;
                (pending == page).then_some(bytes)
            }
            None => None,
        };
        let bytes = match prefetched {
            Some(bytes) => bytes?,
            None => file.read(page)?,
        };
        let next = state.next.get(&page.offset).copied();
        // With a single page, the next page is the one about to be written.
        let next = next.filter(|&offset| offset != page.offset);
        if let Some(next) = next.and_then(|offset| file.last_write(offset))
            && state.requests.send(next).is_ok()
        {
            state.pending = Some(next);
        }
        Ok(bytes)
    }
}
