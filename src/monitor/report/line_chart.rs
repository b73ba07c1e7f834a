use core::fmt::Write;

use super::{axis::Axis, color::hsl, svg::Svg, text::escape};

const WIDTH: f64 = 1120.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 12.0;
/// Width of the labels of the lines.
const RIGHT: f64 = 335.0;
const LEGEND_LINE: f64 = 15.0;

/// Returns a color for each line, distinct from its neighbors; colors repeat after 36 lines.
fn color(index: usize) -> String {
    let hue = (index * 137 % 360) as f64;
    hsl(hue, 0.65, [0.42, 0.32, 0.52][index / 12 % 3])
}

/// Draws lines over steps, as SVG.
pub(super) fn line_chart(lines: &[(String, Vec<(f64, f64)>)], unit: &str) -> String {
    let points = || lines.iter().flat_map(|(_, points)| points);
    let rows = lines.len() as f64 * LEGEND_LINE + 2.0 * TOP;
    let height = HEIGHT.max(rows);
    let x = Axis::new(points().map(|point| point.0), LEFT, WIDTH - RIGHT);
    let y = Axis::new(points().map(|point| point.1), height - BOTTOM, TOP);
    let mut svg = Svg::new(WIDTH, height);
    let (right, floor) = (WIDTH - RIGHT, height - BOTTOM);
    for (place, label) in y.ticks() {
        svg.add(format_args!(
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{right}\" y1=\"{place:.1}\" y2=\"{place:.1}\"/>"
        ));
        svg.text(LEFT - 6.0, place + 4.0, "end", label);
    }
    for (place, label) in x.ticks() {
        svg.add(format_args!(
            "<line class=\"tick\" x1=\"{place:.1}\" x2=\"{place:.1}\" y1=\"{floor}\" y2=\"{:.1}\"/>",
            floor + 5.0
        ));
        svg.text(place, floor + 18.0, "middle", label);
    }
    svg.text((LEFT + right) / 2.0, height - 4.0, "middle", "step");
    svg.add(format_args!(
        "<text transform=\"translate(14 {:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
        (TOP + floor) / 2.0,
        escape(unit)
    ));
    for (index, (name, points)) in lines.iter().enumerate() {
        write_line(&mut svg, index, name, points, &x, &y);
    }
    svg.finish()
}

fn write_line(svg: &mut Svg, index: usize, name: &str, points: &[(f64, f64)], x: &Axis, y: &Axis) {
    let color = color(index);
    let mut places = points.iter().filter(|point| point.1.is_finite());
    let mut path = String::new();
    for point in places.clone() {
        let _ = write!(path, "{:.1},{:.1} ", x.place(point.0), y.place(point.1));
    }
    let path = path.trim_end();
    svg.add(format_args!(
        "<polyline points=\"{path}\" stroke=\"{color}\"/>"
    ));
    if let Some(last) = places.next_back() {
        svg.add(format_args!(
            "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"2\" fill=\"{color}\"/>",
            x.place(last.0),
            y.place(last.1)
        ));
    }
    let (left, top) = (WIDTH - RIGHT + 14.0, TOP + index as f64 * LEGEND_LINE);
    svg.add(format_args!(
        "<rect x=\"{left}\" y=\"{top}\" width=\"10\" height=\"10\" fill=\"{color}\"/>"
    ));
    svg.text(left + 15.0, top + 9.0, "start", name);
}
