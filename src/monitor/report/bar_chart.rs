use super::{
    axis::Axis,
    svg::Svg,
    text::{escape, number},
};

const WIDTH: f64 = 1080.0;
const LEFT: f64 = 330.0;
const ROW: f64 = 18.0;

/// Draws horizontal bars, one row each, as SVG.
pub(super) fn bar_chart(bars: &[(String, f64)], unit: &str) -> String {
    let rows = bars.len() as f64 * ROW;
    let values = bars.iter().map(|bar| bar.1);
    // Bars start at zero.
    let axis = Axis::new(values.chain([0.0]), LEFT, WIDTH - 80.0);
    let zero = axis.place(0.0);
    let mut svg = Svg::new(WIDTH, rows + 34.0);
    let floor = rows + 4.0;
    for (place, label) in axis.ticks() {
        svg.add(format_args!(
            "<line class=\"grid\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"0\" y2=\"{floor}\"/>"
        ));
        svg.text(place, floor + 14.0, "middle", label);
    }
    svg.text((LEFT + WIDTH - 80.0) / 2.0, floor + 28.0, "middle", unit);
    for (row, (name, value)) in bars.iter().enumerate() {
        let top = row as f64 * ROW + 3.0;
        let end = match value.is_finite() {
            true => axis.place(*value),
            false => zero,
        };
        svg.text(LEFT - 8.0, top + 10.0, "end", name);
        svg.add(format_args!(
            "<rect class=\"bar\" x=\"{:.1}\" y=\"{top}\" width=\"{:.1}\" height=\"12\"/>",
            zero.min(end),
            (end - zero).abs(),
        ));
        svg.text(zero.max(end) + 5.0, top + 10.0, "start", number(*value));
    }
    svg.finish()
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
            let middle = 5.0 + (i as f64 + 0.5) * bar;
            svg.text(middle, 61.0, "middle", format!("{code}: {share:.0} %"));
        }
    }
    svg.finish()
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
        svg.text(5.0 + share * BARS, 61.0, "middle", label);
    }
    svg.finish()
}

/// Width of the bars of a small chart.
const BARS: f64 = 160.0;

/// Draws bars that show their values as tooltips.
fn small_bars(bars: &[(String, u64)]) -> Svg {
    let total: u64 = bars.iter().map(|bar| bar.1).sum();
    let largest = bars.iter().map(|bar| bar.1).max().unwrap_or(0).max(1);
    let width = BARS / bars.len().max(1) as f64;
    let mut svg = Svg::small();
    for (i, (name, count)) in bars.iter().enumerate() {
        let tall = 46.0 * *count as f64 / largest as f64;
        let share = 100.0 * *count as f64 / total.max(1) as f64;
        svg.add(format_args!(
            "<rect class=\"bar\" x=\"{:.2}\" y=\"{:.2}\" width=\"{:.2}\" height=\"{tall:.2}\">\
             <title>{}: {count} ({share:.1} %)</title></rect>",
            5.0 + i as f64 * width,
            48.0 - tall,
            (width * 0.9).max(0.3),
            escape(name)
        ));
    }
    svg
}
