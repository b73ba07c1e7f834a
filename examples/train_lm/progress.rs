//! Progress as plain lines, for terminals and log files alike.

use std::{collections::HashMap, time::Instant};

use burn::train::{
    logger::{EvaluationProgressLogger, TrainingProgressLogger},
    metric::{MetricDefinition, MetricId},
    renderer::{
        EvaluationName, MetricState, MetricsRenderer, MetricsRendererEvaluation,
        MetricsRendererTraining,
    },
};

use crate::data::{BATCH, CONTEXT, STEPS_PER_EPOCH};

/// Steps between two lines.
const INTERVAL: usize = 50;

/// Prints a line every [`INTERVAL`] steps and after every validation.
pub struct PlainProgress {
    names: HashMap<MetricId, String>,
    /// The newest value of each metric, in the order of their names.
    latest: HashMap<String, String>,
    total_steps: usize,
    epoch: usize,
    validating: bool,
    since: Instant,
    step_then: usize,
}

impl PlainProgress {
    pub fn new(total_steps: usize, first_epoch: usize) -> Self {
        Self {
            names: HashMap::new(),
            latest: HashMap::new(),
            total_steps,
            epoch: first_epoch,
            validating: false,
            since: Instant::now(),
            step_then: (first_epoch - 1) * STEPS_PER_EPOCH,
        }
    }

    fn remember(&mut self, state: MetricState) {
        let (MetricState::Generic(entry) | MetricState::Numeric(entry, _)) = state;
        if let Some(name) = self.names.get(&entry.metric_id) {
            let value = entry.serialized_entry.formatted;
            self.latest.insert(name.clone(), value);
        }
    }

    fn metrics(&self) -> String {
        let mut metrics: Vec<String> = self
            .latest
            .iter()
            .map(|(name, value)| format!("{name}: {value}"))
            .collect();
        metrics.sort();
        metrics.join(", ")
    }
}

impl MetricsRendererTraining for PlainProgress {
    fn update_train(&mut self, state: MetricState) {
        self.remember(state);
    }

    fn update_valid(&mut self, state: MetricState) {
        self.remember(state);
    }
}

impl TrainingProgressLogger for PlainProgress {
    fn start(&mut self, _: usize, _: usize, _: Option<usize>, _: Option<&str>) {}

    fn update_epoch(&mut self, epoch: usize) {
        self.epoch = epoch + 1;
    }

    fn start_split(&mut self, split: &str, _total_items: usize) {
        self.validating = split.to_lowercase().starts_with("valid");
        self.latest.clear();
        self.since = Instant::now();
    }

    fn update_split(&mut self, items_processed: usize) {
        let step = (self.epoch - 1) * STEPS_PER_EPOCH + items_processed / BATCH;
        if self.validating || (!step.is_multiple_of(INTERVAL) && step != self.total_steps) {
            return;
        }
        let tokens = (step - self.step_then) * BATCH * CONTEXT;
        let rate = tokens as f64 / self.since.elapsed().as_secs_f64();
        let total = self.total_steps;
        println!(
            "step {step:>5}/{total} | {rate:>7.0} tokens/s | {}",
            self.metrics()
        );
        self.since = Instant::now();
        self.step_then = step;
    }

    fn end_split(&mut self) {
        if self.validating {
            println!("validation       | {}", self.metrics());
        }
    }

    fn end(&mut self) {}

    /// The events are one word per iteration, which the lines above make superfluous.
    fn log_event_training(&mut self, _event: String) {}
}

impl EvaluationProgressLogger for PlainProgress {
    fn start_global_progress(&mut self, _: usize) {}
    fn start_test(&mut self, _: &str, _: usize) {}
    fn update_test_progress(&mut self, _: usize) {}
    fn end_test(&mut self) {}
    fn end_global_progress(&mut self) {}
    fn log_event_evaluation(&mut self, _: String) {}
}

impl MetricsRendererEvaluation for PlainProgress {
    fn update_test(&mut self, _: EvaluationName, _: MetricState) {}
}

impl MetricsRenderer for PlainProgress {
    fn manual_close(&mut self) {}

    fn register_metric(&mut self, definition: MetricDefinition) {
        self.names
            .insert(definition.metric_id, definition.name.to_string());
    }
}
