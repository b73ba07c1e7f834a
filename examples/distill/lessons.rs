//! What the student studies: windows of text, and the teacher's logits for them.

use std::sync::Arc;

use bitnet_burn::{
    loss::{TeacherLogits, TeacherStates},
    nn::BitLinear,
    text::dataset::TokenBatch,
    train::{
        LanguageModel, Student, StudentStep, Teacher, TokenLoss,
        teacher_logits::TeacherLogitsReader,
    },
};
use bitnet_burn_examples::BATCH;
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    module::Module,
    tensor::Device,
    train::InferenceStep,
};

/// A batch, with the teacher's logits for it where they are needed.
#[derive(Debug, Clone)]
pub struct Lesson {
    batch: TokenBatch,
    logits: Option<TeacherLogits>,
}

/// The language model as a student of lessons.
#[derive(Module, Debug)]
pub struct Pupil {
    pub model: LanguageModel<BitLinear>,
}

impl InferenceStep for Pupil {
    type Input = Lesson;
    type Output = TokenLoss;

    fn step(&self, lesson: Lesson) -> TokenLoss {
        InferenceStep::step(&self.model, lesson.batch)
    }
}

impl Student for Pupil {
    fn student_forward(&self, lesson: Lesson) -> StudentStep<TokenLoss> {
        self.model.student_forward(lesson.batch)
    }
}

/// The answers that come with the lesson, or none.
#[derive(Module, Debug)]
pub struct Answers;

impl Teacher<Lesson> for Answers {
    fn teacher_forward(&self, lesson: Lesson) -> TeacherStates {
        TeacherStates {
            logits: lesson.logits,
            ..TeacherStates::default()
        }
    }
}

/// Lessons in memory, the same in every epoch. An example of the teacher's logits is a window; its
/// number is that of the window.
#[derive(Clone)]
pub struct Lessons {
    pub batches: Arc<[TokenBatch]>,
    pub logits: Option<Arc<TeacherLogitsReader>>,
    device: Device,
}

impl Lessons {
    /// Lessons without logits.
    pub fn new(batches: impl IntoIterator<Item = TokenBatch>) -> Self {
        Self {
            batches: batches.into_iter().collect(),
            logits: None,
            device: Device::default(),
        }
    }

    fn lesson(&self, number: usize) -> Result<Lesson, DatasetError> {
        let batch = self.batches[number].clone();
        let first = number * BATCH;
        let examples = Vec::from_iter(first..first + batch.inputs.dims()[0]);
        let read = |logits: &Arc<TeacherLogitsReader>| logits.read(&examples, &self.device);
        let logits = self.logits.as_ref().map(read).transpose();
        Ok(Lesson {
            batch,
            logits: logits.map_err(DatasetError::new)?,
        })
    }
}

impl DataLoader<Lesson> for Lessons {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Lesson> + 'a> {
        Box::new(Epoch {
            lessons: self,
            next: 0,
        })
    }

    fn num_items(&self) -> usize {
        let windows = self.batches.iter().map(|batch| batch.inputs.dims()[0]);
        windows.sum()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Lesson>> {
        let to_device = |batch: &TokenBatch| TokenBatch {
            inputs: batch.inputs.clone().to_device(device),
            targets: batch.targets.clone().to_device(device),
            tokens: batch.tokens,
        };
        Arc::new(Self {
            batches: self.batches.iter().map(to_device).collect(),
            logits: self.logits.clone(),
            device: device.clone(),
        })
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<Lesson>> {
        // The windows are at random places: every part is like the whole.
        Arc::new(self.clone())
    }
}

struct Epoch<'a> {
    lessons: &'a Lessons,
    next: usize,
}

impl Iterator for Epoch<'_> {
    type Item = Result<Lesson, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let number = self.next;
        self.next += 1;
        (number < self.lessons.batches.len()).then(|| self.lessons.lesson(number))
    }
}

impl DataLoaderIterator<Lesson> for Epoch<'_> {
    fn progress(&self) -> Progress {
        let (done, total) = (self.next * BATCH, self.lessons.num_items());
        Progress::new(done.min(total), total, Some("windows".to_string()))
    }
}
