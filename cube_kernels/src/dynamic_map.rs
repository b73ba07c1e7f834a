use std::sync::LazyLock;

/// Number of values that share a scale in block-wise quantization.
pub const BLOCK: usize = 256;

/// bitsandbytes' dynamic maps: 8-bit codes for values in -1..=1 or 0..=1, finer near zero.
///
/// A map has seven decades from `10^-6` to `1`, and the values 0 and 1. Each decade is divided evenly
/// between a tenth of its end and its end, into twice as many steps as the previous one; the values are
/// the middles of the steps.
///
/// Source: [8-Bit Approximations for Parallelism in Deep Learning](https://arxiv.org/abs/1511.04561);
/// [8-bit Optimizers via Block-wise Quantization](https://arxiv.org/abs/2110.02861), section 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum DynamicMap {
    /// Values from -0.993 to 1.
    Signed,
    /// Values from 0 to 1.
    Unsigned,
}

/// A map and the thresholds between its codes.
struct Table {
    values: [f32; 256],
    thresholds: [f32; 256],
}

static SIGNED: LazyLock<Table> = LazyLock::new(|| Table::new(DynamicMap::Signed));
static UNSIGNED: LazyLock<Table> = LazyLock::new(|| Table::new(DynamicMap::Unsigned));

impl DynamicMap {
    /// Returns the value of each code, ascending.
    pub fn values(self) -> &'static [f32; 256] {
        &self.table().values
    }

    /// Returns for each code the largest value that is not nearer to the next one. The code of `x` is
    /// the number of thresholds below `x`. The last one is infinite.
    pub fn thresholds(self) -> &'static [f32; 256] {
        &self.table().thresholds
    }

    /// Returns the code of the nearest value, the lower one of two equally near; 0 for NaN.
    pub fn code(self, x: f32) -> u8 {
        self.thresholds()
            .partition_point(|&threshold| threshold < x) as u8
    }

    fn table(self) -> &'static Table {
        match self {
            Self::Signed => &SIGNED,
            Self::Unsigned => &UNSIGNED,
        }
    }
}

impl Table {
    fn new(map: DynamicMap) -> Self {
        let mut values = vec![0.0, 1.0];
        for decade in 0..7 {
            let (steps, signs): (usize, &[f32]) = match map {
                DynamicMap::Signed => (1 << decade, &[1.0, -1.0]),
                DynamicMap::Unsigned => (2 << decade, &[1.0]),
            };
            let scale = 10f64.powi(decade - 6) as f32;
            let middles = (0..steps).map(|i| (boundary(i, steps) + boundary(i + 1, steps)) / 2.0);
            values.extend(middles.flat_map(|middle| signs.iter().map(move |s| s * scale * middle)));
        }
        values.sort_by(f32::total_cmp);
        let values: [f32; 256] = values
            .try_into()
            .expect("2 and 2 * (1 + 2 + .. + 64) values");
        let mut thresholds = [f32::INFINITY; 256];
        for (threshold, pair) in thresholds.iter_mut().zip(values.windows(2)) {
            *threshold = last_nearer_to_first(pair[0], pair[1]);
        }
        Self { values, thresholds }
    }
}

/// Returns boundary `i` of even `steps` between 0.1 and 1, computed from the nearer end as in PyTorch.
fn boundary(i: usize, steps: usize) -> f32 {
    let step = (1.0 - 0.1f32) / steps as f32;
    match i < steps.div_ceil(2) {
        true => step.mul_add(i as f32, 0.1),
        false => (-step).mul_add((steps - i) as f32, 1.0),
    }
}

/// Returns the largest number whose rounded distance from `low` is not above that from `high`.
fn last_nearer_to_first(low: f32, high: f32) -> f32 {
    let nearer = |x: f32| x - low <= high - x;
    let mut x = 0.5 * (low + high);
    while nearer(x.next_up()) {
        x = x.next_up();
    }
    while !nearer(x) {
        x = x.next_down();
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_those_of_the_nearest_values() {
        for map in [DynamicMap::Signed, DynamicMap::Unsigned] {
            let values = map.values();
            assert!(values.is_sorted_by(|a, b| a < b));
            for (code, &value) in values.iter().enumerate() {
                assert_eq!(map.code(value), code as u8);
            }
            for i in 0..=100_000 {
                let x = 1e-5 * i as f32 * if i % 2 == 0 { 1.0 } else { -1.0 };
                let distance = |v: &f32| (x - v).abs();
                let nearest = (values.iter().map(distance)).fold(f32::INFINITY, f32::min);
                let first = values.iter().position(|v| distance(v) == nearest);
                assert_eq!(map.code(x) as usize, first.unwrap(), "{x}");
            }
            assert_eq!(map.code(f32::NAN), 0);
        }
    }
}
