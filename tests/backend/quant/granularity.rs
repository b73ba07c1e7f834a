use bitnet_burn::{functions::Groups, quant::WeightGranularity};

#[test]
fn groups_of_input_features_lie_along_the_first_dimension_of_a_linear_weight() {
    let granularity = WeightGranularity::PerGroup { group_size: 4 };
    let groups = granularity.groups(&[8, 3], 1).unwrap();
    assert_eq!(groups, Groups::along_axis(&[8, 3], 0, 4));
}

#[test]
fn a_convolution_has_its_channels_first() {
    let groups = WeightGranularity::PerChannel
        .groups(&[6, 2, 3, 3], 0)
        .unwrap();
    assert_eq!(groups.scale_shape(), [6, 1]);
}

#[test]
fn what_does_not_fit_is_an_error_with_the_numbers() {
    let error = WeightGranularity::PerGroup { group_size: 3 }
        .groups(&[8, 3], 1)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "group_size 3 does not divide the 8 input features"
    );
    let error = WeightGranularity::PerChannel
        .groups(&[2, 6, 3, 3], 1)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "scales per output channel or group need the output channels in the first or last \
         dimension, in shape [2, 6, 3, 3] they are dimension 1"
    );
}
