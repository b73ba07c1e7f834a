use std::collections::BTreeMap;

use burn::train::LearnerModel;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Callback, CallbackResult, MitigationRule, Remedy, Symptom, TrainingRun};
use crate::{
    base::{bounds::assert_valid, shared::Shared},
    monitor::{ErrorHistory, ErrorReport, SharedErrorHistory},
    optim::LearningRateScale,
    qat::QuantControls,
    quant::BitWidth,
};

/// Responds to quantization errors by rules.
///
/// If a layer, or the loss, is beyond a threshold for a number of measurements, the layer gets more
/// bits or scales or is left in float, the learning rate is lowered, or the training is rolled back
/// to the last checkpoint.
///
/// Each remedy is applied to a quantizer once, logged with its reason, and can be
/// [reverted](Mitigations::revert). A rollback does not revert remedies. Add it after the
/// [`ErrorMonitor`](super::ErrorMonitor) whose history it reads, and after callbacks that set bit
/// widths.
pub struct Mitigation {
    name: String,
    rules: Vec<MitigationRule>,
    history: SharedErrorHistory,
    mitigations: Mitigations,
    pub(in crate::train) dry_run: bool,
    state: State,
}

/// Applied remedies, shared with the callback.
#[derive(Clone)]
pub struct Mitigations {
    controls: QuantControls,
    scale: LearningRateScale,
    applied: Shared<Vec<Mitigated>>,
}

/// Applied remedy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Mitigated {
    /// Number of optimizer steps taken before.
    pub step: usize,
    /// Path of the quantizer; `None` for a remedy of the whole training.
    pub path: Option<String>,
    /// Applied remedy.
    pub remedy: Remedy,
    /// Reason.
    pub reason: String,
    /// `true` if it was only logged, in a dry run.
    pub dry_run: bool,
    /// `true` if it was reverted.
    pub reverted: bool,
}

/// State in a checkpoint.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct State {
    /// Step of the last report that was checked.
    looked_at: Option<usize>,
    /// Number of consecutive measurements with the symptom of a rule, by its number and the
    /// quantizer.
    shown: BTreeMap<String, usize>,
    smallest_loss: Option<f64>,
    applied: Vec<Mitigated>,
}

impl Mitigation {
    /// Creates the callback from rules, for the quantizers of the controls and the reports of a
    /// monitor.
    ///
    /// # Panics
    ///
    /// If a threshold or a remedy is out of range.
    #[track_caller]
    pub fn new(
        rules: Vec<MitigationRule>,
        controls: QuantControls,
        history: SharedErrorHistory,
    ) -> Self {
        for rule in &rules {
            assert_valid(rule.validate());
        }
        Self {
            name: "mitigation".to_string(),
            rules,
            history,
            mitigations: Mitigations {
                controls,
                scale: LearningRateScale::default(),
                applied: Shared::default(),
            },
            dry_run: false,
            state: State::default(),
        }
    }

    /// Sets a name other than `mitigation`, so that several can be used side by side.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the learning rate factor that the scheduler uses; see
    /// [`ScaledLrScheduler`](crate::optim::ScaledLrScheduler). Without it, a lower learning rate
    /// has no effect.
    #[must_use]
    pub fn with_learning_rate_scale(mut self, scale: &LearningRateScale) -> Self {
        self.mitigations.scale = scale.clone();
        self
    }

    /// Logs the remedies without applying them.
    #[must_use]
    pub fn dry_run(mut self) -> Self {
        self.dry_run = true;
        self
    }

    /// Returns the applied remedies, for use after the training and for reverting them.
    pub fn mitigations(&self) -> Mitigations {
        self.mitigations.clone()
    }

    /// Counts consecutive symptoms of a rule. Returns `true`, and resets the count, if they reach
    /// its patience.
    fn is_enough(&mut self, rule: usize, path: &str, shows: bool) -> bool {
        let shown = self
            .state
            .shown
            .entry(format!("{rule} {path}"))
            .or_default();
        *shown = if shows { *shown + 1 } else { 0 };
        let enough = *shown >= self.rules[rule].patience;
        if enough {
            *shown = 0;
        }
        enough
    }

    /// Returns the remedies for the symptoms in a report and the loss.
    fn diagnose(&mut self, report: &ErrorReport, loss: f64) -> Vec<Mitigated> {
        let mut found = Vec::new();
        for index in 0..self.rules.len() {
            let MitigationRule {
                symptom, remedy, ..
            } = self.rules[index];
            let values: Vec<(Option<&str>, Option<f64>)> = match symptom {
                Symptom::LossAbove { factor } => {
                    vec![(None, self.high_loss(loss, factor))]
                }
                _ => {
                    let layers = report.layers.iter();
                    let value = |layer| symptom.of_layer(layer);
                    layers
                        .map(|layer| (Some(layer.path.as_str()), value(layer)))
                        .collect()
                }
            };
            for (path, value) in values {
                if self.is_enough(index, path.unwrap_or("loss"), value.is_some()) {
                    found.push(Mitigated {
                        step: report.step,
                        path: path.map(str::to_string),
                        remedy,
                        reason: format!("{symptom}: {:.4}", value.unwrap_or(f64::NAN)),
                        dry_run: self.dry_run,
                        reverted: false,
                    });
                }
            }
        }
        if loss.is_finite() {
            let smallest = self.state.smallest_loss.unwrap_or(loss);
            self.state.smallest_loss = Some(smallest.min(loss));
        }
        found
    }

    /// Returns a loss that is above a multiple of the smallest so far, or NaN.
    fn high_loss(&self, loss: f64, factor: f64) -> Option<f64> {
        let smallest = self.state.smallest_loss?;
        Some(loss).filter(|loss| loss.is_nan() || *loss > factor * smallest)
    }

    /// Applies a remedy unless it is in effect, and logs it.
    fn apply<M: LearnerModel>(&mut self, run: &mut TrainingRun<M>, mitigated: Mitigated) {
        if !self.mitigations.is_new(&mitigated) {
            return;
        }
        let Mitigated {
            path,
            remedy,
            reason,
            ..
        } = &mitigated;
        let place = path.as_deref().unwrap_or("training");
        let would = if self.dry_run { "would be: " } else { "" };
        run.notify(&self.name, format!("{place}: {would}{remedy}, as {reason}"));
        if !self.dry_run {
            match remedy {
                Remedy::RollBack => run.request_rollback(&self.name, reason.clone()),
                _ => self.mitigations.set(&mitigated, true),
            }
        }
        self.mitigations
            .applied
            .with(|applied| applied.push(mitigated));
    }
}

impl Mitigated {
    /// Returns `true` if there is something to revert.
    fn is_in_effect(&self) -> bool {
        !self.dry_run && !self.reverted && self.remedy != Remedy::RollBack
    }
}

impl Mitigations {
    /// Returns the applied remedies, in the order of the steps.
    pub fn applied(&self) -> Vec<Mitigated> {
        self.applied.get()
    }

    /// Reverts a remedy, by its index in [`applied`](Self::applied): restores the configuration of
    /// the quantizer, or the learning rate. Returns `false` if there is nothing to revert: for a
    /// rollback, a dry run, or a remedy that is already reverted.
    pub fn revert(&self, index: usize) -> bool {
        self.applied.with(|applied| {
            let mitigated = applied.get_mut(index);
            let Some(mitigated) = mitigated.filter(|mitigated| mitigated.is_in_effect()) else {
                return false;
            };
            mitigated.reverted = true;
            self.set(mitigated, false);
            true
        })
    }

    /// Returns `true` if a remedy is not in effect yet. Those of the whole training can be
    /// repeated.
    fn is_new(&self, new: &Mitigated) -> bool {
        let is_same = |old: &Mitigated| (&old.path, &old.remedy) == (&new.path, &new.remedy);
        new.path.is_none()
            || (self.applied)
                .with(|applied| !applied.iter().any(|old| is_same(old) && !old.reverted))
    }

    /// Restores the remedies in effect in the quantizers. The learning rate is already restored.
    fn restore(&self) {
        for mitigated in self.applied() {
            let is_learning_rate = matches!(mitigated.remedy, Remedy::LearningRate { .. });
            if mitigated.is_in_effect() && !is_learning_rate {
                self.set(&mitigated, true);
            }
        }
    }

    /// Turns a remedy on or off.
    fn set(&self, mitigated: &Mitigated, on: bool) {
        let path = mitigated.path.as_deref();
        let controls = self.controls.filter(|other| Some(other) == path);
        match mitigated.remedy {
            Remedy::PerChannel => controls.set_per_channel(on),
            Remedy::Bits { bits } => {
                controls.set_weight_width(on.then_some(BitWidth::Bits(bits)));
                controls.set_activation_bits(on.then_some(bits));
            }
            Remedy::Exclude => controls.set_excluded(on),
            Remedy::LearningRate { factor } => {
                let factor = if on { factor } else { factor.recip() };
                self.scale.set(self.scale.get() * factor);
            }
            Remedy::RollBack => {}
        }
    }
}

impl<M: LearnerModel> Callback<M> for Mitigation {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        run.check_controls(&self.mitigations.controls)?;
        self.mitigations.restore();
        Ok(())
    }

    // A schedule of bit widths may have overwritten them.
    fn before_forward(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        self.mitigations.restore();
        Ok(())
    }

    fn on_rollback(&mut self, _run: &mut TrainingRun<M>, _state: Option<Value>) -> CallbackResult {
        self.mitigations.restore();
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let newest = |history: &mut ErrorHistory| history.reports.last().cloned();
        let Some(report) = self.history.with(newest) else {
            return Ok(());
        };
        if self.state.looked_at.is_some_and(|step| step >= report.step) {
            return Ok(());
        }
        self.state.looked_at = Some(report.step);
        let loss = run.step_loss()?;
        for mitigated in self.diagnose(&report, loss) {
            self.apply(run, mitigated);
        }
        Ok(())
    }

    fn state(&self) -> Option<Value> {
        let mut state = self.state.clone();
        state.applied = self.mitigations.applied();
        serde_json::to_value(state).ok()
    }

    fn load_state(&mut self, state: Value) -> CallbackResult {
        self.state = serde_json::from_value(state)?;
        // The settings are in the records of the model and the scheduler.
        let loaded = std::mem::take(&mut self.state.applied);
        self.mitigations.applied.with(|applied| *applied = loaded);
        Ok(())
    }
}
