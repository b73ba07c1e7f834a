//! [`ternary_fake_quant`] against the scalar reference.

use bitnet_burn::functions::{Groups, ternary_fake_quant};
use bitnet_burn_kernels::reference;
use burn::tensor::{DType, Device, Tensor};

use crate::support::values::*;

/// Checks that values and scales equal those of the reference, for all granularities and float types.
fn check<const D: usize>(shape: [usize; D]) {
    let device = Device::default();
    let values = exactly_summable(shape.iter().product(), 1);
    for dtype in float_types(&device) {
        let values = rounded(&values, dtype);
        for groups in groupings(&shape) {
            let what = format!("{shape:?} {dtype:?} {groups:?}");
            let weight = tensor(&values, shape, dtype, &device);
            let (quantized, scales) = ternary_fake_quant(weight, groups);
            assert_eq!((quantized.dims(), quantized.dtype()), (shape, dtype));
            assert_eq!(scales.dims(), groups.scale_shape(), "{what}");
            assert_eq!(scales.dtype(), DType::F32, "{what}");

            let (expected, expected_scales) = reference::ternary_fake_quant(&values, groups);
            assert_equal(&floats(scales), &expected_scales, &format!("scales {what}"));
            assert_equal(&floats(quantized), &rounded(&expected, dtype), &what);
        }
    }
}

#[test]
fn values_and_scales_equal_the_reference() {
    for_each_shape!(check);
}

#[test]
fn a_row_longer_than_the_kernels_take_at_once_equals_the_reference() {
    // A whole chunk of the chunked reduction and a remainder. On CubeCL's CPU runtime 140 000 values take as
    // long as all other tests of this file, and 70 000 are not chunked.
    let n = if on_flex() { 140_003 } else { 70_001 };
    check([n]);
}

#[test]
fn a_weight_whose_sum_rounds_has_codes_of_its_own_scale() {
    // The scale may differ from the reference in its last bits; the values computed from it may not.
    let device = Device::default();
    let shape = [96, 40];
    let values = normal(96 * 40, 2);
    for groups in groupings(&shape) {
        let weight = tensor(&values, shape, DType::F32, &device);
        let (quantized, scales) = ternary_fake_quant(weight, groups);
        let scales = floats(scales);

        // A sum of `size` terms of one sign is off by at most one rounding per addition in any order, the
        // quotient by one more, and the reference by one.
        let bound = (groups.size + 1) as f64 * ROUNDING;
        let expected = reference::absmean_scales(&values, groups);
        assert_within(&scales, &expected, |i| bound * expected[i] as f64, "scales");

        let codes = reference::ternary_codes(&values, &scales, groups);
        let scale = |i: usize| scales[groups.scale_index(i)];
        let expected: Vec<f32> = (0..values.len()).map(|i| codes[i] * scale(i)).collect();
        assert_equal(&floats(quantized), &expected, &format!("{groups:?}"));
    }
}

#[test]
fn a_view_is_quantized_as_the_values_that_it_shows() {
    let device = Device::default();
    let values = exactly_summable(7 * 12, 3);
    let whole = tensor(&values, [7, 12], DType::F32, &device);
    let views: [(&str, Tensor<2>); 4] = [
        ("transposed", whole.clone().transpose()),
        ("rows", whole.clone().slice([2..5, 0..12])),
        ("columns", whole.clone().slice([0..7, 3..8])),
        ("both", whole.slice([1..6, 2..9]).transpose()),
    ];
    for (name, view) in views {
        let shape = view.dims();
        let shown = floats(view.clone());
        for groups in groupings(&shape) {
            let (quantized, scales) = ternary_fake_quant(view.clone(), groups);
            let (expected, expected_scales) = reference::ternary_fake_quant(&shown, groups);
            let what = format!("{name} {groups:?}");
            assert_equal(&floats(scales), &expected_scales, &what);
            assert_equal(&floats(quantized), &expected, &what);
        }
    }
}

#[test]
fn an_empty_tensor_has_the_smallest_scale() {
    let device = Device::default();
    let check = |quantized: Vec<f32>, scales: Vec<f32>, groups: Groups| {
        assert!(quantized.is_empty());
        assert_equal(
            &scales,
            &vec![reference::EPSILON; groups.num_groups()],
            "scales",
        );
    };
    let empty = Tensor::<1>::zeros([0], &device);
    for groups in [Groups::per_tensor(0), Groups::per_row(&[0])] {
        let (quantized, scales) = ternary_fake_quant(empty.clone(), groups);
        check(floats(quantized), floats(scales), groups);
    }
    for shape in [[0, 4], [3, 0]] {
        let empty = Tensor::<2>::zeros(shape, &device);
        for groups in [Groups::per_tensor(0), Groups::per_row(&shape)] {
            let (quantized, scales) = ternary_fake_quant(empty.clone(), groups);
            assert_eq!(quantized.dims(), shape);
            check(floats(quantized), floats(scales), groups);
        }
    }
}

#[test]
fn zeros_and_a_mean_below_epsilon_stay_zeros() {
    let device = Device::default();
    for value in [0.0f32, 4e-6, -4e-6, 1e-40] {
        let weight = tensor(&[value; 12], [3, 4], DType::F32, &device);
        for groups in [Groups::per_tensor(12), Groups::along_axis(&[3, 4], 0, 3)] {
            let (quantized, scales) = ternary_fake_quant(weight.clone(), groups);
            assert_equal(&floats(quantized), &[0.0; 12], "values");
            let epsilons = vec![reference::EPSILON; groups.num_groups()];
            assert_equal(&floats(scales), &epsilons, "scales");
        }
    }
}

#[test]
fn a_sum_beyond_the_largest_float_has_a_finite_mean() {
    let device = Device::default();
    let values = [3e38f32, -3e38, 3e38, 1e38, -3e38, 3e38];
    for groups in groupings(&[3, 2]) {
        let weight = tensor(&values, [3, 2], DType::F32, &device);
        let (quantized, scales) = ternary_fake_quant(weight, groups);
        let (expected, expected_scales) = reference::ternary_fake_quant(&values, groups);
        assert!(expected.iter().all(|v| v.is_finite()));
        // Six numbers are added: as above.
        let bound = |i: usize| 7.0 * ROUNDING * expected_scales[i] as f64;
        assert_within(&floats(scales), &expected_scales, bound, "scales");
        let bound = |i: usize| 7.0 * ROUNDING * expected[i].abs() as f64;
        assert_within(&floats(quantized), &expected, bound, "values");
    }
}

#[test]
fn ties_round_to_even() {
    // The mean is 1: 0.5 lies between the codes 0 and 1, 1.5 between 1 and 2.
    let weight = tensor(&[0.5, -0.5, 1.5, -1.5], [4], DType::F32, &Device::default());
    let (quantized, _) = ternary_fake_quant(weight, Groups::per_tensor(4));
    assert_equal(&floats(quantized), &[0.0, 0.0, 1.0, -1.0], "values");
}

#[test]
fn non_finite_values_affect_only_their_group() {
    let device = Device::default();
    let shape = [6, 8];
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = exactly_summable(48, 4);
        values[13] = bad;
        for groups in groupings(&shape) {
            let weight = tensor(&values, shape, DType::F32, &device);
            let quantized = floats(ternary_fake_quant(weight, groups).0);
            let (expected, _) = reference::ternary_fake_quant(&values, groups);
            for i in 0..48 {
                let what = format!("{bad} at 13, value {i}, {groups:?}");
                if groups.scale_index(i) == groups.scale_index(13) {
                    assert!(!quantized[i].is_finite(), "{what}: got {}", quantized[i]);
                } else {
                    assert_eq!(quantized[i], expected[i], "{what}");
                }
            }
        }
    }
}

#[test]
#[should_panic(expected = "cover 12 values, the tensor of shape [3, 5] has 15")]
fn groups_of_another_shape_are_refused() {
    let weight = Tensor::<2>::zeros([3, 5], &Device::default());
    ternary_fake_quant(weight, Groups::per_tensor(12));
}
