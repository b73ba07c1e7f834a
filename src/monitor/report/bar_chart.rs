use core::fmt::Write;

use super::{
    axis::Axis,
    text::{escape, number},
};

const WIDTH: f64 = 1080.0;
const LEFT: f64 = 330.0;
const ROW: f64 = 18.0;

/// Draws horizontal bars, one row each, as SVG.
pub(super) fn bar_chart(bars: &[(String, f64)], unit: &str) -> String {
    let height = bars.len() as f64 * ROW + 34.0;
    let values = bars.iter().map(|bar| bar.1);
    // Bars start at zero.
    let axis = Axis::new(values.chain([0.0]), LEFT, WIDTH - 80.0);
    let zero = axis.place(0.0);
    let mut svg = format!("<svg viewBox=\"0 0 {WIDTH} {height}\" role=\"img\">");
    let floor = bars.len() as f64 * ROW + 4.0;
    for (place, label) in axis.ticks() {
        let _ = write!(
            svg,
            "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"0\" y2=\"{floor}\"/>\
             <text x=\"{place:.1}\" y=\"{}\" text-anchor=\"middle\">{label}</text>",
            floor + 14.0
        );
    }
    let _ = write!(
        svg,
        "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
        (LEFT + WIDTH - 80.0) / 2.0,
        floor + 28.0,
        escape(unit)
    );
    for (row, (name, value)) in bars.iter().enumerate() {
        let top = row as f64 * ROW + 3.0;
        let end = if value.is_finite() {
            axis.place(*value)
        } else {
            zero
        };
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <rect class=\"bar\" x=\"{:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"12\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\">{}</text>",
            LEFT - 8.0,
            top + 10.0,
            escape(name),
            zero.min(end),
            (end - zero).abs(),
            zero.max(end) + 5.0,
            top + 10.0,
            number(*value)
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Draws small vertical bars for the fractions of codes, as SVG.
pub(super) fn code_histogram(counts: &[(i32, u64)]) -> String {
    let bars = counts
        .iter()
        .map(|&(code, count)| (format!("code {code}"), count));
    let mut svg = small_bars(&bars.collect::<Vec<_>>());
    let total: u64 = counts.iter().map(|count| count.1).sum();
    // Only a few codes leave room for labels.
    if counts.len() <= 4 {
        let bar = BARS / counts.len().max(1) as f64;
        for (i, &(code, count)) in counts.iter().enumerate() {
            let share = 100.0 * count as f64 / total.max(1) as f64;
            let _ = write!(
                svg,
                "<text x=\"{:.1}\" y=\"61\" text-anchor=\"middle\">{code}: {share:.0} %</text>",
                5.0 + (i as f64 + 0.5) * bar
            );
        }
    }
    svg.push_str("</svg>");
    svg
}

/// Draws small vertical bars for latent weights, with the values of the outermost codes below, as
/// SVG.
pub(super) fn weight_histogram(counts: &[u64]) -> String {
    let middle = counts.len() as i64 / 2;
    let bars = counts.iter().enumerate().map(|(i, &count)| {
        let codes = (i as i64 - middle) as f64 / 8.0;
        (format!("{} of the largest code", number(codes)), count)
    });
    let mut svg = small_bars(&bars.collect::<Vec<_>>());
    for (share, label) in [(0.25, "min"), (0.5, "0"), (0.75, "max")] {
        let _ = write!(
            svg,
            "<text x=\"{:.1}\" y=\"61\" text-anchor=\"middle\">{label}</text>",
            5.0 + share * BARS
        );
    }
    svg.push_str("</svg>");
    svg
}

/// Width of the bars of a small chart.
const BARS: f64 = 160.0;

/// Returns an unclosed SVG with bars that show their values as tooltips.
fn small_bars(bars: &[(String, u64)]) -> String {
    let total: u64 = bars.iter().map(|bar| bar.1).sum();
    let largest = bars.iter().map(|bar| bar.1).max().unwrap_or(0).max(1);
    let width = BARS / bars.len().max(1) as f64;
    let mut svg = "<svg class=\"small\" viewBox=\"0 0 170 64\" role=\"img\">".to_string();
    for (i, (name, count)) in bars.iter().enumerate() {
        let tall = 46.0 * *count as f64 / largest as f64;
        let share = 100.0 * *count as f64 / total.max(1) as f64;
        let _ = write!(
            svg,
            "<rect class=\"bar\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{tall:.2}\">\
             <title>{}: {count} ({share:.1} %)</title></rect>",
            5.0 + i as f64 * width,
            48.0 - tall,
            (width * 0.9).max(0.3),
            escape(name)
        );
    }
    svg
}
