use burn::train::{LearnerModel, metric::store::Split};
use serde::{Deserialize, Serialize};

use super::{Callback, CallbackResult, TrainingRun};
use crate::base::bounds::Bounds;
use crate::train::checkpoint::BestMetric;

/// Stops the training when a validation metric has not improved for a number of epochs.
///
/// NaN is never an improvement. Unlike Burn's own early stopping, the state is part of checkpoints:
/// a training that it ended takes no further step when resumed, unless more epochs or more patience
/// are requested.
#[derive(Debug, Clone)]
pub struct EarlyStopping {
    name: String,
    metric: BestMetric,
    patience: usize,
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    best: Option<f64>,
    /// Number of epochs since the best value.
    waited: usize,
}

impl EarlyStopping {
    /// Creates a callback that waits `patience` epochs for an improvement.
    ///
    /// # Panics
    ///
    /// If `patience` is 0.
    #[track_caller]
    pub fn new(metric: BestMetric, patience: usize) -> Self {
        Bounds::COUNT.assert("patience", patience);
        Self {
            name: "early_stopping".to_string(),
            metric,
            patience,
            state: State::default(),
        }
    }

    /// Sets a name other than `early_stopping`, so that several can be used side by side.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    fn reason(&self) -> String {
        let (name, waited) = (&self.metric.name, self.state.waited);
        match self.state.best {
            Some(best) => format!("{name} has not been better than {best} for {waited} epochs"),
            None => format!("{name} has been NaN for {waited} epochs"),
        }
    }
}

impl<M: LearnerModel> Callback<M> for EarlyStopping {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let Some(over) = run.over().filter(|over| over.source == self.name) else {
            return Ok(());
        };
        if run.num_epochs() > over.num_epochs {
            self.state.waited = 0;
        }
        if self.state.waited < self.patience {
            run.reopen();
        }
        Ok(())
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let name = &self.metric.name;
        let Some(value) = run.metric(name, Split::Valid) else {
            return Err(format!("the validation has no numeric metric {name:?}").into());
        };
        if self.metric.is_better(value, self.state.best) {
            self.state = State {
                best: Some(value),
                waited: 0,
            };
            return Ok(());
        }
        self.state.waited += 1;
        if self.state.waited >= self.patience {
            run.finish(&self.name, &self.reason());
        }
        Ok(())
    }

    fn state(&self) -> Option<serde_json::Value> {
        serde_json::to_value(&self.state).ok()
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        self.state = serde_json::from_value(state)?;
        Ok(())
    }
}
