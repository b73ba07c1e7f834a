use std::sync::Arc;

use burn::data::dataloader::DataLoader;

use crate::base::data_position::SeekableDataLoader;

/// Training data: a Burn data loader, or one that can [seek](SeekableDataLoader), so that a resumed
/// training starts at its batch without reading those before.
///
/// An `Arc` of a [`SeekableDataLoader`] or an `Arc<dyn DataLoader>` is converted by `into()`. A loader that
/// seeks is read from a position of the training's own: other trainings and validations may read it, too.
pub struct TrainingData<I> {
    pub(super) loader: Arc<dyn DataLoader<I>>,
    pub(super) seek: Option<Seek>,
}

/// Seeks to a batch of an epoch, both counted from 0.
pub(super) type Seek = Box<dyn Fn(usize, usize) + Send + Sync>;

impl<I> From<Arc<dyn DataLoader<I>>> for TrainingData<I> {
    fn from(loader: Arc<dyn DataLoader<I>>) -> Self {
        Self { loader, seek: None }
    }
}

impl<I: 'static> From<Arc<dyn SeekableDataLoader<I>>> for TrainingData<I> {
    fn from(loader: Arc<dyn SeekableDataLoader<I>>) -> Self {
        let loader = loader.shard(0, 1);
        Self {
            loader: loader.clone(),
            seek: Some(Box::new(move |epoch, batch| loader.seek(epoch, batch))),
        }
    }
}

impl<I: 'static, L: SeekableDataLoader<I> + 'static> From<Arc<L>> for TrainingData<I> {
    fn from(loader: Arc<L>) -> Self {
        Self::from(loader as Arc<dyn SeekableDataLoader<I>>)
    }
}
