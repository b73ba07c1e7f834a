//! Training without data, and metrics without values.

use std::sync::Arc;

use bitnet_burn::train::{TrainingFailure, callback::*, checkpoint::BestMetric};
use burn::{
    data::dataloader::{DataLoader, DataLoaderIterator, Progress},
    tensor::Device,
    train::{
        LearningResult, SupervisedTraining, TrainLoader, TrainingError, ValidLoader,
        metric::LossMetric,
    },
};

use crate::support::training::{Batch, Folder, Net, Run, loader, strategy};

/// A loader that reports some items, and returns none.
#[derive(Clone)]
struct Nothing {
    items: usize,
}

struct NoBatches;

impl Iterator for NoBatches {
    type Item = Result<Batch, burn::data::dataset::DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        None
    }
}

impl DataLoaderIterator<Batch> for NoBatches {
    fn progress(&self) -> Progress {
        Progress::new(0, 0, None)
    }
}

impl DataLoader<Batch> for Nothing {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(NoBatches)
    }

    fn num_items(&self) -> usize {
        self.items
    }

    fn to_device(&self, _device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.clone())
    }

    fn slice(&self, _start: usize, _end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(self.clone())
    }
}

/// Panics if a callback is called.
struct Untouched;

impl Callback<Net> for Untouched {
    fn name(&self) -> &str {
        "untouched"
    }

    fn on_train_start(&mut self, _run: &mut TrainingRun<Net>) -> CallbackResult {
        panic!("the training begins");
    }
}

fn train(
    folder: &Folder,
    train: TrainLoader<Net>,
    valid: ValidLoader<Net>,
    epochs: usize,
    early: bool,
) -> LearningResult<Net> {
    let strategy = match early {
        true => strategy().with_callback(Untouched),
        false => strategy(),
    };
    SupervisedTraining::new(&folder.0, train, valid)
        .metric_valid_numeric(LossMetric::new())
        .with_training_strategy(strategy.into())
        .with_application_logger(None)
        .renderer(Box::new(bitnet_burn::train::SilentRenderer))
        .num_epochs(epochs)
        .launch(Run::new(&folder.0).learner())
}

fn check(result: LearningResult<Net>, expected: &str) {
    let error = result
        .error
        .unwrap_or_else(|| panic!("no error: {expected}"));
    assert!(matches!(*error, TrainingError::Dataset(_)), "{error}");
    assert_eq!(error.reason(), expected);
}

const NO_TRAINING: &str = "expected data to train on, found no batch";
const NO_VALIDATION: &str = "expected data for the validation, found no batch";

#[test]
fn data_that_are_known_to_be_empty_are_an_error_before_the_first_epoch() {
    let folder = Folder::new("no-data");
    let none = || Arc::new(Nothing { items: 0 });
    let result = train(&folder, none(), loader(2, false), 3, true);
    check(result, NO_TRAINING);
    let result = train(&folder, loader(1, true), none(), 3, true);
    check(result, NO_VALIDATION);
    let result = train(&folder, loader(1, true), loader(2, false), 0, true);
    check(result, "expected 1 epoch or more, got 0");
}

#[test]
fn data_that_turn_out_to_be_empty_are_an_error_in_the_first_epoch() {
    let folder = Folder::new("no-batches");
    let none = || Arc::new(Nothing { items: 5 });
    let result = train(&folder, none(), loader(2, false), 3, false);
    check(result, NO_TRAINING);
    let result = train(&folder, loader(1, true), none(), 3, false);
    check(result, NO_VALIDATION);
}

#[test]
fn early_stopping_by_a_metric_that_is_not_measured_is_an_error() {
    let folder = Folder::new("no-such-metric");
    let metric = BestMetric {
        name: "Perplexity".to_string(),
        higher_is_better: false,
    };
    let stopping = strategy().with_callback(EarlyStopping::new(metric, 3));
    let error = Run::new(&folder.0).launch(stopping).error.unwrap();
    let expected = "callback `early_stopping`: the validation has no numeric metric \"Perplexity\"";
    assert_eq!(error.reason(), expected);
}
