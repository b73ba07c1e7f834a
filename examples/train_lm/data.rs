//! Text as windows of characters.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::{Device, Int, Tensor, TensorData},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

/// Characters that a position can look back on.
pub const CONTEXT: usize = 64;
/// Windows in a step.
pub const BATCH: usize = 32;
/// Steps between two validations and checkpoints.
pub const STEPS_PER_EPOCH: usize = 250;
/// Windows that the validation looks at.
const VALID_WINDOWS: usize = 1024;
/// Share of the text that is kept for validation: the last tenth.
const VALID_SHARE: usize = 10;

/// An excerpt of Shakespeare's plays, in the public domain.
const EMBEDDED: &str = include_str!("../../src/bin/bitnet-burn/shakespeare.txt");

/// Error when a text cannot be trained on.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    #[error("cannot read the text {0}: {1}")]
    Read(PathBuf, std::io::Error),
    #[error("{}", too_short(*.found, *.needed))]
    TooShort { found: usize, needed: usize },
}

fn too_short(found: usize, needed: usize) -> String {
    match found {
        0 => "the text is empty".to_string(),
        _ => format!(
            "the text has {found} characters, at least {needed} are needed to cut windows for \
             training and validation"
        ),
    }
}

/// A text as character numbers, and the characters.
#[derive(Debug, Clone)]
pub struct Corpus {
    pub vocabulary: Vec<char>,
    train: Arc<[u32]>,
    valid: Arc<[u32]>,
}

impl Corpus {
    pub fn load(path: Option<&Path>) -> Result<Self, TextError> {
        let text = match path {
            Some(path) => {
                let read = std::fs::read_to_string(path);
                read.map_err(|error| TextError::Read(path.to_path_buf(), error))?
            }
            None => EMBEDDED.to_string(),
        };
        let characters: Vec<char> = text.chars().collect();
        let needed = VALID_SHARE * (CONTEXT + 2);
        if characters.len() < needed {
            let found = characters.len();
            return Err(TextError::TooShort { found, needed });
        }
        let vocabulary: Vec<char> = BTreeSet::from_iter(characters.iter().copied())
            .into_iter()
            .collect();
        let number = |c: &char| vocabulary.binary_search(c).expect("from the same text") as u32;
        let tokens: Vec<u32> = characters.iter().map(number).collect();
        let (train, valid) = tokens.split_at(tokens.len() - tokens.len() / VALID_SHARE);
        Ok(Self {
            train: train.into(),
            valid: valid.into(),
            vocabulary,
        })
    }

    pub fn train_len(&self) -> usize {
        self.train.len()
    }

    pub fn valid_len(&self) -> usize {
        self.valid.len()
    }

    /// The beginning of the validation text, to go on from.
    pub fn prompt(&self) -> Vec<u32> {
        self.valid[..CONTEXT].to_vec()
    }

    /// Random windows of the training text.
    pub fn train_loader(&self, seed: u64, steps: usize) -> TrainLoader {
        TrainLoader {
            tokens: self.train.clone(),
            device: Device::default(),
            seed,
            steps,
            next_step: Arc::new(AtomicUsize::new(0)),
        }
    }

    /// Evenly spaced windows of the validation text.
    pub fn valid_loader(&self, device: &Device) -> ValidLoader {
        let last = self.valid.len() - CONTEXT - 1;
        let count = VALID_WINDOWS.min(last + 1);
        let starts = (0..count).map(|i| i * last / (count - 1).max(1)).collect();
        ValidLoader {
            tokens: self.valid.clone(),
            device: device.clone(),
            starts,
        }
    }
}

/// Windows and, for each of their characters, the next one.
#[derive(Debug, Clone)]
pub struct Batch {
    /// Shape `[windows, CONTEXT]`.
    pub inputs: Tensor<2, Int>,
    /// Shape `[windows, CONTEXT]`.
    pub targets: Tensor<2, Int>,
}

fn batch(tokens: &[u32], starts: &[usize], device: &Device) -> Batch {
    let window = |offset: usize| {
        let values: Vec<i32> = starts
            .iter()
            .flat_map(|start| &tokens[start + offset..][..CONTEXT])
            .map(|&token| token as i32)
            .collect();
        Tensor::from_data(TensorData::new(values, [starts.len(), CONTEXT]), device)
    };
    Batch {
        inputs: window(0),
        targets: window(1),
    }
}

/// Random windows. Those of a step depend on the seed and the number of the step alone, so that
/// a resumed run sees the same data as one without a break.
#[derive(Clone)]
pub struct TrainLoader {
    tokens: Arc<[u32]>,
    device: Device,
    seed: u64,
    steps: usize,
    /// Goes on from epoch to epoch.
    next_step: Arc<AtomicUsize>,
}

impl TrainLoader {
    fn batch(&self, step: usize) -> Batch {
        let mut rng = StdRng::seed_from_u64(self.seed.wrapping_mul(1_000_003) + step as u64);
        let last = self.tokens.len() - CONTEXT - 1;
        let starts: Vec<usize> = (0..BATCH).map(|_| rng.random_range(0..=last)).collect();
        batch(&self.tokens, &starts, &self.device)
    }
}

impl DataLoader<Batch> for TrainLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        let first = self.next_step.fetch_add(STEPS_PER_EPOCH, Ordering::SeqCst);
        let count = STEPS_PER_EPOCH.min(self.steps.saturating_sub(first));
        Box::new(Batches {
            next: 0,
            count,
            items: BATCH,
            batch: move |i| self.batch(first + i),
        })
    }

    fn num_items(&self) -> usize {
        STEPS_PER_EPOCH.min(self.steps) * BATCH
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            device: device.clone(),
            ..self.clone()
        })
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<Batch>> {
        // Windows are drawn, not numbered: every part is like the whole.
        Arc::new(self.clone())
    }
}

/// The windows of the validation.
#[derive(Clone)]
pub struct ValidLoader {
    tokens: Arc<[u32]>,
    device: Device,
    starts: Vec<usize>,
}

impl DataLoader<Batch> for ValidLoader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(Batches {
            next: 0,
            count: self.starts.len().div_ceil(BATCH),
            items: BATCH,
            batch: |i: usize| {
                let end = ((i + 1) * BATCH).min(self.starts.len());
                batch(&self.tokens, &self.starts[i * BATCH..end], &self.device)
            },
        })
    }

    fn num_items(&self) -> usize {
        self.starts.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            device: device.clone(),
            ..self.clone()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            starts: self.starts[start..end].to_vec(),
            ..self.clone()
        })
    }
}

/// `count` batches of `items` windows, made one after the other.
struct Batches<F> {
    next: usize,
    count: usize,
    items: usize,
    batch: F,
}

impl<F: Fn(usize) -> Batch> Iterator for Batches<F> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.next < self.count).then(|| {
            self.next += 1;
            Ok((self.batch)(self.next - 1))
        })
    }
}

impl<F: Fn(usize) -> Batch> DataLoaderIterator<Batch> for Batches<F> {
    fn progress(&self) -> Progress {
        let unit = Some("windows".to_string());
        Progress::new(self.next * self.items, self.count * self.items, unit)
    }
}
