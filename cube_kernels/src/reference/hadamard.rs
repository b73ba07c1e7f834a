//! Walsh-Hadamard transform in scalar code.

/// Returns the factor `1 / sqrt(block)` that makes the transform of `block` values orthonormal.
pub fn hadamard_scale(block: usize) -> f32 {
    (1.0 / (block as f64).sqrt()) as f32
}

/// Returns `H x` of each block of `block` neighboring values, with `H[i, j] = (-1)^popcount(i & j) /
/// sqrt(block)` (Sylvester's order).
///
/// The order of the additions is part of the definition: pairs 1, 2, 4, .. apart become
/// `(a + b, a - b)`. The multiplication by [`hadamard_scale`] comes last.
///
/// # Panics
///
/// If `block` is not a power of two, or does not divide the number of values.
pub fn hadamard_transform(values: &[f32], block: usize) -> Vec<f32> {
    assert!(
        block.is_power_of_two() && values.len().is_multiple_of(block),
        "blocks of a power of two of values, got {} values in blocks of {block}",
        values.len()
    );
    let mut output = values.to_vec();
    for block in output.chunks_exact_mut(block) {
        let mut distance = 1;
        while distance < block.len() {
            for i in (0..block.len()).filter(|i| i & distance == 0) {
                let (a, b) = (block[i], block[i + distance]);
                block[i] = a + b;
                block[i + distance] = a - b;
            }
            distance *= 2;
        }
        let scale = hadamard_scale(block.len());
        block.iter_mut().for_each(|v| *v *= scale);
    }
    output
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_of_four_is_sylvesters_matrix() {
        let columns = [
            [0.5, 0.5, 0.5, 0.5],
            [0.5, -0.5, 0.5, -0.5],
            [0.5, 0.5, -0.5, -0.5],
            [0.5, -0.5, -0.5, 0.5],
        ];
        for (j, column) in columns.iter().enumerate() {
            let mut unit = [0.0; 4];
            unit[j] = 1.0;
            assert_eq!(hadamard_transform(&unit, 4), column);
        }
    }

    #[test]
    fn blocks_of_one_value_stay() {
        assert_eq!(hadamard_transform(&[1.5, -2.0], 1), [1.5, -2.0]);
    }
}
