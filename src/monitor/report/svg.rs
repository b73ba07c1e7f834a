use core::fmt::{self, Display, Write};

use super::text::escape;

/// Drawing as SVG.
pub(super) struct Svg(String);

impl Svg {
    pub fn new(width: f64, height: f64) -> Self {
        Self(format!(
            "<svg viewBox=\"0 0 {width} {height}\" role=\"img\">"
        ))
    }

    /// Starts a small drawing for a cell of a table.
    pub fn small() -> Self {
        let start = "<svg class=\"small\" viewBox=\"0 0 170 64\" role=\"img\">";
        Self(start.to_string())
    }

    /// Adds elements.
    pub fn add(&mut self, elements: fmt::Arguments<'_>) {
        let _ = self.0.write_fmt(elements);
    }

    /// Adds a text that starts, has its middle or ends at a place.
    pub fn text(&mut self, x: f64, y: f64, anchor: &str, text: impl Display) {
        let text = escape(&text.to_string());
        self.add(format_args!(
            "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    pub fn finish(self) -> String {
        self.0 + "</svg>"
    }
}
