//! Optimizers whose states do not fit into memory.

mod page;
mod page_file;
mod prefetch;

use std::{path::PathBuf, sync::Arc};

use burn::{
    optim::{LearningRate, Optimizer, RecordState, StateSink, StateSource},
    tensor::{Device, Tensor},
};

pub use page::PageError;
use page::{Page, PageStore, Pin};

/// Configuration of a [`PagedOptimizer`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagedOptimizerConfig {
    /// Folder of the page file. It must exist and have room for up to twice the size of all states.
    pub folder: PathBuf,
    /// Bytes of states that are kept in memory.
    pub budget: u64,
}

/// Optimizer whose states are paged to a file, except those that fit a memory budget.
///
/// A state is read before its parameter steps, and written back afterwards. The next state is
/// prefetched meanwhile. Parameters step in the same order each time, so that a cache of the most
/// recently used states would never hit: the first states that fit the budget stay in memory, the
/// others never do. Steps are those of the inner optimizer, bit for bit.
///
/// States that clones share are written to new pages. The file is temporary and has no name;
/// checkpoints read the states back from it. While a checkpoint is saved or loaded, all states are
/// in memory.
///
/// Source: [QLoRA](https://arxiv.org/abs/2305.14314), section 3, where the GPU driver pages.
///
/// # Errors while training
///
/// A step cannot return an error. If a page cannot be written, its state stays in memory, training
/// continues, and [`take_error`](Self::take_error) returns the cause.
///
/// # Panics
///
/// If a page cannot be read, the state is lost: the step panics with the cause. Checkpoints are not
/// affected; training can resume from the last one.
///
/// # Example
///
/// ```
/// use bitnet_burn::optim::{AdamW8bitConfig, PagedOptimizerConfig};
/// use burn::optim::ModuleOptimizer;
///
/// # fn main() -> Result<(), bitnet_burn::optim::PageError> {
/// let optimizer = PagedOptimizerConfig::new(std::env::temp_dir())
///     .with_budget(1 << 30)
///     .build(AdamW8bitConfig::new().build())?;
/// let optimizer = ModuleOptimizer::from(optimizer);
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct PagedOptimizer<O> {
    inner: O,
    store: Arc<PageStore>,
}

/// State of a [`PagedOptimizer`] for one parameter.
#[derive(Debug, Clone)]
pub struct PagedState<S> {
    place: StatePlace<S>,
}

#[derive(Debug, Clone)]
enum StatePlace<S> {
    /// In memory; before its first step without a share of the budget.
    Memory {
        state: S,
        pin: Option<Pin>,
    },
    File(Arc<Page>),
}

impl PagedOptimizerConfig {
    /// Creates a configuration with a folder and no budget.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into(),
            budget: 0,
        }
    }

    /// Sets the budget in bytes.
    #[must_use]
    pub fn with_budget(self, budget: u64) -> Self {
        Self { budget, ..self }
    }

    /// Creates the optimizer around `inner`.
    ///
    /// # Errors
    ///
    /// If the file cannot be created in the folder.
    pub fn build<O: Optimizer>(&self, inner: O) -> Result<PagedOptimizer<O>, PageError> {
        let store = Arc::new(PageStore::create(&self.folder, self.budget)?);
        Ok(PagedOptimizer { inner, store })
    }
}

impl<O: Optimizer> PagedOptimizer<O> {
    /// Returns the first write error since the last call.
    pub fn take_error(&self) -> Option<PageError> {
        self.store.take_error()
    }

    /// Returns the number of bytes of states in memory.
    pub fn bytes_in_memory(&self) -> u64 {
        self.store.bytes_in_memory()
    }

    /// Returns the size of the file in bytes.
    pub fn bytes_in_file(&self) -> u64 {
        self.store.bytes_in_file()
    }

    /// Stores a state after a step, in memory or in the file.
    fn put<S: RecordState>(
        &self,
        state: S,
        pin: Option<Pin>,
        earlier: Option<Arc<Page>>,
    ) -> StatePlace<S> {
        if pin.is_some() {
            return StatePlace::Memory { state, pin };
        }
        let mut sink = StateSink::default();
        state.state_flatten("", &mut sink);
        let sizes = sink.tensors.iter().map(|(_, data)| data.as_bytes().len());
        let bytes = sizes.sum::<usize>() as u64;
        if let Some(pin) = Pin::within_budget(&self.store, bytes) {
            let pin = Some(pin);
            return StatePlace::Memory { state, pin };
        }
        match Page::write(&self.store, sink, earlier) {
            Some(page) => StatePlace::File(Arc::new(page)),
            None => StatePlace::Memory {
                state,
                pin: Some(Pin::beyond_budget(&self.store, bytes)),
            },
        }
    }
}

/// Reads the state in a page to a device.
fn read_state<S: RecordState>(page: &Page, device: &Device) -> S {
    let state = page.read();
    let state = state.unwrap_or_else(|error| panic!("{error}; resume from the last checkpoint"));
    let mut source = StateSource::new(state.scalars.into_iter().collect());
    for (name, data) in state.tensors {
        source.insert_tensor(name, data);
    }
    S::state_unflatten("", &mut source, device).expect("a page has what was written to it")
}

impl<O: Optimizer> Optimizer for PagedOptimizer<O> {
    type State<const D: usize> = PagedState<O::State<D>>;

    /// # Panics
    ///
    /// If the page of the state cannot be read.
    fn step<const D: usize>(
        &self,
        lr: LearningRate,
        tensor: Tensor<D>,
        grad: Tensor<D>,
        state: Option<Self::State<D>>,
    ) -> (Tensor<D>, Option<Self::State<D>>) {
        let (state, pin, page) = match state.map(|state| state.place) {
            Some(StatePlace::Memory { state, pin }) => {
                (Some(O::to_device(state, &grad.device())), pin, None)
            }
            Some(StatePlace::File(page)) => {
                (Some(read_state(&page, &grad.device())), None, Some(page))
            }
            None => (None, None, None),
        };
        let (tensor, state) = self.inner.step(lr, tensor, grad, state);
        let state = state.map(|state| PagedState {
            place: self.put(state, pin, page),
        });
        (tensor, state)
    }

    /// A page has no device: its state is read to that of the gradient.
    fn to_device<const D: usize>(state: Self::State<D>, device: &Device) -> Self::State<D> {
        let place = match state.place {
            StatePlace::Memory { state, pin } => StatePlace::Memory {
                state: O::to_device(state, device),
                pin,
            },
            StatePlace::File(page) => StatePlace::File(page),
        };
        PagedState { place }
    }
}

impl<S: RecordState + Clone> RecordState for PagedState<S> {
    /// # Panics
    ///
    /// If the page of the state cannot be read.
    fn state_flatten(&self, prefix: &str, out: &mut StateSink) {
        match &self.place {
            StatePlace::Memory { state, .. } => state.state_flatten(prefix, out),
            StatePlace::File(page) => {
                let state = page.read().unwrap_or_else(|error| panic!("{error}"));
                for (name, data) in state.tensors {
                    out.push_tensor(prefix, &name, data);
                }
                for (name, scalar) in state.scalars {
                    out.push_scalar(prefix, &name, scalar);
                }
            }
        }
    }

    fn state_unflatten(prefix: &str, src: &mut StateSource, device: &Device) -> Option<Self> {
        let state = S::state_unflatten(prefix, src, device)?;
        let place = StatePlace::Memory { state, pin: None };
        Some(Self { place })
    }
}

#[cfg(test)]
mod tests {
    use std::fs::OpenOptions;

    use burn::optim::{AdamW, AdamWConfig};

    use super::*;

    type State = <PagedOptimizer<AdamW> as Optimizer>::State<1>;

    fn step(optimizer: &PagedOptimizer<AdamW>, state: Option<State>) -> State {
        let ones = Tensor::<1>::ones([100], &Device::default());
        let (_, state) = optimizer.step(1e-3, ones.clone(), ones, state);
        state.unwrap()
    }

    #[test]
    #[should_panic(expected = "cannot read optimizer pages in")]
    fn a_lost_page_panics_with_what_to_do() {
        let config = PagedOptimizerConfig::new(std::env::temp_dir());
        let optimizer = config.build(AdamWConfig::new().build()).unwrap();
        let state = step(&optimizer, None);
        optimizer.store.file().truncate();
        step(&optimizer, Some(state));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_keeps_states_in_memory_and_is_reported() {
        let full = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/full")
            .unwrap();
        let optimizer = PagedOptimizer {
            inner: AdamWConfig::new().build(),
            store: Arc::new(PageStore::with_file(full)),
        };
        let state = step(&optimizer, None);
        let state = step(&optimizer, Some(state));
        assert_eq!(optimizer.bytes_in_memory(), 2 * 4 * 100);
        let error = optimizer.take_error().unwrap().to_string();
        assert!(
            error.contains("cannot write") && error.contains("No space left"),
            "{error}"
        );
        assert!(optimizer.take_error().is_none());
        drop(state);
        assert_eq!(optimizer.bytes_in_memory(), 0);
    }
}
