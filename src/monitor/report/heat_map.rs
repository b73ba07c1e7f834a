use super::{color::shade, svg::Svg, text::number};

const WIDTH: f64 = 1080.0;
const LEFT: f64 = 330.0;
const RIGHT: f64 = 90.0;
const ROW: f64 = 16.0;

/// Draws a row of colors for each layer over steps, from pale to dark blue, as SVG.
pub(super) fn heat_map(rows: &[(String, Vec<(f64, f64)>)], unit: &str) -> String {
    let values = || {
        let points = rows.iter().flat_map(|(_, points)| points);
        points
            .map(|point| point.1)
            .filter(|value| value.is_finite())
    };
    let (min, max) = (
        values().fold(f64::INFINITY, f64::min),
        values().fold(f64::NEG_INFINITY, f64::max),
    );
    let mut steps: Vec<f64> = rows
        .iter()
        .flat_map(|(_, points)| points.iter().map(|point| point.0))
        .collect();
    steps.sort_by(f64::total_cmp);
    steps.dedup();
    let cell = (WIDTH - LEFT - RIGHT) / steps.len().max(1) as f64;
    let height = rows.len() as f64 * ROW + 24.0;
    let mut svg = Svg::new(WIDTH, height);
    for (i, (name, points)) in rows.iter().enumerate() {
        let top = i as f64 * ROW;
        svg.text(LEFT - 8.0, top + 12.0, "end", name);
        for (step, value) in points.iter().filter(|point| point.1.is_finite()) {
            let column = steps.partition_point(|other| other < step);
            let share = match max > min {
                true => (value - min) / (max - min),
                false => 0.5,
            };
            svg.add(format_args!(
                "<rect x=\"{:.2}\" y=\"{top}\" width=\"{:.2}\" height=\"{}\" \
                 fill=\"{}\"><title>step {step}: {}</title></rect>",
                LEFT + column as f64 * cell,
                cell + 0.2,
                ROW - 1.0,
                shade(share),
                number(*value)
            ));
        }
    }
    write_legend(&mut svg, &steps, (min, max), height, unit);
    svg.finish()
}

fn write_legend(svg: &mut Svg, steps: &[f64], range: (f64, f64), height: f64, unit: &str) {
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return;
    };
    let right = WIDTH - RIGHT;
    svg.text(LEFT, height - 6.0, "start", format!("step {first}"));
    svg.text(right, height - 6.0, "end", format!("step {last}"));
    for i in 0..=8 {
        svg.add(format_args!(
            "<rect x=\"{:.1}\" y=\"{:.1}\" width=\"14\" height=\"9\" fill=\"{}\"/>",
            right + 12.0,
            4.0 + 9.0 * (8 - i) as f64,
            shade(i as f64 / 8.0)
        ));
    }
    let (min, max) = range;
    svg.text(right + 30.0, 13.0, "start", number(max));
    svg.text(right + 30.0, 84.0, "start", number(min));
    svg.text(right + 30.0, 48.0, "start", unit);
}
