//! What quantisation does to a model while it trains, over time: reports to read and to keep.

mod error_history;
mod report;

pub use error_history::{ErrorHistory, ErrorReport, HistoryError};
pub use report::HtmlReport;
