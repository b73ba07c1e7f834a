//! Results of the methods of fine-tuning.

use serde_json::{Map, json};

/// Validation losses, in nats per character.
pub struct Report {
    pub full_precision: f64,
    /// After the conversion, before any training step.
    pub converted: f64,
    pub abrupt: f64,
    pub progressive: f64,
    /// With static activations, by observer; the first is the one to report.
    pub static_losses: Vec<(&'static str, f64)>,
    pub packed: f64,
}

impl Report {
    /// Returns the loss of the better model, with which the static and the packed ones are compared.
    fn better(&self) -> f64 {
        self.progressive.min(self.abrupt)
    }

    pub fn print_table(&self) {
        println!("{:<40} validation loss", "");
        let line = |name: &str, loss: f64| println!("{name:<40} {loss:>10.6}");
        line("full precision", self.full_precision);
        line("converted, without a step", self.converted);
        line("abrupt", self.abrupt);
        line("progressive", self.progressive);
        for (observer, loss) in &self.static_losses {
            let change = 100.0 * (loss / self.better() - 1.0);
            let name = format!("better, static activations ({observer})");
            println!("{name:<40} {loss:>10.6} {change:+.3} %");
        }
        line("better, packed", self.packed);
    }

    /// Formats the results as one line of JSON.
    pub fn print_json(&self) {
        let losses = self.static_losses.iter();
        let by_observer: Map<_, _> = losses
            .map(|(observer, loss)| (observer.to_string(), json!(loss)))
            .collect();
        let line = json!({
            "full_precision": self.full_precision,
            "converted": self.converted,
            "abrupt": self.abrupt,
            "progressive": self.progressive,
            "static": self.static_losses[0].1,
            "static_by_observer": by_observer,
            "packed": self.packed,
        });
        println!("{line}");
    }
}
