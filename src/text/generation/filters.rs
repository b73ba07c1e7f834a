//! Filters of the logits of a token before it is drawn, as transformers' logits processors.
//! Excluded tokens get negative infinity.

use std::{cmp::Ordering, collections::BTreeSet};

/// Penalizes the tokens of the text so far: `x / penalty` for `x > 0`, else `x * penalty`.
///
/// Source: [CTRL](https://arxiv.org/abs/1909.05858).
pub(super) fn repetition_penalty(logits: &mut [f32], penalty: f32, previous: &[u32]) {
    let different: BTreeSet<u32> = previous.iter().copied().collect();
    for token in different {
        if let Some(logit) = logits.get_mut(token as usize) {
            *logit = match *logit > 0.0 {
                true => *logit / penalty,
                false => *logit * penalty,
            };
        }
    }
}

/// Keeps logits that are at least the `k`-th largest.
pub(super) fn top_k(logits: &mut [f32], k: usize) {
    if k >= logits.len() {
        return;
    }
    let mut sorted = logits.to_vec();
    let (_, &mut smallest, _) = sorted.select_nth_unstable_by(k - 1, |a, b| b.total_cmp(a));
    for logit in logits {
        if *logit < smallest {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Keeps the likeliest token, and each token whose likelier ones sum to less than `p`.
///
/// Source: [nucleus sampling](https://arxiv.org/abs/1904.09751).
pub(super) fn top_p(logits: &mut [f32], p: f32) {
    let probabilities = softmax(logits);
    let mut order: Vec<usize> = (0..logits.len()).collect();
    let likelier = |a: &usize, b: &usize| match probabilities[*b].total_cmp(&probabilities[*a]) {
        Ordering::Equal => a.cmp(b),
        order => order,
    };
    order.sort_unstable_by(likelier);
    let mut sum = 0.0;
    for (rank, token) in order.into_iter().enumerate() {
        if rank > 0 && sum >= f64::from(p) {
            logits[token] = f32::NEG_INFINITY;
        }
        sum += probabilities[token];
    }
}

/// Keeps tokens with at least `p` times the probability of the likeliest.
///
/// Source: [min-p sampling](https://arxiv.org/abs/2407.01082).
pub(super) fn min_p(logits: &mut [f32], p: f32) {
    let probabilities = softmax(logits);
    let largest = probabilities.iter().copied().fold(0.0, f64::max);
    for (logit, probability) in logits.iter_mut().zip(probabilities) {
        if probability < f64::from(p) * largest {
            *logit = f32::NEG_INFINITY;
        }
    }
}

/// Probabilities of tokens, at least one of which is not excluded.
pub(super) fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exp = |&logit: &f32| f64::from(logit - largest).exp();
    let mut values: Vec<f64> = logits.iter().map(exp).collect();
    let sum: f64 = values.iter().sum();
    values.iter_mut().for_each(|value| *value /= sum);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    const OUT: f32 = f32::NEG_INFINITY;

    /// Returns logits of tokens with these probabilities.
    fn logits(probabilities: &[f32]) -> Vec<f32> {
        probabilities.iter().map(|p| p.ln()).collect()
    }

    fn kept(logits: &[f32]) -> Vec<usize> {
        (0..logits.len()).filter(|&i| logits[i] > OUT).collect()
    }

    #[test]
    fn repeated_tokens_are_punished_once() {
        let mut x = [2.0, -2.0, 3.0, 0.0];
        repetition_penalty(&mut x, 2.0, &[0, 1, 0, 3, 77]);
        assert_eq!(x, [1.0, -4.0, 3.0, 0.0]);
    }

    #[test]
    fn the_largest_k_are_kept() {
        let mut x = [1.0, 5.0, 3.0, 4.0];
        top_k(&mut x, 2);
        assert_eq!(x, [OUT, 5.0, OUT, 4.0]);
        let mut x = [1.0, 2.0];
        top_k(&mut x, 5);
        assert_eq!(x, [1.0, 2.0]);
        // As in transformers, ties with the last are kept.
        let mut x = [3.0, 1.0, 3.0, 3.0];
        top_k(&mut x, 2);
        assert_eq!(x, [3.0, OUT, 3.0, 3.0]);
    }

    #[test]
    fn the_smallest_set_that_reaches_p_is_kept() {
        let probabilities = [0.1, 0.5, 0.15, 0.25];
        for (p, expected) in [
            (0.0, vec![1]),
            (0.4, vec![1]),
            (0.6, vec![1, 3]),
            (0.8, vec![1, 2, 3]),
            (1.0, vec![0, 1, 2, 3]),
        ] {
            let mut x = logits(&probabilities);
            top_p(&mut x, p);
            assert_eq!(kept(&x), expected, "p = {p}");
        }
    }

    #[test]
    fn tokens_far_below_the_likeliest_are_out() {
        let mut x = logits(&[0.1, 0.5, 0.15, 0.25]);
        min_p(&mut x, 0.25);
        assert_eq!(kept(&x), [1, 2, 3]);
        min_p(&mut x, 1.0);
        assert_eq!(kept(&x), [1]);
    }

    #[test]
    fn probabilities_add_up_to_1() {
        let probabilities = softmax(&[1000.0, 999.0, OUT]);
        let e = std::f64::consts::E;
        assert!((probabilities[0] - e / (e + 1.0)).abs() < 1e-12);
        assert_eq!(probabilities[2], 0.0);
    }
}
