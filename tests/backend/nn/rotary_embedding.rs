//! Rotation of heads by their positions.

use bitnet_burn::nn::{RopeScaling, RotaryEmbeddingConfig};
use burn::tensor::{Device, Distribution, Tensor, Tolerance};

#[test]
fn the_product_of_two_heads_depends_on_their_distance_only() {
    let device = Device::default();
    let rotary = RotaryEmbeddingConfig::new(8, 16).init(&device);
    let query = Tensor::<4>::random([1, 1, 1, 8], Distribution::Default, &device);
    let key = Tensor::<4>::random([1, 1, 1, 8], Distribution::Default, &device);
    let product = |q: usize, k: usize| {
        let q = rotary.forward(query.clone(), q);
        let k = rotary.forward(key.clone(), k);
        (q * k).sum().into_data()
    };
    product(5, 2).assert_approx_eq::<f32>(&product(12, 9), Tolerance::absolute(1e-5));
}

#[test]
fn the_rest_of_a_head_passes() {
    let device = Device::default();
    let x = Tensor::<4>::random([2, 3, 5, 10], Distribution::Default, &device);
    let whole = RotaryEmbeddingConfig::new(6, 8).init(&device);
    let part = RotaryEmbeddingConfig::new(10, 8).with_d_rotary(Some(6));
    let y = part.init(&device).forward(x.clone(), 2);
    let turned = whole.forward(x.clone().narrow(3, 0, 6), 2);
    assert_eq!(y.clone().narrow(3, 0, 6).into_data(), turned.into_data());
    assert_eq!(y.narrow(3, 6, 4).into_data(), x.narrow(3, 6, 4).into_data());
}

#[test]
fn the_attention_factor_multiplies_what_is_turned() {
    let device = Device::default();
    let x = Tensor::<4>::random([1, 2, 4, 8], Distribution::Default, &device);
    let scaling = |attention_factor| RopeScaling::Longrope {
        short_factor: vec![1.0; 4],
        long_factor: vec![1.0; 4],
        original_max_positions: 4,
        attention_factor,
    };
    let turned = |factor| {
        let config = RotaryEmbeddingConfig::new(8, 4).with_scaling(Some(scaling(factor)));
        config.init(&device).forward(x.clone(), 0)
    };
    let plain = RotaryEmbeddingConfig::new(8, 4).init(&device);
    assert_eq!(
        turned(1.0).into_data(),
        plain.forward(x.clone(), 0).into_data()
    );
    // A power of two, which is exact.
    let twice = plain.forward(x.clone(), 0) * 2.0;
    assert_eq!(turned(2.0).into_data(), twice.into_data());
}

#[test]
#[should_panic(expected = "2 to d_head values of a head are turned, got 6 of 4")]
fn more_than_a_head_is_not_turned() {
    RotaryEmbeddingConfig::new(4, 4)
        .with_d_rotary(Some(6))
        .init(&Device::default());
}

#[test]
#[should_panic(expected = "positions 3..5 go beyond max_positions 4")]
fn a_position_beyond_the_table_is_refused() {
    let device = Device::default();
    let rotary = RotaryEmbeddingConfig::new(2, 4).init(&device);
    rotary.forward(Tensor::zeros([1, 1, 2, 2], &device), 3);
}
