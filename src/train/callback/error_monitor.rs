use std::path::PathBuf;

use burn::train::{LearnerModel, metric::store::Split};
use serde::{Deserialize, Serialize};

use super::{Callback, CallbackResult, TrainingEvent, TrainingRun, earlier_file::set_aside};
use crate::{
    base::bounds::Bounds,
    monitor::{ErrorHistory, ErrorReport, HtmlReport, SharedErrorHistory},
    qat::QuantControls,
};

/// Measures the quantization error of each layer at regular steps, and reports it as metrics (see
/// [`QuantizationErrorMetric`](crate::train::QuantizationErrorMetric)), JSON lines and an HTML
/// page.
///
/// The measurement is part of the forward pass of its step. See [`QuantizationError`] for the
/// measured values.
///
/// [`QuantizationError`]: crate::qat::QuantizationError
pub struct ErrorMonitor {
    name: String,
    controls: QuantControls,
    pub(in crate::train) history: SharedErrorHistory,
    every: usize,
    requested: bool,
    title: String,
    pub(in crate::train) html: Option<PathBuf>,
    pub(in crate::train) json: Option<PathBuf>,
    training_loss: Points,
    validation_loss: Points,
    events: Vec<TrainingEvent>,
}

/// Losses by their steps; `None` for NaN and infinity, which JSON lacks.
type Points = Vec<(f64, Option<f64>)>;

/// State in a checkpoint: losses of training and validation, and the events of the page.
#[derive(Serialize, Deserialize)]
struct State(
    Points,
    Points,
    #[serde(default, skip_serializing_if = "Vec::is_empty")] Vec<TrainingEvent>,
);

/// Default number of steps between two measurements.
const EVERY: usize = 100;

/// Maximum number of events on the page.
const MAX_EVENTS: usize = 200;

impl ErrorMonitor {
    /// Creates a monitor that measures the quantizers of the controls every 100 steps.
    pub fn new(controls: QuantControls) -> Self {
        Self {
            name: "error_monitor".to_string(),
            controls,
            history: SharedErrorHistory::default(),
            every: EVERY,
            requested: false,
            title: "Quantization-aware training".to_string(),
            html: None,
            json: None,
            training_loss: Vec::new(),
            validation_loss: Vec::new(),
            events: Vec::new(),
        }
    }

    /// Sets a name other than `error_monitor`, so that several can be used side by side.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> Self {
        self.name = name.into();
        self
    }

    /// Sets the number of steps between two measurements.
    ///
    /// # Panics
    ///
    /// If the number is 0.
    #[track_caller]
    #[must_use]
    pub fn every(mut self, steps: usize) -> Self {
        Bounds::COUNT.assert("every", steps);
        self.every = steps;
        self
    }

    /// Sets the path and title of an HTML page, written after each validation and at the end.
    #[must_use]
    pub fn with_html(mut self, path: impl Into<PathBuf>, title: impl Into<String>) -> Self {
        self.html = Some(path.into());
        self.title = title.into();
        self
    }

    /// Sets the path of a file of JSON lines, one per report, written after each validation and at
    /// the end. A resumed training appends to it; a new training renames an existing file.
    #[must_use]
    pub fn with_json(mut self, path: impl Into<PathBuf>) -> Self {
        self.json = Some(path.into());
        self
    }

    /// Returns the shared history of reports, for metrics and for use after the training.
    pub fn history(&self) -> SharedErrorHistory {
        self.history.clone()
    }

    fn write(&self) -> CallbackResult {
        let history = self.history.get();
        if let Some(path) = &self.json {
            history.save(path)?;
        }
        if let Some(path) = &self.html {
            self.page(&history).save(path)?;
        }
        Ok(())
    }

    fn page<'a>(&self, history: &'a ErrorHistory) -> HtmlReport<'a> {
        let lines = [
            ("training", &self.training_loss),
            ("validation", &self.validation_loss),
        ];
        let lines = lines.into_iter().filter(|(_, points)| !points.is_empty());
        let lines = lines.map(|(name, points)| {
            let points = points.iter().map(|(x, y)| (*x, y.unwrap_or(f64::NAN)));
            (name.to_string(), points.collect())
        });
        let page = HtmlReport::new(&self.title, history).with_series("Loss", lines.collect());
        let events = self.events.iter();
        events.fold(page, |page, event| page.with_note(event.to_string()))
    }
}

/// Returns a point with a value if that is finite.
fn point(step: usize, loss: f64) -> (f64, Option<f64>) {
    (step as f64, Some(loss).filter(|loss| loss.is_finite()))
}

impl<M: LearnerModel> Callback<M> for ErrorMonitor {
    fn name(&self) -> &str {
        &self.name
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        run.check_controls(&self.controls)?;
        let step = run.position().step;
        let Some(path) = &self.json else {
            return Ok(());
        };
        let path_error = |error| format!("{}: {error}", path.display());
        if step == 0 {
            set_aside(path).map_err(path_error)?;
        } else if path.is_file() {
            let mut history = ErrorHistory::load(path)?;
            // The step itself is measured again in its forward pass.
            history.reports.retain(|report| report.step < step);
            self.history.with(|shared| *shared = history);
        }
        Ok(())
    }

    fn before_forward(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if !self.requested && run.position().step.is_multiple_of(self.every) {
            self.controls.request_errors();
            self.requested = true;
        }
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if !std::mem::take(&mut self.requested) {
            return Ok(());
        }
        // The measured step is already counted.
        let step = run.position().step - 1;
        let layers = run.measured(&self.controls)?;
        self.training_loss.push(point(step, run.step_loss()?));
        self.history
            .with(|history| history.reports.push(ErrorReport { step, layers }));
        Ok(())
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if let Some(loss) = run.metric("Loss", Split::Valid) {
            self.validation_loss.push(point(run.position().step, loss));
        }
        self.write()
    }

    fn on_event(&mut self, event: &TrainingEvent) -> CallbackResult {
        if self.html.is_some() && self.events.len() < MAX_EVENTS {
            self.events.push(event.clone());
        }
        Ok(())
    }

    fn on_train_end(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        self.write()
    }

    fn state(&self) -> Option<serde_json::Value> {
        let (training, validation) = (self.training_loss.clone(), self.validation_loss.clone());
        serde_json::to_value(State(training, validation, self.events.clone())).ok()
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        State(self.training_loss, self.validation_loss, self.events) =
            serde_json::from_value(state)?;
        Ok(())
    }
}
