//! The windows of text that a student sees, the same ones in every epoch.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bitnet_burn::train::teacher_logits::TeacherLogitsReader;
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    tensor::Device,
};

use crate::{
    data::{BATCH, Batch, Corpus, STEPS_PER_EPOCH},
    lesson::Lesson,
};

/// The windows of the first steps of a seed, in batches, with their logits from disk if there are
/// any. The number of an example is that of its window.
#[derive(Clone)]
pub struct Windows {
    corpus: Corpus,
    seed: u64,
    steps: usize,
    pub batches: Arc<[Batch]>,
    logits: Option<Arc<TeacherLogitsReader>>,
    device: Device,
    /// Goes on from epoch to epoch, and starts at zero on the device of a training.
    next_step: Arc<AtomicUsize>,
}

impl Windows {
    /// Windows for this many steps; all of them are in an epoch, and the last epoch may be shorter.
    pub fn new(corpus: &Corpus, seed: u64, steps: usize, device: &Device) -> Self {
        let loader = corpus.train_loader(seed, steps.min(STEPS_PER_EPOCH));
        let loader = loader.to_device(device);
        let batches = loader.iter();
        Self {
            corpus: corpus.clone(),
            seed,
            steps,
            batches: batches
                .map(|batch| batch.expect("windows of a text in memory"))
                .collect(),
            logits: None,
            device: device.clone(),
            next_step: Arc::new(AtomicUsize::new(0)),
        }
    }

    pub fn with_logits(mut self, logits: TeacherLogitsReader) -> Self {
        self.logits = Some(Arc::new(logits));
        self
    }

    fn lesson(&self, step: usize) -> Result<Lesson, DatasetError> {
        let examples: Vec<usize> = (step * BATCH..(step + 1) * BATCH).collect();
        let read = |logits: &Arc<TeacherLogitsReader>| logits.read(&examples, &self.device);
        Ok(Lesson {
            batch: self.batches[step].clone(),
            logits: self
                .logits
                .as_ref()
                .map(read)
                .transpose()
                .map_err(DatasetError::new)?,
        })
    }
}

impl DataLoader<Lesson> for Windows {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Lesson> + 'a> {
        let first = self.next_step.fetch_add(STEPS_PER_EPOCH, Ordering::SeqCst);
        Box::new(Lessons {
            windows: self,
            next: 0,
            count: STEPS_PER_EPOCH.min(self.steps.saturating_sub(first)),
        })
    }

    fn num_items(&self) -> usize {
        self.batches.len() * BATCH
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Lesson>> {
        Arc::new(Self {
            logits: self.logits.clone(),
            ..Self::new(&self.corpus, self.seed, self.steps, device)
        })
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<Lesson>> {
        // Windows are drawn, not numbered: every part is like the whole.
        Arc::new(self.clone())
    }
}

struct Lessons<'a> {
    windows: &'a Windows,
    next: usize,
    count: usize,
}

impl Iterator for Lessons<'_> {
    type Item = Result<Lesson, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        (self.next < self.count).then(|| {
            self.next += 1;
            self.windows.lesson(self.next - 1)
        })
    }
}

impl DataLoaderIterator<Lesson> for Lessons<'_> {
    fn progress(&self) -> Progress {
        let unit = Some("windows".to_string());
        Progress::new(self.next * BATCH, self.count * BATCH, unit)
    }
}

/// A loader of windows without logits, for validation.
pub struct WithoutLogits(pub Arc<dyn DataLoader<Batch>>);

struct Plain<'a>(Box<dyn DataLoaderIterator<Batch> + 'a>);

impl Iterator for Plain<'_> {
    type Item = Result<Lesson, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let lesson = |batch| Lesson {
            batch,
            logits: None,
        };
        Some(self.0.next()?.map(lesson))
    }
}

impl DataLoaderIterator<Lesson> for Plain<'_> {
    fn progress(&self) -> Progress {
        self.0.progress()
    }
}

impl DataLoader<Lesson> for WithoutLogits {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Lesson> + 'a> {
        Box::new(Plain(self.0.iter()))
    }

    fn num_items(&self) -> usize {
        self.0.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Lesson>> {
        Arc::new(Self(self.0.to_device(device)))
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Lesson>> {
        Arc::new(Self(self.0.slice(start, end)))
    }
}
