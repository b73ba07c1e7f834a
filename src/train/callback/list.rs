use std::{collections::BTreeMap, error::Error};

use burn::{
    data::dataset::DatasetError,
    train::{LearnerModel, TrainingError},
};

use super::{Callback, CallbackError, CallbackResult, StateTensors, TrainingRun};

/// Callbacks of a training, called in the order in which they were added.
pub(in crate::train) struct CallbackList<M: LearnerModel>(Vec<Box<dyn Callback<M>>>);

/// States of the callbacks in a checkpoint, by name.
pub(in crate::train) type CallbackStates = BTreeMap<String, serde_json::Value>;

impl<M: LearnerModel> Default for CallbackList<M> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<M: LearnerModel> CallbackList<M> {
    /// Appends a callback.
    ///
    /// # Panics
    ///
    /// If another callback has the same name.
    #[track_caller]
    pub fn push(&mut self, callback: Box<dyn Callback<M>>) {
        let name = callback.name();
        assert!(
            self.0.iter().all(|other| other.name() != name),
            "two callbacks have the name {name:?}, by which checkpoints know them: give one of them \
             another, by its with_name if it has one"
        );
        self.0.push(callback);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Calls the callbacks in order until one fails, and delivers their events.
    pub fn call(
        &mut self,
        run: &mut TrainingRun<M>,
        mut f: impl FnMut(&mut dyn Callback<M>, &mut TrainingRun<M>) -> CallbackResult,
    ) {
        for callback in &mut self.0 {
            if let Err(source) = f(&mut **callback, run) {
                fail(run, &**callback, source);
                break;
            }
        }
        self.deliver(run);
    }

    /// Delivers the events of the run to all callbacks.
    pub fn deliver(&mut self, run: &mut TrainingRun<M>) {
        for event in std::mem::take(&mut run.events) {
            for callback in &mut self.0 {
                if let Err(source) = callback.on_event(&event) {
                    fail(run, &**callback, source);
                }
            }
        }
    }

    /// Returns the states for a checkpoint.
    pub fn states(&self) -> CallbackStates {
        let mut states = CallbackStates::new();
        for callback in &self.0 {
            if let Some(state) = callback.state() {
                states.insert(callback.name().to_string(), state);
            }
        }
        states
    }

    /// Returns the tensors for a checkpoint, of the callbacks that have any.
    pub fn tensors(&self) -> Result<BTreeMap<String, StateTensors>, CallbackError> {
        let mut all = BTreeMap::new();
        for callback in &self.0 {
            let callback_name = callback.name().to_string();
            match callback.tensors() {
                Ok(tensors) if tensors.is_empty() => {}
                Ok(tensors) => drop(all.insert(callback_name, tensors)),
                Err(source) => {
                    return Err(CallbackError {
                        callback: callback_name,
                        source,
                    });
                }
            }
        }
        Ok(all)
    }

    /// Restores the tensors and the state of each callback that has them in the checkpoint.
    pub fn load_states(
        &mut self,
        mut states: CallbackStates,
        mut tensors: BTreeMap<String, StateTensors>,
    ) -> Result<(), CallbackError> {
        for callback in &mut self.0 {
            let name = callback.name().to_string();
            let (state, tensors) = (states.remove(&name), tensors.remove(&name));
            let loaded = match tensors {
                Some(tensors) => callback.load_tensors(tensors),
                None => Ok(()),
            };
            let loaded = loaded.and_then(|()| match state {
                Some(state) => callback.load_state(state),
                None => Ok(()),
            });
            loaded.map_err(|source| CallbackError {
                callback: name,
                source,
            })?;
        }
        Ok(())
    }
}

/// Ends the training because of a failed callback.
fn fail<M: LearnerModel>(
    run: &TrainingRun<M>,
    callback: &dyn Callback<M>,
    source: Box<dyn Error + Send + Sync>,
) {
    let callback = callback.name().to_string();
    let error = CallbackError { callback, source };
    let error = TrainingError::Dataset(DatasetError::new(error));
    run.interrupter.fail(error);
}
