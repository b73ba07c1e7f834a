//! The report of a training as one HTML file that needs nothing else.

mod axis;
mod bar_chart;
mod color;
mod heat_map;
mod html;
mod line_chart;
mod text;

pub use html::HtmlReport;
