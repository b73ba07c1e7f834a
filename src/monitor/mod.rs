//! Monitoring of quantization errors during training: history and reports.

mod error_history;
mod report;

pub use error_history::{ErrorHistory, ErrorReport, HistoryError};
pub use report::HtmlReport;
