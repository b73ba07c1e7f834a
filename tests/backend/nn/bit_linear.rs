//! Construction and misuse of `BitLinear`.

use bitnet_burn::{
    nn::BitLinearConfig,
    quant::{QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::tensor::{Device, Tensor};

#[test]
fn display_shows_the_dimensions() {
    let layer = BitLinearConfig::new(3, 5).init(&Device::default());
    assert_eq!(
        layer.to_string(),
        "BitLinear {d_input: 3, d_output: 5, bias: false, rms_norm: false, params: 15}"
    );
}

#[test]
#[should_panic(expected = "axis 1 expected 4, got 3")]
fn the_input_must_have_d_input_features() {
    let device = Device::default();
    let layer = BitLinearConfig::new(4, 2).init(&device);
    layer.forward(Tensor::<2>::zeros([1, 3], &device));
}

#[test]
#[should_panic(expected = "group_size 3 does not divide the 4 input features")]
fn a_group_size_that_does_not_fit_is_refused_at_init() {
    let weight = WeightQuantizer::ternary(WeightGranularity::PerGroup { group_size: 3 });
    BitLinearConfig::new(4, 2)
        .with_scheme(QatScheme::b1_58().with_weight(weight))
        .init(&Device::default());
}
