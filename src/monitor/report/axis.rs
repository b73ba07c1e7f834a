use super::text::number;

/// Linear scale from values to coordinates of a chart, with ticks at round numbers.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Axis {
    min: f64,
    max: f64,
    /// Coordinates of `min` and `max`.
    from: f64,
    to: f64,
    ticks: Vec<f64>,
}

impl Axis {
    /// Creates an axis that contains all values and ends at ticks. Without values it spans 0 to 1.
    pub fn new(values: impl IntoIterator<Item = f64>, from: f64, to: f64) -> Self {
        let finite = values.into_iter().filter(|value| value.is_finite());
        let (mut min, mut max) = (f64::INFINITY, f64::NEG_INFINITY);
        finite.for_each(|value| (min, max) = (min.min(value), max.max(value)));
        if min > max {
            (min, max) = (0.0, 1.0);
        }
        if min == max {
            // A line of one value is centered.
            let margin = if min == 0.0 { 1.0 } else { min.abs() / 2.0 };
            (min, max) = (min - margin, max + margin);
        }
        let step = round_step((max - min) / 5.0);
        let (first, last) = ((min / step).floor() as i64, (max / step).ceil() as i64);
        let ticks: Vec<f64> = (first..=last).map(|i| i as f64 * step).collect();
        Self {
            min: first as f64 * step,
            max: last as f64 * step,
            from,
            to,
            ticks,
        }
    }

    /// Returns the coordinate of a value.
    pub fn place(&self, value: f64) -> f64 {
        let share = (value - self.min) / (self.max - self.min);
        self.from + share * (self.to - self.from)
    }

    /// Returns the ticks with their coordinates and labels.
    pub fn ticks(&self) -> impl Iterator<Item = (f64, String)> {
        self.ticks
            .iter()
            .map(|&tick| (self.place(tick), number(tick)))
    }
}

/// Returns the smallest of 1, 2 or 5 times a power of ten that is not below a step.
fn round_step(step: f64) -> f64 {
    let power = 10f64.powf(step.log10().floor());
    [1.0, 2.0, 5.0, 10.0]
        .map(|factor| factor * power)
        .into_iter()
        .find(|round| *round >= step * (1.0 - 1e-9))
        .unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_hold_all_values() {
        for (values, ticks) in [
            (vec![0.0, 10.0], vec!["0", "2", "4", "6", "8", "10"]),
            (vec![-1.3, 3.9], vec!["-2", "0", "2", "4"]),
            (vec![0.12, 0.38], vec!["0.1", "0.2", "0.3", "0.4"]),
            (vec![], vec!["0", "0.2", "0.4", "0.6", "0.8", "1"]),
            (vec![4.0, f64::NAN], vec!["2", "3", "4", "5", "6"]),
        ] {
            let axis = Axis::new(values.clone(), 0.0, 100.0);
            let labels: Vec<String> = axis.ticks().map(|(_, label)| label).collect();
            assert_eq!(labels, ticks, "{values:?}");
            let places: Vec<f64> = axis.ticks().map(|(place, _)| place).collect();
            assert_eq!((places[0], *places.last().unwrap()), (0.0, 100.0));
        }
    }

    #[test]
    fn an_axis_may_go_up_while_places_go_down() {
        let axis = Axis::new([0.0, 10.0], 200.0, 0.0);
        assert_eq!(
            [axis.place(0.0), axis.place(5.0), axis.place(10.0)],
            [200.0, 100.0, 0.0]
        );
    }
}
