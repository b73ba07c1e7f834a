//! Biases of packed weights whose scale multiplies.
//!
//! transformers' `AutoBitLinear` adds the bias before it multiplies by the scale, `(x W + b) weight_scale`: the bias that is
//! added here is that of the file times the scale.

/// Returns the number in a file of a bias that is added: that whose product with the scale is nearest.
pub(super) fn for_file(bias: f32, weight_scale: f32) -> f32 {
    let quotient = bias / weight_scale;
    let error = |number: &f32| (number * weight_scale - bias).abs();
    let near = [quotient, quotient.next_down(), quotient.next_up()];
    let nearest = near
        .into_iter()
        .min_by(|a, b| error(a).total_cmp(&error(b)));
    nearest.unwrap_or(quotient)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::interop::hf::exact_values::ExactValues;

    #[test]
    fn a_bias_comes_back_to_the_last_bit() {
        let biases: Vec<f32> = (0..200).map(|i| (i as f32 - 100.3) * 0.0173).collect();
        for scale in [1e-5, 0.0371, 0.5, 1.7, 300.0] {
            let numbers = biases.iter().map(|bias| for_file(*bias, scale));
            let near = numbers.clone().map(|number| number * scale);
            for (near, bias) in near.zip(&biases) {
                assert!(
                    near.to_bits().abs_diff(bias.to_bits()) <= 1,
                    "{bias} {scale}"
                );
            }
            let mut exact = ExactValues::default();
            exact.insert_bias("b", &biases, scale);
            assert_eq!(exact.bias("b", numbers.clone(), scale), biases);
            // Of a file that another program has changed.
            let doubled = exact.bias("b", numbers.map(|number| 2.0 * number), scale);
            for (doubled, bias) in doubled.iter().zip(&biases) {
                assert!((doubled - 2.0 * bias).abs() <= bias.abs() * 3e-7);
            }
        }
        assert_eq!(for_file(0.0, 0.3), 0.0);
    }
}
