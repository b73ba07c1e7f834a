use core::fmt::Write;
use std::{io::Write as _, path::Path};

use super::{
    bar_chart::{bar_chart, code_histogram, weight_histogram},
    heat_map::heat_map,
    line_chart::line_chart,
    text::escape,
};
use crate::{
    monitor::{ErrorHistory, HistoryError, error_history::write_whole},
    qat::QuantizationError,
};

const STYLE: &str = "body{font:14px/1.45 system-ui,sans-serif;color:#1c2733;background:#fff;\
max-width:1120px;margin:24px auto;padding:0 16px}h1{font-size:24px}h2{font-size:17px;margin-top:32px}\
svg{width:100%;height:auto;font:11px system-ui,sans-serif;fill:#3c4650}\
svg.small{width:170px}polyline{fill:none;stroke-width:1.6}.grid{stroke:#e3e8ee}.tick{stroke:#8b96a3}\
.bar{fill:#3b74b9}table{border-collapse:collapse;font-size:12.5px}td,th{padding:3px 9px;\
border-bottom:1px solid #e3e8ee;text-align:right;vertical-align:middle}td:first-child,th:first-child\
{text-align:left;font-family:ui-monospace,monospace}p{color:#5a6570}";

type Series = (String, Vec<(f64, f64)>);

/// Report of a training as a self-contained HTML page.
///
/// # Example
///
/// ```
/// use bitnet_burn::monitor::{ErrorHistory, HtmlReport};
///
/// let html = HtmlReport::new("a run", &ErrorHistory::default())
///     .with_series("Loss", vec![("training".to_string(), vec![(0.0, 4.2), (100.0, 2.1)])])
///     .to_html();
/// assert!(html.contains("<polyline"));
/// ```
#[derive(Debug, Clone)]
pub struct HtmlReport<'a> {
    title: String,
    history: &'a ErrorHistory,
    series: Vec<(String, Vec<Series>)>,
    sensitivity: Vec<(String, f64)>,
    notes: Vec<String>,
}

impl<'a> HtmlReport<'a> {
    /// Creates a page about a history of quantization errors.
    pub fn new(title: impl Into<String>, history: &'a ErrorHistory) -> Self {
        Self {
            title: title.into(),
            history,
            series: Vec::new(),
            sensitivity: Vec::new(),
            notes: Vec::new(),
        }
    }

    /// Adds a line chart of other values over the steps, such as losses.
    #[must_use]
    pub fn with_series(mut self, name: impl Into<String>, lines: Vec<Series>) -> Self {
        self.series.push((name.into(), lines));
        self
    }

    /// Adds the increase of the loss caused by the quantization of each layer.
    #[must_use]
    pub fn with_sensitivity(mut self, layers: Vec<(String, f64)>) -> Self {
        self.sensitivity = layers;
        self
    }

    /// Adds a line of text, such as an event of the training.
    #[must_use]
    pub fn with_note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }

    /// Writes the page. An existing file is replaced only when the new one is complete.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), HistoryError> {
        let path = path.as_ref();
        let html = self.to_html();
        write_whole(path, |file| file.write_all(html.as_bytes()))
    }

    /// Returns the page.
    pub fn to_html(&self) -> String {
        let title = escape(&self.title);
        let mut html = format!(
            "<!DOCTYPE html><html lang=\"en\"><head><meta charset=\"utf-8\"><title>{title}</title>\
             <style>{STYLE}</style></head><body><h1>{title}</h1>"
        );
        for (name, lines) in &self.series {
            section(&mut html, name, &line_chart(lines, name));
        }
        self.write_errors(&mut html);
        if !self.sensitivity.is_empty() {
            let bars = bar_chart(&self.sensitivity, "increase of the loss");
            section(&mut html, "Sensitivity of the layers", &bars);
        }
        self.write_table(&mut html);
        if !self.notes.is_empty() {
            html.push_str("<h2>Events</h2><ul>");
            for note in &self.notes {
                let _ = write!(html, "<li>{}</li>", escape(note));
            }
            html.push_str("</ul>");
        }
        html.push_str("</body></html>\n");
        html
    }

    fn write_errors(&self, html: &mut String) {
        let sqnr = |error: &QuantizationError| error.sqnr_db;
        let weights = self.lines(true, sqnr);
        let activations = self.lines(false, sqnr);
        for (name, lines) in [("weights", &weights), ("activations", &activations)] {
            if !lines.is_empty() {
                let title = format!("Signal to quantization noise of {name}");
                section(html, &title, &line_chart(lines, "SQNR, dB"));
            }
        }
        // Separate charts, as 8-bit activations are far better than ternary weights.
        for (name, rows) in [("weights", weights), ("activations", activations)] {
            if !rows.is_empty() {
                let title = format!("SQNR by layer, {name}");
                section(html, &title, &heat_map(&rows, "dB"));
            }
        }
        let flips = self.lines(true, |error| error.flip_rate);
        if !flips.is_empty() {
            let title = "Fraction of codes changed since the last measurement";
            section(html, title, &heat_map(&flips, "flips"));
        }
        let zeros = self.lines(true, |error| Some(error.zero_fraction));
        if !zeros.is_empty() {
            section(html, "Share of zero weights", &line_chart(&zeros, "zeros"));
        }
    }

    /// Returns a line for each quantizer of weights, or of activations, with available values.
    fn lines(
        &self,
        weights: bool,
        value: impl Fn(&QuantizationError) -> Option<f64> + Copy,
    ) -> Vec<Series> {
        let of_kind = |error: &QuantizationError| match error.is_weight == weights {
            true => value(error),
            false => None,
        };
        let paths = self.history.paths().into_iter();
        paths
            .map(|path| (path.to_string(), self.history.series(path, of_kind)))
            .filter(|(_, points)| !points.is_empty())
            .collect()
    }

    /// Writes the last report as a table, with the histograms of codes.
    fn write_table(&self, html: &mut String) {
        let Some(report) = self.history.reports.last() else {
            return;
        };
        let _ = write!(
            html,
            "<h2>Quantizers at step {}</h2><table><tr><th>quantizer</th><th>values</th>\
             <th>SQNR, dB</th><th>MSE</th><th>cosine</th><th>largest error</th><th>zeros</th>\
             <th>clipped</th><th>scale</th><th>latent weights</th><th>codes</th></tr>",
            report.step
        );
        for layer in &report.layers {
            write_row(html, layer);
        }
        html.push_str("</table>");
    }
}

fn section(html: &mut String, title: &str, drawing: &str) {
    let _ = write!(html, "<h2>{}</h2>{drawing}", escape(title));
}

fn write_row(html: &mut String, layer: &QuantizationError) {
    let number = |value: Option<f64>| match value {
        Some(value) => super::text::number(value),
        None => "&ndash;".to_string(),
    };
    let percent = |share: f64| format!("{:.1} %", 100.0 * share);
    let latent = match layer.weight_histogram.is_empty() {
        true => String::new(),
        false => weight_histogram(&layer.weight_histogram),
    };
    let histogram = match layer.code_histogram.is_empty() {
        true => String::new(),
        false => {
            let counts = layer.code_histogram.iter();
            let counts: Vec<(i32, u64)> = counts.map(|count| (count.code, count.count)).collect();
            code_histogram(&counts)
        }
    };
    let _ = write!(
        html,
        "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td>\
         <td>{}</td><td>{}</td><td>{latent}</td><td>{histogram}</td></tr>",
        escape(&layer.path),
        layer.count,
        number(layer.sqnr_db),
        number(layer.mse),
        number(layer.cosine),
        number(layer.max_error),
        percent(layer.zero_fraction),
        percent(layer.clipping_rate),
        number(layer.scale.map(|scale| scale.mean)),
    );
}
