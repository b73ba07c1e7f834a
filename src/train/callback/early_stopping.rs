use burn::train::{LearnerModel, metric::store::Split};
use serde::{Deserialize, Serialize};

use super::{Callback, CallbackResult, TrainingRun};
use crate::train::checkpoint::BestMetric;

/// Stops when a metric of the validation has not become better for some epochs.
///
/// Unlike Burn's own early stopping it is a part of checkpoints.
#[derive(Debug, Clone)]
pub struct EarlyStopping {
    metric: BestMetric,
    patience: usize,
    state: State,
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    best: Option<f64>,
    /// Epochs since the best.
    waited: usize,
}

impl EarlyStopping {
    /// Waits `patience` epochs for a better value.
    ///
    /// # Panics
    ///
    /// If `patience` is 0.
    pub fn new(metric: BestMetric, patience: usize) -> Self {
        assert!(patience > 0, "the patience is 1 epoch or more, got 0");
        Self {
            metric,
            patience,
            state: State::default(),
        }
    }
}

impl<M: LearnerModel> Callback<M> for EarlyStopping {
    fn name(&self) -> &str {
        "early_stopping"
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let name = &self.metric.name;
        let Some(value) = run.metric(name, Split::Valid) else {
            return Err(format!("the validation has no numeric metric {name:?}").into());
        };
        let better = |best| self.metric.is_better(value, best);
        if self.state.best.is_none_or(better) {
            self.state = State {
                best: Some(value),
                waited: 0,
            };
            return Ok(());
        }
        self.state.waited += 1;
        if self.state.waited >= self.patience {
            let best = self.state.best.unwrap_or(value);
            let waited = self.state.waited;
            let reason = format!("{name} has not been better than {best} for {waited} epochs");
            run.stop("early_stopping", &reason);
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
