//! Training data of the student: windows of text, and the teacher's logits for them.

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
use bitnet_burn_examples::{BATCH, Error};
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher},
        dataset::{Dataset, DatasetError},
    },
    module::Module,
    tensor::Device,
    train::InferenceStep,
};

/// A batch, with the teacher's logits if they are needed.
#[derive(Debug, Clone)]
pub struct Lesson {
    batch: TokenBatch,
    logits: Option<TeacherLogits>,
}

/// Language model as a student that trains on lessons.
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

/// Teacher that returns the logits stored in the lesson, if any.
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

/// Lessons in memory, on the device of a training. Windows have the same numbers here and in the
/// teacher's logits.
#[derive(Clone)]
pub struct Lessons {
    pub batches: Arc<[TokenBatch]>,
    pub logits: Option<Arc<TeacherLogitsReader>>,
    device: Device,
}

impl Lessons {
    /// Creates lessons without logits.
    pub fn new(windows: &impl DataLoader<TokenBatch>, device: Device) -> Result<Self, Error> {
        let batches = windows.to_device(&device);
        let batches = batches.iter().collect::<Result<_, _>>()?;
        Ok(Self {
            batches,
            logits: None,
            device,
        })
    }

    /// Returns a loader of the lessons in their order, the same in every epoch.
    pub fn loader(&self) -> Arc<dyn DataLoader<Lesson>> {
        DataLoaderBuilder::new(OneByOne).build(self.clone())
    }
}

impl Dataset<Lesson> for Lessons {
    fn get(&self, index: usize) -> Result<Lesson, DatasetError> {
        let batch = self.batches[index].clone();
        let first = index * BATCH;
        let windows = Vec::from_iter(first..first + batch.inputs.dims()[0]);
        let read = |logits: &Arc<TeacherLogitsReader>| logits.read(&windows, &self.device);
        let logits = self.logits.as_ref().map(read).transpose();
        Ok(Lesson {
            batch,
            logits: logits.map_err(DatasetError::new)?,
        })
    }

    fn len(&self) -> usize {
        self.batches.len()
    }
}

/// Batcher of lessons, each of which is a batch already.
struct OneByOne;

impl Batcher<Lesson, Lesson> for OneByOne {
    fn batch(&self, mut lessons: Vec<Lesson>, _device: &Device) -> Lesson {
        lessons.remove(0)
    }
}
