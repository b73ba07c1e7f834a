//! Progress of a training: a bar on terminals, else lines, and lines of JSON.

use std::time::Instant;

use bitnet_burn::{
    nn::Projection,
    train::{
        LanguageModel,
        callback::{Callback, CallbackResult, TrainingEvent, TrainingRun},
    },
};
use burn::train::metric::store::Split;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::{Value, json};

use crate::output::Output;

/// Callback that prints the progress.
#[derive(Clone)]
pub struct Progress {
    output: Output,
    total: usize,
    every: usize,
    tokens_per_step: usize,
    bar: ProgressBar,
    /// Start of the interval of the next line, and its number of steps.
    since: Instant,
    steps: usize,
}

impl Progress {
    pub fn new(output: Output, total: usize, every: usize, tokens_per_step: usize) -> Self {
        let bar = match output.has_bars() {
            true => ProgressBar::new(total as u64).with_style(style()),
            false => ProgressBar::with_draw_target(None, ProgressDrawTarget::hidden()),
        };
        Self {
            output,
            total,
            every,
            tokens_per_step,
            bar,
            since: Instant::now(),
            steps: 0,
        }
    }

    pub fn finish(&self) {
        self.bar.finish_and_clear();
    }

    fn json(&self, line: &Value) -> CallbackResult {
        if self.output.json {
            self.output.line(&line.to_string())?;
        }
        Ok(())
    }

    /// Prints a line above the bar, or to stderr.
    fn say(&self, line: &str) {
        match self.output.has_bars() {
            true => self.bar.println(line),
            false => self.output.note(line),
        }
    }

    /// Returns `true` for a step that gets a line.
    fn is_due(&self, step: usize) -> bool {
        step.is_multiple_of(self.every) || step == self.total
    }

    fn report(&mut self, step: usize, loss: f64, learning_rate: f64) -> CallbackResult {
        let tokens = (self.steps * self.tokens_per_step) as f64;
        let rate = tokens / self.since.elapsed().as_secs_f64().max(1e-9);
        (self.since, self.steps) = (Instant::now(), 0);
        let message = format!("loss {loss:.4} | {rate:.0} tokens/s");
        match self.output.has_bars() {
            true => self.bar.set_message(message),
            false => {
                let total = self.total;
                self.say(&format!(
                    "step {step:>6}/{total} | {message} | learning rate {learning_rate:.1e}"
                ));
            }
        }
        self.json(&json!({
            "kind": "step", "step": step, "loss": loss, "learning_rate": learning_rate,
            "tokens_per_second": rate,
        }))
    }
}

fn style() -> ProgressStyle {
    let style = ProgressStyle::with_template("{bar:30} {pos}/{len} | {eta} left | {msg}");
    style.unwrap_or_else(|_| ProgressStyle::default_bar())
}

impl<P: Projection> Callback<LanguageModel<P>> for Progress {
    fn name(&self) -> &str {
        "progress"
    }

    fn on_train_start(&mut self, run: &mut TrainingRun<LanguageModel<P>>) -> CallbackResult {
        let step = run.position().step;
        self.bar.set_position(step as u64);
        self.bar.reset_eta();
        Ok(())
    }

    fn on_epoch_start(&mut self, _run: &mut TrainingRun<LanguageModel<P>>) -> CallbackResult {
        (self.since, self.steps) = (Instant::now(), 0);
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<LanguageModel<P>>) -> CallbackResult {
        let step = run.position().step;
        self.steps += 1;
        self.bar.set_position(step as u64);
        match self.is_due(step) {
            true => {
                let loss = run.step_loss()?;
                self.report(step, loss, run.learning_rate())
            }
            false => Ok(()),
        }
    }

    fn on_validation_end(&mut self, run: &mut TrainingRun<LanguageModel<P>>) -> CallbackResult {
        let Some(loss) = run.metric("Loss", Split::Valid) else {
            return Ok(());
        };
        let step = run.position().step;
        let (total, perplexity) = (self.total, loss.exp());
        self.say(&format!(
            "step {step:>6}/{total} | validation loss {loss:.4}, perplexity {perplexity:.3}"
        ));
        self.json(&json!({
            "kind": "validation", "step": step, "loss": loss, "perplexity": perplexity,
        }))
    }

    fn on_event(&mut self, event: &TrainingEvent) -> CallbackResult {
        self.say(&event.to_string());
        let mut line = serde_json::to_value(event)?;
        line["kind"] = "event".into();
        self.json(&line)
    }
}
