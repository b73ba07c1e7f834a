use std::path::PathBuf;

use burn::train::{
    LearnerModel,
    metric::{Adaptor, LossInput, store::Split},
};

use super::{
    BackwardPass, Callback, CallbackResult, TrainOutputOf, TrainingEvent, TrainingRun,
    earlier_file::set_aside,
};
use crate::{
    base::bounds::Bounds,
    monitor::{ErrorHistory, ErrorReport, HtmlReport},
    qat::QuantControls,
    train::SharedErrorHistory,
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
    history: SharedErrorHistory,
    every: usize,
    requested: bool,
    title: String,
    html: Option<PathBuf>,
    json: Option<PathBuf>,
    training_loss: Vec<(f64, f64)>,
    validation_loss: Vec<(f64, f64)>,
    events: Vec<TrainingEvent>,
}

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

    /// Sets the history to which reports are added, such as that of a metric.
    #[must_use]
    pub fn with_history(mut self, history: &SharedErrorHistory) -> Self {
        self.history = history.clone();
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
        let lines = lines
            .into_iter()
            .filter(|(_, points)| !points.is_empty())
            .map(|(name, points)| (name.to_string(), points.clone()))
            .collect();
        let page = HtmlReport::new(&self.title, history).with_series("Loss", lines);
        let events = self.events.iter();
        events.fold(page, |page, event| page.with_note(event.to_string()))
    }
}

impl<M: LearnerModel> Callback<M> for ErrorMonitor
where
    TrainOutputOf<M>: Adaptor<LossInput>,
{
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

    fn after_backward(
        &mut self,
        run: &mut TrainingRun<M>,
        pass: &mut BackwardPass<'_, M>,
    ) -> CallbackResult {
        if self.requested {
            run.record_loss(pass.output)?;
        }
        Ok(())
    }

    fn after_optimizer_step(
        &mut self,
        run: &mut TrainingRun<M>,
        output: &TrainOutputOf<M>,
    ) -> CallbackResult {
        if !std::mem::take(&mut self.requested) {
            return Ok(());
        }
        // The measured step is already counted.
        let step = run.position().step - 1;
        let layers = run.measured(&self.controls)?;
        self.training_loss
            .push((step as f64, run.step_loss(output)?));
        self.history
            .with(|history| history.reports.push(ErrorReport { step, layers }));
        Ok(())
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let step = run.position().step as f64;
        if let Some(loss) = run.metric("Loss", Split::Valid) {
            self.validation_loss.push((step, loss));
        }
        self.write()
    }

    fn on_event(&mut self, event: &TrainingEvent) -> CallbackResult {
        if self.events.len() < MAX_EVENTS {
            self.events.push(event.clone());
        }
        Ok(())
    }

    fn on_train_end(&mut self, _run: &mut TrainingRun<M>) -> CallbackResult {
        self.write()
    }

    fn state(&self) -> Option<serde_json::Value> {
        serde_json::to_value(
            [&self.training_loss, &self.validation_loss].map(|points| to_json(points)),
        )
        .ok()
    }

    fn load_state(&mut self, state: serde_json::Value) -> CallbackResult {
        let points: [Vec<(f64, Option<f64>)>; 2] = serde_json::from_value(state)?;
        [self.training_loss, self.validation_loss] = points.map(of_json);
        Ok(())
    }
}

/// Points as JSON, which has no NaN or infinity: these become `null`.
fn to_json(points: &[(f64, f64)]) -> Vec<(f64, Option<f64>)> {
    let point = |&(x, y): &(f64, f64)| (x, Some(y).filter(|y| y.is_finite()));
    points.iter().map(point).collect()
}

fn of_json(points: Vec<(f64, Option<f64>)>) -> Vec<(f64, f64)> {
    let point = |(x, y): (f64, Option<f64>)| (x, y.unwrap_or(f64::NAN));
    points.into_iter().map(point).collect()
}
