//! Bar charts as SVG.

use std::fmt::Write;

use crate::table::Table;

const WIDTH: f64 = 900.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 70.0;
const BAR: f64 = 16.0;
const GAP: f64 = 5.0;
const GROUP_GAP: f64 = 24.0;
const TOP: f64 = 56.0;

const COLORS: [&str; 6] = [
    "#4269d0", "#efb118", "#3ca951", "#ff725c", "#a463f2", "#6cc5b0",
];

/// Draws horizontal bars by group, with a line at a ratio of 1.
pub fn bars(title: &str, table: &Table) -> String {
    let longest = table.bars.iter().map(|bar| bar.value).fold(1.0, f64::max);
    let x = |value: f64| LEFT + value / longest * (WIDTH - LEFT - RIGHT);
    let mut body = String::new();
    let mut y = TOP;
    let mut group = "";
    let mut color = 0;
    for bar in &table.bars {
        if bar.group != group {
            group = &bar.group;
            color = 0;
            y += GROUP_GAP;
            let at = y - GAP;
            text(&mut body, 10.0, at, "font-weight=\"bold\"", group);
        }
        let (width, middle) = (x(bar.value) - LEFT, y + BAR - 4.0);
        let _ = writeln!(
            body,
            "<rect x=\"{LEFT}\" y=\"{y}\" width=\"{width:.1}\" height=\"{BAR}\" fill=\"{}\"/>",
            COLORS[color % COLORS.len()]
        );
        text(
            &mut body,
            LEFT - 8.0,
            middle,
            "text-anchor=\"end\"",
            &bar.label,
        );
        let value = format!("{:.2}", bar.value);
        text(&mut body, x(bar.value) + 5.0, middle, "", &value);
        color += 1;
        y += BAR + GAP;
    }
    let (one, height) = (x(1.0), y + 12.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height}\" \
         font-family=\"sans-serif\" font-size=\"12\" fill=\"#222\">\n\
         <rect width=\"{WIDTH}\" height=\"{height}\" fill=\"#fff\"/>\n"
    );
    text(&mut svg, 10.0, 24.0, "font-size=\"16\"", title);
    text(&mut svg, 10.0, 44.0, "", table.unit);
    svg.push_str(&body);
    let _ = writeln!(
        svg,
        "<line x1=\"{one:.1}\" x2=\"{one:.1}\" y1=\"{TOP}\" y2=\"{y}\" stroke=\"#222\" \
         stroke-dasharray=\"4 3\"/>\n</svg>"
    );
    svg
}

fn text(svg: &mut String, x: f64, y: f64, attributes: &str, text: &str) {
    let text = text.replace('&', "&amp;").replace('<', "&lt;");
    let _ = writeln!(
        svg,
        "<text x=\"{x:.1}\" y=\"{y:.1}\" {attributes}>{text}</text>"
    );
}
