//! Report of a training as a self-contained HTML file.

mod axis;
mod bar_chart;
mod color;
mod heat_map;
mod html;
mod line_chart;
mod svg;
mod text;

pub use html::HtmlReport;
