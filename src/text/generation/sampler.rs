use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{GenerationConfig, filters};
use crate::{base::random::mix, text::TextError};

/// Samples the tokens of a text.
#[derive(Debug)]
pub(super) struct Sampler {
    config: GenerationConfig,
    rng: StdRng,
}

impl Sampler {
    /// Creates a sampler for the text with number `text`; texts with the same seed draw different numbers.
    ///
    /// # Errors
    ///
    /// If a value of the configuration is invalid.
    pub fn new(config: &GenerationConfig, text: u64) -> Result<Self, TextError> {
        config.validate()?;
        Ok(Self {
            config: config.clone(),
            rng: StdRng::seed_from_u64(mix(mix(config.seed) ^ text)),
        })
    }

    /// Returns the next token, given the tokens so far and one logit per token of the vocabulary.
    ///
    /// # Errors
    ///
    /// If a logit is NaN or infinity, or all are negative infinity.
    pub fn sample(&mut self, logits: &[f32], previous: &[u32]) -> Result<u32, TextError> {
        let probabilities = self.probabilities(logits, previous)?;
        if self.config.temperature == 0.0 {
            return Ok(largest(&probabilities) as u32);
        }
        Ok(draw(&probabilities, self.rng.random()))
    }

    /// Returns the probabilities from which the next token is drawn.
    ///
    /// # Errors
    ///
    /// As [`sample`](Self::sample).
    pub fn probabilities(&self, logits: &[f32], previous: &[u32]) -> Result<Vec<f64>, TextError> {
        check(logits)?;
        let config = &self.config;
        let mut logits = logits.to_vec();
        if config.repetition_penalty != 1.0 {
            filters::repetition_penalty(&mut logits, config.repetition_penalty, previous);
        }
        let top = largest(&logits);
        if config.temperature == 0.0 {
            let one = |token| f64::from(u8::from(token == top));
            return Ok((0..logits.len()).map(one).collect());
        }
        // Near 0 the quotients overflow; the quotients of differences only do so for excluded tokens.
        let largest = logits[top];
        for logit in &mut logits {
            *logit = (*logit - largest) / config.temperature;
        }
        if let Some(k) = config.top_k {
            filters::top_k(&mut logits, k);
        }
        if config.top_p < 1.0 {
            filters::top_p(&mut logits, config.top_p);
        }
        if config.min_p > 0.0 {
            filters::min_p(&mut logits, config.min_p);
        }
        Ok(filters::softmax(&logits))
    }
}

fn check(logits: &[f32]) -> Result<(), TextError> {
    let wrong = |value: &&f32| value.is_nan() || **value == f32::INFINITY;
    if let Some(&value) = logits.iter().find(wrong) {
        return Err(TextError::Logits { value });
    }
    match logits.iter().any(|&logit| logit > f32::NEG_INFINITY) {
        true => Ok(()),
        false => Err(TextError::Logits {
            value: f32::NEG_INFINITY,
        }),
    }
}

/// Returns the first token with the largest value.
fn largest<T: PartialOrd>(values: &[T]) -> usize {
    let mut largest = 0;
    for (token, value) in values.iter().enumerate() {
        if *value > values[largest] {
            largest = token;
        }
    }
    largest
}

/// Returns the first token at which the cumulative probability exceeds `threshold`, which is below 1.
fn draw(probabilities: &[f64], threshold: f64) -> u32 {
    let mut sum = 0.0;
    let mut last = 0;
    for (token, &probability) in probabilities.iter().enumerate() {
        sum += probability;
        if probability > 0.0 {
            last = token;
            if sum > threshold {
                break;
            }
        }
    }
    // The sum may stay a rounding error below 1.
    last as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOGITS: [f32; 5] = [0.3, -1.0, 2.0, 1.5, 0.0];

    fn samples(config: &GenerationConfig, n: usize) -> Vec<u32> {
        let mut sampler = Sampler::new(config, 0).unwrap();
        let draw = |_| sampler.sample(&LOGITS, &[]).unwrap();
        (0..n).map(draw).collect()
    }

    #[test]
    fn the_likeliest_alone_is_greedy() {
        let config = GenerationConfig::new;
        for greedy in [
            config().with_temperature(0.0),
            config().with_top_k(Some(1)),
            config().with_top_p(0.0),
            config().with_min_p(1.0),
            config().with_temperature(1e-30),
        ] {
            assert_eq!(samples(&greedy, 50), [2; 50], "{greedy}");
        }
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let config = GenerationConfig::new().with_temperature(2.0);
        let n = 20_000;
        let drawn = samples(&config, n);
        let expected = filters::softmax(&LOGITS.map(|logit| logit / 2.0));
        for (token, p) in expected.into_iter().enumerate() {
            let count = drawn.iter().filter(|&&t| t as usize == token).count() as f64;
            // Five standard deviations of a binomial distribution.
            let bound = 5.0 * (n as f64 * p * (1.0 - p)).sqrt();
            assert!((count - n as f64 * p).abs() < bound, "{token}: {count}");
        }
    }

    #[test]
    fn draws_are_those_of_the_seed_and_the_text() {
        let config = GenerationConfig::new().with_seed(5);
        assert_eq!(samples(&config, 40), samples(&config, 40));
        assert_ne!(
            samples(&config, 40),
            samples(&config.clone().with_seed(6), 40)
        );
        let mut other = Sampler::new(&config, 1).unwrap();
        let other: Vec<u32> = (0..40)
            .map(|_| other.sample(&LOGITS, &[]).unwrap())
            .collect();
        assert_ne!(samples(&config, 40), other);
    }

    #[test]
    fn a_repeated_token_loses() {
        let config = GenerationConfig::new()
            .with_temperature(0.0)
            .with_repetition_penalty(1.5);
        let mut sampler = Sampler::new(&config, 0).unwrap();
        // 2.0 / 1.5 is below 1.5.
        assert_eq!(sampler.sample(&LOGITS, &[2]).unwrap(), 3);
    }

    #[test]
    fn probabilities_are_those_of_transformers() {
        // transformers 5.23: the logits processors in their order, then softmax.
        let logits = [0.3, -1.0, 2.0, 1.5, 0.0, 1.2, -0.4, 0.9];
        let config = GenerationConfig::new()
            .with_repetition_penalty(1.3)
            .with_temperature(0.7)
            .with_top_k(Some(6));
        let check = |config: &GenerationConfig, expected: [f64; 8]| {
            let sampler = Sampler::new(config, 0).unwrap();
            let found = sampler.probabilities(&logits, &[2, 1, 2]).unwrap();
            for (found, expected) in found.iter().zip(expected) {
                assert!((found - expected).abs() < 1e-6, "{config}: {found:?}");
            }
        };
        let of_top_k = [
            0.0525095463,
            0.0,
            0.3080388308,
            0.2915701569,
            0.0342067704,
            0.1899402291,
            0.0,
            0.1237344593,
        ];
        check(&config, of_top_k);
        let config = config.with_top_p(0.85);
        let of_top_p = [
            0.0,
            0.0,
            0.3372871578,
            0.3192547858,
            0.0,
            0.2079750746,
            0.0,
            0.1354830563,
        ];
        check(&config, of_top_p);
        // 0.135 is below half of 0.337.
        let left = 1.0 - of_top_p[7];
        let mut of_min_p = of_top_p.map(|p| p / left);
        of_min_p[7] = 0.0;
        check(&config.with_min_p(0.5), of_min_p);
    }

    #[test]
    fn a_draw_is_never_a_token_that_is_out() {
        assert_eq!(draw(&[0.0, 0.5, 0.0, 0.5, 0.0], 0.0), 1);
        assert_eq!(draw(&[0.0, 0.5, 0.0, 0.5, 0.0], 0.5), 3);
        assert_eq!(draw(&[0.5, 0.4999999, 0.0], 0.9999999999), 1);
    }

    #[test]
    fn logits_that_are_no_numbers_are_an_error() {
        let mut sampler = Sampler::new(&GenerationConfig::new(), 0).unwrap();
        for logits in [
            [f32::NAN, 0.0],
            [f32::INFINITY, 0.0],
            [f32::NEG_INFINITY; 2],
        ] {
            assert!(sampler.sample(&logits, &[]).is_err(), "{logits:?}");
        }
        let one = [f32::NEG_INFINITY, 0.0];
        assert_eq!(sampler.sample(&one, &[]).unwrap(), 1);
    }
}
