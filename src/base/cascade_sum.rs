//! Means in PyTorch's order of additions, for values that other programs compare to the last bit.

/// Values in a vector of PyTorch's CPU kernel: AVX2, also on processors with AVX-512.
const LANES: usize = 8;

/// Vectors that are added side by side.
const VECTORS: usize = 4;

/// Levels of partial sums.
const LEVELS: usize = 4;

/// Partial sums of a level that make one of the level above. PyTorch has more for above 2^24 values.
const STEP: usize = 16;

type Row = [[f32; LANES]; VECTORS];

/// Returns the mean that PyTorch computes on one thread, to the last bit; NaN of no values.
pub(crate) fn mean(values: &[f32]) -> f32 {
    sum(values) / values.len() as f32
}

fn sum(values: &[f32]) -> f32 {
    let (vectors, rest) = values.as_chunks::<LANES>();
    let (rows, single) = vectors.as_chunks::<VECTORS>();
    let [mut total, others @ ..] = sum_of_rows(rows);
    for vector in single.iter().chain(&others) {
        add(&mut total, vector);
    }
    let lanes = rest.iter().chain(&total);
    lanes.fold(0.0, |sum, &value| sum + value)
}

fn sum_of_rows(rows: &[Row]) -> Row {
    let mut levels = [Row::default(); LEVELS];
    let (steps, rest) = rows.as_chunks::<STEP>();
    for (i, step) in steps.iter().enumerate() {
        step.iter().for_each(|row| add_rows(&mut levels[0], row));
        let mut done = i + 1;
        for level in 1..LEVELS {
            let below = core::mem::take(&mut levels[level - 1]);
            add_rows(&mut levels[level], &below);
            if !done.is_multiple_of(STEP) {
                break;
            }
            done /= STEP;
        }
    }
    rest.iter().for_each(|row| add_rows(&mut levels[0], row));
    let [mut total, others @ ..] = levels;
    others.iter().for_each(|level| add_rows(&mut total, level));
    total
}

fn add_rows(sums: &mut Row, row: &Row) {
    for (sum, vector) in sums.iter_mut().zip(row) {
        add(sum, vector);
    }
}

fn add(sums: &mut [f32; LANES], vector: &[f32; LANES]) {
    for (sum, value) in sums.iter_mut().zip(vector) {
        *sum += value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_additions_is_that_of_pytorch() {
        // Added to 2^24, a 1 is lost; the sum of two is not.
        let large = 16_777_216.0;
        for (n, ones, what) in [
            (64, [9, 17], "vectors of a row, then lanes"),
            (128, [33, 65], "rows, then lanes"),
            (16 * 32 * 2 + 32, [1, 16 * 32 + 1], "steps, then lanes"),
            (10, [8, 9], "the rest first"),
        ] {
            let mut values = vec![0.0; n];
            values[0] = large;
            ones.into_iter().for_each(|i| values[i] = 1.0);
            assert_eq!(sum(&values), large + 2.0, "{what}");
        }
        let values = vec![1.0; 5000];
        assert_eq!(mean(&values), 1.0, "every value counts once");
        assert!(mean(&[]).is_nan());
    }
}
