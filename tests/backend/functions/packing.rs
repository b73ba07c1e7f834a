//! [`ternary_pack`] and [`ternary_unpack`] against the scalar reference.

use bitnet_burn::functions::{Groups, ternary_fake_quant, ternary_pack, ternary_unpack};
use bitnet_burn_kernels::{packing, reference};
use burn::tensor::{DType, Device, Int, Tensor};

use crate::support::values::*;

/// Returns the words that the reference packs for these scales.
fn reference_words(values: &[f32], scales: &[f32], groups: Groups, row_length: usize) -> Vec<u32> {
    let codes = reference::ternary_codes(values, scales, groups);
    let codes: Vec<i8> = codes.iter().map(|&code| code as i8).collect();
    packing::pack_rows(&codes, row_length)
}

/// Checks that words equal those of the reference, and unpack to the fake-quantized weight.
fn check<const D: usize>(shape: [usize; D]) {
    let device = Device::default();
    let row_length = shape[D - 1];
    let values = normal(shape.iter().product(), 1);
    for dtype in float_types(&device) {
        let values = rounded(&values, dtype);
        for groups in groupings(&shape) {
            let what = format!("{shape:?} {dtype:?} {groups:?}");
            let weight = tensor(&values, shape, dtype, &device);
            let (quantized, scales) = ternary_fake_quant(weight.clone(), groups);
            let words = ternary_pack(weight, scales.clone(), groups);
            assert_eq!(words.dtype(), DType::U32, "{what}");
            let mut packed_shape = shape;
            packed_shape[D - 1] = row_length.div_ceil(16);
            assert_eq!(words.dims(), packed_shape, "{what}");
            let expected = reference_words(&values, &floats(scales.clone()), groups, row_length);
            assert_equal(&ints::<D, u32>(words.clone()), &expected, &what);

            let unpacked = ternary_unpack(words, scales, groups, shape, dtype.into());
            assert_eq!((unpacked.dims(), unpacked.dtype()), (shape, dtype));
            assert_equal(&floats(unpacked), &floats(quantized), &what);
        }
    }
}

#[test]
fn words_equal_the_reference_and_unpack_to_the_fake_quantized_weight() {
    for_each_shape!(check);
}

#[test]
fn views_of_weights_words_and_scales_pack_and_unpack_as_what_they_show() {
    let device = Device::default();
    let whole = tensor(&normal(20 * 37, 2), [20, 37], DType::F32, &device);
    let weight = whole.transpose();
    let values = floats(weight.clone());
    let groups = Groups::along_axis(&[37, 20], 1, 10);
    let (quantized, scales) = ternary_fake_quant(weight.clone(), groups);
    // The same scales as a view with strides.
    let strided = Tensor::cat(vec![scales.clone(), scales.clone()], 1).slice([0..74, 1..2]);
    let words = ternary_pack(weight, strided.clone(), groups);
    let expected = reference_words(&values, &floats(scales), groups, 20);
    assert_equal(&ints::<2, u32>(words.clone()), &expected, "words");

    let wide = Tensor::cat(vec![words.clone(), words], 1).slice([0..37, 2..4]);
    let unpacked = ternary_unpack(wide, strided, groups, [37, 20], DType::F32.into());
    assert_equal(&floats(unpacked), &floats(quantized), "values");
}

#[test]
fn nothing_packs_to_nothing() {
    let device = Device::default();
    for (shape, packed_shape) in [([0, 40], [0, 3]), ([3, 0], [3, 0])] {
        let groups = Groups::per_row(&shape);
        let weight = Tensor::<2>::zeros(shape, &device);
        let (_, scales) = ternary_fake_quant(weight.clone(), groups);
        let words = ternary_pack(weight, scales.clone(), groups);
        assert_eq!(words.dims(), packed_shape);
        let unpacked = ternary_unpack(words, scales, groups, shape, DType::F32.into());
        assert_eq!(unpacked.dims(), shape);
        assert!(floats(unpacked).is_empty());
    }
}

#[test]
fn the_rest_of_the_last_word_of_a_row_is_zeros() {
    let device = Device::default();
    let weight = tensor(&[1.0, -1.0, 1.0, 1.0], [2, 2], DType::F32, &device);
    let scales = Tensor::<2>::ones([1, 1], &device);
    let words = ternary_pack(weight, scales, Groups::per_tensor(4));
    // Codes 2 and 0, 2 and 2, in the lowest bits; 01 in all others.
    assert_equal(&ints::<2, u32>(words), &[0x5555_5552, 0x5555_555a], "words");
}

#[test]
fn a_group_that_is_not_finite_shows_after_unpacking() {
    let device = Device::default();
    let values = [1.0, f32::NAN, 0.5, 1.0, -1.0, 0.25];
    let groups = Groups::per_row(&[2, 3]);
    let weight = tensor(&values, [2, 3], DType::F32, &device);
    let (quantized, scales) = ternary_fake_quant(weight.clone(), groups);
    let words = ternary_pack(weight, scales.clone(), groups);
    let unpacked = floats(ternary_unpack(
        words,
        scales,
        groups,
        [2, 3],
        DType::F32.into(),
    ));
    assert!(unpacked[..3].iter().all(|v| !v.is_finite()), "{unpacked:?}");
    assert_equal(&unpacked[3..], &floats(quantized)[3..], "the other group");
}

#[test]
#[should_panic(
    expected = "packed codes of a tensor of shape [2, 20] have shape [2, 2], got [2, 3]"
)]
fn packed_codes_of_another_shape_are_refused() {
    let device = Device::default();
    let words = Tensor::<2, Int>::zeros([2, 3], (&device, DType::U32));
    let scales = Tensor::<2>::ones([1, 1], &device);
    ternary_unpack(
        words,
        scales,
        Groups::per_tensor(40),
        [2, 20],
        DType::F32.into(),
    );
}

#[test]
#[should_panic(expected = "have scales of shape [2, 1], got [1, 1]")]
fn scales_of_another_shape_are_refused() {
    let device = Device::default();
    let weight = Tensor::<2>::ones([2, 3], &device);
    let scales = Tensor::<2>::ones([1, 1], &device);
    ternary_pack(weight, scales, Groups::per_row(&[2, 3]));
}
