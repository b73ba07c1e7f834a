//! Monitoring of quantization errors during training: history and reports.

mod error_history;
mod report;

pub use error_history::{ErrorHistory, HistoryError};
#[cfg(feature = "train")]
pub(crate) use error_history::{ErrorReport, SharedErrorHistory};
pub use report::HtmlReport;
