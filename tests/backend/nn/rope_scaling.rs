//! Scaled frequencies of rotary embeddings, against those of transformers.

use std::f64::consts::TAU;

use bitnet_burn::nn::{RopeScaling, RotaryEmbedding, RotaryEmbeddingConfig};
use burn::tensor::Device;

fn frequencies(scaling: RopeScaling, theta: f32, d_rotary: usize) -> Vec<f64> {
    RotaryEmbeddingConfig::new(d_rotary, 1)
        .with_theta(theta)
        .with_scaling(Some(scaling))
        .frequencies()
}

fn yarn(factor: f64, truncate: bool) -> RopeScaling {
    RopeScaling::Yarn {
        factor,
        original_max_positions: 64,
        beta_fast: 8.0,
        beta_slow: 1.0,
        truncate,
        attention_factor: None,
        mscale: None,
        mscale_all_dim: None,
    }
}

#[test]
fn llama3_slows_long_waves_down_and_leaves_short_ones() {
    let plain = |theta| {
        RotaryEmbeddingConfig::new(4, 1)
            .with_theta(theta)
            .frequencies()[1]
    };
    let scaled = |theta, high_freq_factor| {
        let scaling = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor,
            original_max_positions: 8192,
        };
        frequencies(scaling, theta, 4)
    };
    assert_eq!(scaled(1e6, 4.0)[0], 1.0);
    assert!((scaled(1e12, 4.0)[1] - plain(1e12) / 8.0).abs() < 1e-18);
    // A wave that is half way between the factors: its rotations are their mean.
    let half_way = plain(65536.0);
    let rotations = 8192.0 * half_way / TAU;
    let expected = half_way * (0.5 / 8.0 + 0.5);
    let found = scaled(65536.0, 2.0 * rotations - 1.0)[1];
    assert!((found - expected).abs() < 1e-12);
}

#[test]
fn yarn_is_that_of_transformers() {
    // Values of `_compute_yarn_parameters` with theta 100 and a head of 16.
    for (truncate, expected) in [YARN_TRUNCATED, YARN_EXACT].into_iter().enumerate() {
        let frequencies = frequencies(yarn(4.0, truncate == 0), 100.0, 16);
        for (found, expected) in frequencies.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-7, "{found}, not {expected}");
        }
    }
}

#[test]
fn attention_factors_are_those_of_transformers() {
    let with = |mscale, mscale_all_dim, attention_factor| {
        let mut scaling = yarn(4.0, true);
        if let RopeScaling::Yarn {
            mscale: a,
            mscale_all_dim: b,
            attention_factor: c,
            ..
        } = &mut scaling
        {
            (*a, *b, *c) = (mscale, mscale_all_dim, attention_factor);
        }
        scaling.attention_factor()
    };
    let m = 0.1 * 4f64.ln() + 1.0;
    assert_eq!(with(None, None, None), m);
    assert_eq!(with(Some(2.0), None, None), m);
    assert_eq!(with(Some(0.0), Some(1.0), None), m);
    let both = (0.2 * 4f64.ln() + 1.0) / (0.05 * 4f64.ln() + 1.0);
    assert_eq!(with(Some(2.0), Some(0.5), None), both);
    assert_eq!(with(Some(2.0), Some(0.5), Some(0.25)), 0.25);
    assert_eq!(yarn(1.0, true).attention_factor(), 1.0);
}

fn longrope() -> RopeScaling {
    RopeScaling::Longrope {
        short_factor: vec![1.0, 2.0],
        long_factor: vec![3.0, 4.0],
        original_max_positions: 8,
        attention_factor: 1.5,
    }
}

fn init_longrope(d_head: usize, positions: usize) -> RotaryEmbedding {
    RotaryEmbeddingConfig::new(d_head, positions)
        .with_scaling(Some(longrope()))
        .init(&Device::default())
}

#[test]
fn longrope_has_its_short_factors() {
    assert_eq!(frequencies(longrope(), 4.0, 4), [1.0, 0.25]);
    assert_eq!(longrope().attention_factor(), 1.5);
    assert_eq!(init_longrope(4, 8).max_positions(), 8);
}

#[test]
#[should_panic(expected = "got 9 positions")]
fn longrope_keeps_to_what_a_table_can_say() {
    init_longrope(4, 9);
}

#[test]
#[should_panic(expected = "each of 3 pairs, got 2 and 2")]
fn longrope_has_a_factor_for_each_pair() {
    init_longrope(6, 8);
}

const YARN_TRUNCATED: [f64; 8] = [
    1.0,
    0.477990121,
    0.221359432,
    0.097805366,
    0.039999999,
    0.014058532,
    0.007905695,
    0.004445699,
];
const YARN_EXACT: [f64; 8] = [
    1.0,
    0.494582266,
    0.212468684,
    0.082559198,
    0.025664398,
    0.014058532,
    0.007905695,
    0.004445699,
];
