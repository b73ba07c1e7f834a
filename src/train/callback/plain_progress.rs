use std::time::{Duration, Instant};

use burn::train::{LearnerModel, metric::store::Split};

use super::{Callback, CallbackResult, TrainingEvent, TrainingRun};
use crate::base::bounds::Bounds;

/// Prints the progress of a training as plain lines for log files and terminals.
///
/// ```text
/// step    100/1500 | 9.1 steps/s | 0:02:33 left | loss 2.3127 | learning rate 1.0e-3
/// step    250/1500 | validation | Loss 2.0214
/// step    250/1500 | checkpoint: step 250 is saved
/// ```
pub struct PlainProgress {
    total_steps: Option<usize>,
    every: usize,
    since: Instant,
    step_then: usize,
    /// Time spent in steps, and their number, for the remaining time.
    trained: (Duration, usize),
}

impl PlainProgress {
    /// Creates a progress printer with a line every 50 steps.
    pub fn new() -> Self {
        Self {
            total_steps: None,
            every: 50,
            since: Instant::now(),
            step_then: 0,
            trained: (Duration::ZERO, 0),
        }
    }

    /// Sets the total number of steps, for the remaining time.
    #[must_use]
    pub fn with_total_steps(mut self, steps: usize) -> Self {
        self.total_steps = Some(steps);
        self
    }

    /// Sets the number of steps between two lines.
    ///
    /// # Panics
    ///
    /// If `every` is 0.
    #[track_caller]
    #[must_use]
    pub fn every(mut self, every: usize) -> Self {
        Bounds::COUNT.assert("every", every);
        self.every = every;
        self
    }

    fn step(&self, step: usize) -> String {
        match self.total_steps {
            Some(total) => format!("step {step:>6}/{total}"),
            None => format!("step {step:>6}"),
        }
    }

    /// Returns `true` if the step gets a line.
    fn is_due(&self, step: usize) -> bool {
        step.is_multiple_of(self.every) || Some(step) == self.total_steps
    }

    /// Returns the remaining time, if the number of steps is known.
    fn left(&self, step: usize) -> Option<Duration> {
        let (time, steps) = self.trained;
        let rest = self.total_steps?.saturating_sub(step);
        (steps > 0).then(|| time.mul_f64(rest as f64 / steps as f64))
    }
}

impl Default for PlainProgress {
    fn default() -> Self {
        Self::new()
    }
}

impl<M: LearnerModel> Callback<M> for PlainProgress {
    fn name(&self) -> &str {
        "plain_progress"
    }

    fn on_epoch_start(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        self.since = Instant::now();
        self.step_then = run.position().step;
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        let step = run.position().step;
        if !self.is_due(step) {
            return Ok(());
        }
        let loss = run.step_loss()?;
        let (time, steps) = (self.since.elapsed(), step - self.step_then);
        self.trained.0 += time;
        self.trained.1 += steps;
        let rate = steps as f64 / time.as_secs_f64();
        let left = self.left(step).map_or(String::new(), |left| {
            let seconds = left.as_secs();
            let (minutes, seconds) = (seconds / 60, seconds % 60);
            format!(" | {}:{:02}:{seconds:02} left", minutes / 60, minutes % 60)
        });
        println!(
            "{} | {rate:.1} steps/s{left} | loss {loss:.4} | learning rate {:.1e}",
            self.step(step),
            run.learning_rate()
        );
        self.since = Instant::now();
        self.step_then = step;
        Ok(())
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<M>) -> CallbackResult {
        if let Some(loss) = run.metric("Loss", Split::Valid) {
            let step = self.step(run.position().step);
            println!("{step} | validation | Loss {loss:.4}");
        }
        Ok(())
    }

    fn on_event(&mut self, event: &TrainingEvent) -> CallbackResult {
        print!(
            "{} | {}: {}",
            self.step(event.step),
            event.source,
            event.message
        );
        for (name, value) in &event.values {
            print!(", {name} {value:.4}");
        }
        println!();
        Ok(())
    }
}
