//! `bitnet-burn report`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use bitnet_burn::monitor::{ErrorHistory, HtmlReport};
use serde_json::{Value, json};

use crate::{error::Failure, output::Output};

const EXAMPLES: &str = "\
Examples:
  bitnet-burn report run                        run/errors.jsonl and run/log.jsonl become run/report.html
  bitnet-burn report errors.jsonl --out page.html --title 'Layer by layer'";

/// Render the quantization errors of each layer over a training as an HTML page.
#[derive(clap::Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Arguments {
    /// Folder of a run, or its errors.jsonl
    run: PathBuf,
    /// Log of the run, for its losses and events [default: log.jsonl beside the errors]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    /// Output file [default: report.html beside the errors]
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Title of the page
    #[arg(long, default_value = "Quantization-aware training")]
    title: String,
}

/// Losses and events in the log of a run.
#[derive(Default)]
struct Log {
    training: Vec<(f64, f64)>,
    validation: Vec<(f64, f64)>,
    events: Vec<String>,
}

impl Log {
    fn read(path: &Path) -> Result<Self, Failure> {
        let text = fs::read_to_string(path).map_err(Failure::io(path))?;
        let mut log = Self::default();
        for (i, line) in text.lines().enumerate() {
            let line: Value = serde_json::from_str(line).map_err(|error| {
                Failure::failed(format!("{}, line {}: {error}", path.display(), i + 1))
            })?;
            log.add(&line);
        }
        Ok(log)
    }

    fn add(&mut self, line: &Value) {
        let step = line["step"].as_f64().unwrap_or_default();
        match line["kind"].as_str() {
            Some("step") => self
                .training
                .extend(line["loss"].as_f64().map(|loss| (step, loss))),
            Some("validation") => {
                let loss = line["metrics"]["Loss"].as_f64();
                self.validation.extend(loss.map(|loss| (step, loss)));
            }
            Some("event") => {
                let text = |name: &str| line[name].as_str().unwrap_or_default().to_string();
                self.events.push(format!(
                    "step {step}, {}: {}",
                    text("source"),
                    text("message")
                ));
            }
            _ => {}
        }
    }

    fn losses(self) -> Vec<(String, Vec<(f64, f64)>)> {
        [("training", self.training), ("validation", self.validation)]
            .into_iter()
            .filter(|(_, points)| !points.is_empty())
            .map(|(name, points)| (name.to_string(), points))
            .collect()
    }
}

pub fn run(arguments: &Arguments, output: Output) -> Result<(), Failure> {
    let errors = match arguments.run.is_dir() {
        true => arguments.run.join("errors.jsonl"),
        false => arguments.run.clone(),
    };
    Failure::unless_present([&errors])?;
    let history = ErrorHistory::load(&errors)?;
    let beside = errors.with_file_name("log.jsonl");
    let log = match &arguments.log {
        Some(path) => Log::read(path)?,
        None if beside.is_file() => Log::read(&beside)?,
        None => Log::default(),
    };
    let out = arguments.out.clone();
    let out = out.unwrap_or_else(|| errors.with_file_name("report.html"));
    let events = log.events.clone();
    let mut page = HtmlReport::new(&arguments.title, &history);
    let losses = log.losses();
    if !losses.is_empty() {
        page = page.with_series("Loss", losses);
    }
    let page = events
        .into_iter()
        .fold(page, |page, event| page.with_note(event));
    page.save(&out)?;
    let (reports, quantizers) = (history.reports.len(), history.paths().len());
    output.result(
        || json!({"page": out, "reports": reports, "quantizers": quantizers}),
        || {
            format!(
                "rendered {reports} reports on {quantizers} quantizers in {}",
                out.display()
            )
        },
    )
}
