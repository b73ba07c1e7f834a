//! Result of a section: a table, and the bars of its chart.

use std::fmt;

pub struct Table {
    head: &'static [&'static str],
    rows: Vec<Vec<String>>,
    pub bars: Vec<Bar>,
    /// Quantity shown by the length of a bar.
    pub unit: &'static str,
}

/// Bar of the chart, within a group of bars.
pub struct Bar {
    pub group: String,
    pub label: String,
    pub value: f64,
}

impl Table {
    pub fn new(head: &'static [&'static str], unit: &'static str) -> Self {
        Self {
            head,
            rows: Vec::new(),
            bars: Vec::new(),
            unit,
        }
    }

    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let cells: Vec<String> = cells.into_iter().collect();
        eprintln!("  {}", cells.join("  "));
        self.rows.push(cells);
    }

    pub fn bar(&mut self, group: impl Into<String>, label: impl Into<String>, value: f64) {
        self.bars.push(Bar {
            group: group.into(),
            label: label.into(),
            value,
        });
    }
}

/// Formats a number with three digits.
pub fn number(value: f64) -> String {
    let decimals = (2 - value.abs().log10().floor() as i32).clamp(0, 4) as usize;
    format!("{value:.decimals$}")
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| {} |", self.head.join(" | "))?;
        writeln!(f, "|{}", "---|".repeat(self.head.len()))?;
        for row in &self.rows {
            writeln!(f, "| {} |", row.join(" | "))?;
        }
        Ok(())
    }
}
