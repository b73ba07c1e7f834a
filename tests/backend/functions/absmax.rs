//! [`absmax_fake_quant`] against the scalar reference.

use bitnet_burn::functions::{Groups, absmax_dequantize, absmax_fake_quant, absmax_quantize};
use bitnet_burn_kernels::reference;
use burn::tensor::{DType, Device, FloatDType, Tensor};

use crate::support::values::*;

/// Largest code of each tested number of bits.
const BITS: [(u8, f32); 3] = [(8, 127.0), (4, 7.0), (2, 1.0)];

/// Checks that values and scales equal the reference for all granularities, float types and bit widths.
fn check<const D: usize>(shape: [usize; D]) {
    let device = Device::default();
    let values = normal(shape.iter().product(), 1);
    for dtype in float_types(&device) {
        let values = rounded(&values, dtype);
        for groups in groupings(&shape) {
            for (bits, max_code) in BITS {
                let what = format!("{shape:?} {dtype:?} {groups:?} {bits} bits");
                let x = tensor(&values, shape, dtype, &device);
                let (quantized, scales) = absmax_fake_quant(x, groups, bits);
                assert_eq!((quantized.dims(), quantized.dtype()), (shape, dtype));
                assert_eq!(scales.dims(), groups.scale_shape(), "{what}");
                assert_eq!(scales.dtype(), DType::F32, "{what}");

                let (expected, expected_scales) =
                    reference::absmax_fake_quant(&values, groups, max_code);
                assert_equal(&floats(scales), &expected_scales, &format!("scales {what}"));
                assert_equal(&floats(quantized), &rounded(&expected, dtype), &what);
            }
        }
    }
}

#[test]
fn values_and_scales_equal_the_reference() {
    for_each_shape!(check);
}

#[test]
fn a_row_longer_than_the_kernels_take_at_once_equals_the_reference() {
    // Rows of more than 65 536 values are not quantized by one cube; for more vectors than that, the
    // maximum is taken in chunks, which would take long on CubeCL's CPU runtime.
    let n = if on_flex() { 140_003 } else { 70_001 };
    check([n]);
}

#[test]
fn a_view_is_quantized_as_the_values_that_it_shows() {
    let device = Device::default();
    let whole = tensor(&normal(84, 3), [7, 12], DType::F32, &device);
    let views: [(&str, Tensor<2>); 3] = [
        ("transposed", whole.clone().transpose()),
        ("columns", whole.clone().slice([0..7, 3..8])),
        ("both", whole.slice([1..6, 2..9]).transpose()),
    ];
    for (name, view) in views {
        let shown = floats(view.clone());
        for groups in groupings(&view.dims()) {
            let (quantized, scales) = absmax_fake_quant(view.clone(), groups, 8);
            let (expected, expected_scales) = reference::absmax_fake_quant(&shown, groups, 127.0);
            let what = format!("{name} {groups:?}");
            assert_equal(&floats(scales), &expected_scales, &what);
            assert_equal(&floats(quantized), &expected, &what);
        }
    }
}

#[test]
fn an_empty_tensor_has_the_largest_scale() {
    let device = Device::default();
    let largest = 127.0 / reference::EPSILON;
    let (quantized, scales) =
        absmax_fake_quant(Tensor::<1>::zeros([0], &device), Groups::per_row(&[0]), 8);
    assert_eq!((floats(quantized), floats(scales)), (vec![], vec![largest]));
    for shape in [[0, 4], [3, 0]] {
        for groups in [Groups::per_tensor(0), Groups::per_row(&shape)] {
            let (quantized, scales) =
                absmax_fake_quant(Tensor::<2>::zeros(shape, &device), groups, 8);
            assert_eq!(quantized.dims(), shape);
            assert!(floats(quantized).is_empty());
            assert_equal(
                &floats(scales),
                &vec![largest; groups.num_groups()],
                &format!("{shape:?} {groups:?}"),
            );
        }
    }
}

#[test]
fn rows_of_zeros_and_of_the_largest_floats_are_as_in_the_reference() {
    let device = Device::default();
    let rows = [
        [0.0, -0.0, 0.0, 0.0],
        [1e-7, -3e-6, 0.0, 9e-6],
        [1e-40, -1e-40, 0.0, 0.0],
        [3e38, -3.4e38, 1e38, 0.0],
    ];
    let values = rows.as_flattened();
    let groups = Groups::per_row(&[4, 4]);
    let x = tensor(values, [4, 4], DType::F32, &device);
    let (quantized, scales) = absmax_fake_quant(x, groups, 8);
    let (expected, expected_scales) = reference::absmax_fake_quant(values, groups, 127.0);
    assert!(expected.iter().all(|v| v.is_finite()));
    assert_equal(&floats(scales), &expected_scales, "scales");
    assert_equal(&floats(quantized), &expected, "values");
}

#[test]
fn ties_round_to_even() {
    let x = tensor(
        &[127.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 125.5],
        [8],
        DType::F32,
        &Device::default(),
    );
    let (quantized, _) = absmax_fake_quant(x, Groups::per_tensor(8), 8);
    let expected = [127.0, 0.0, 2.0, 2.0, 0.0, -2.0, -2.0, 126.0];
    assert_equal(&floats(quantized), &expected, "values");
}

#[test]
fn non_finite_values_affect_only_their_group() {
    let device = Device::default();
    let shape = [6, 8];
    for bad in [f32::NAN, -f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = normal(48, 4);
        values[13] = bad;
        for groups in groupings(&shape) {
            let x = tensor(&values, shape, DType::F32, &device);
            let quantized = floats(absmax_fake_quant(x, groups, 8).0);
            let (expected, _) = reference::absmax_fake_quant(&values, groups, 127.0);
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
#[should_panic(expected = "bits must be 2 to 8, got 9")]
fn another_number_of_bits_is_refused() {
    let x = Tensor::<1>::zeros([4], &Device::default());
    absmax_fake_quant(x, Groups::per_tensor(4), 9);
}

#[test]
fn codes_are_those_of_the_fake_quantizer() {
    let device = Device::default();
    for n in [1, 3, 15, 16, 17, 64, 65, 240, 256, 300, 1030] {
        let x = tensor(&normal(9 * n, n as u64), [9, n], DType::F32, &device);
        let (fake, expected_scales) = absmax_fake_quant(x.clone(), Groups::per_row(&[9, n]), 8);
        let (codes, inverse_scales) = absmax_quantize(x, 8);
        assert_eq!(
            floats(inverse_scales.clone()),
            floats(expected_scales),
            "{n}"
        );
        let values = absmax_dequantize(codes, inverse_scales, n, FloatDType::F32);
        assert_eq!(floats(values), floats(fake), "{n}");
    }
}
