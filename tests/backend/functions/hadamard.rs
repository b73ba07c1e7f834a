//! [`hadamard_transform`] against the scalar reference, and against the Hadamard matrix.

use bitnet_burn::functions::hadamard_transform;
use bitnet_burn_kernels::reference;
use burn::tensor::{DType, Device, Tensor};

use crate::support::values::*;

/// Checks that the bits equal the reference for all float types.
fn check<const D: usize>(shape: [usize; D], block: usize) {
    let device = Device::default();
    let values = normal(shape.iter().product(), 1);
    for dtype in float_types(&device) {
        let values = rounded(&values, dtype);
        let transformed = hadamard_transform(tensor(&values, shape, dtype, &device), block);
        assert_eq!((transformed.dims(), transformed.dtype()), (shape, dtype));
        let expected = rounded(&reference::hadamard_transform(&values, block), dtype);
        let what = format!("{shape:?} {dtype:?} block {block}");
        assert_equal(&floats(transformed), &expected, &what);
    }
}

/// Half a unit in the last place for each addition of a value's way through the transform, and
/// for the factor, its product and all terms of higher order; relative to the sum of magnitudes.
fn bound(block: usize) -> f64 {
    (block.ilog2() + 3) as f64 * ROUNDING
}

/// Returns the sum of magnitudes of the block of each value.
fn sums(values: &[f32], block: usize) -> Vec<f64> {
    let sum = |block: &[f32]| block.iter().map(|v| v.abs() as f64).sum::<f64>();
    let sums = values.chunks(block).map(sum);
    sums.flat_map(|sum| vec![sum; block]).collect()
}

/// `H[i, j]` by its definition.
fn matrix(block: usize, i: usize, j: usize) -> f64 {
    let sign = if (i & j).count_ones().is_multiple_of(2) {
        1.0
    } else {
        -1.0
    };
    sign / (block as f64).sqrt()
}

#[test]
fn values_equal_the_reference() {
    check([1], 1);
    check([2], 2);
    check([24], 8);
    check([5, 4], 4);
    check([3, 6], 2);
    check([3, 192], 64);
    check([2, 3, 4], 4);
    check([3, 1, 32], 32);
    check([2, 3, 1, 48], 16);
}

#[test]
fn a_row_of_several_tiles_with_a_rest_equals_the_reference() {
    // CubeCL's kernels take 4096 values at a time, a thread of Flex 16 384.
    check([3, 2048], 1024);
    check([3, 11_000], 8);
}

#[test]
fn a_block_beyond_the_shared_memory_equals_the_reference() {
    // One pass over the memory after the tile of 4096 values, and two.
    check([2, 8192], 8192);
    check([1 << 17], 1 << 17);
}

#[test]
fn values_are_those_of_the_matrix_product() {
    for block in [2, 8, 64] {
        let values = normal(2 * block, 2);
        let x = tensor(&values, [2, block], DType::F32, &Device::default());
        let transformed = floats(hadamard_transform(x, block));
        let sums = sums(&values, block);
        for (position, &value) in transformed.iter().enumerate() {
            let row = &values[position / block * block..][..block];
            let products = (0..block).map(|j| matrix(block, position % block, j) * row[j] as f64);
            let error = (products.sum::<f64>() - value as f64).abs();
            let bound = bound(block) * sums[position] / (block as f64).sqrt();
            assert!(
                error <= bound,
                "block {block}, {position}: {error:e} > {bound:e}"
            );
        }
    }
}

#[test]
fn unit_vectors_give_an_orthonormal_matrix() {
    // Its entries are 1/4 and -1/4: nothing is rounded.
    let block = 16;
    let device = Device::default();
    let identity: Vec<f32> = (0..256).map(|i| f32::from(u8::from(i % 17 == 0))).collect();
    let h = hadamard_transform(tensor(&identity, [16, 16], DType::F32, &device), block);
    let expected: Vec<f32> = (0..256)
        .map(|i| matrix(block, i / 16, i % 16) as f32)
        .collect();
    assert_equal(&floats(h.clone()), &expected, "matrix");
    let product = h.clone().matmul(h.transpose());
    assert_equal(&floats(product), &identity, "product with its transpose");
}

#[test]
fn the_transform_undoes_itself() {
    for block in [4, 64, 512] {
        let values = normal(2 * block, 3);
        let x = tensor(&values, [2, block], DType::F32, &Device::default());
        let back = floats(hadamard_transform(hadamard_transform(x, block), block));
        // The errors of the first transform are transformed: `sqrt(block)` times larger at most,
        // and so is the sum of magnitudes that those of the second are relative to.
        let sums = sums(&values, block);
        let what = format!("block {block}");
        assert_within(&back, &values, |i| 2.0 * bound(block) * sums[i], &what);
    }
}

#[test]
fn the_gradient_is_the_transform_of_the_gradient() {
    let device = Device::default().autodiff();
    let (values, upstream) = (normal(64, 4), normal(64, 5));
    for device in [device.clone(), device.gradient_checkpointing()] {
        for block in [1, 4, 32] {
            let x = tensor(&values, [2, 32], DType::F32, &device).require_grad();
            let g = tensor(&upstream, [2, 32], DType::F32, &device);
            let transformed = hadamard_transform(x.clone().mul_scalar(2.0), block);
            let doubled: Vec<f32> = values.iter().map(|v| 2.0 * v).collect();
            assert_equal(
                &floats(transformed.clone()),
                &reference::hadamard_transform(&doubled, block),
                "values under autodiff",
            );
            let grad = x.grad(&(transformed * g).sum().backward()).unwrap();
            let expected: Vec<f32> = reference::hadamard_transform(&upstream, block)
                .iter()
                .map(|v| 2.0 * v)
                .collect();
            assert_equal(&floats(grad), &expected, &format!("{device:?} {block}"));
        }
    }
}

#[test]
fn a_constant_stays_untracked() {
    let x = Tensor::<1>::ones([4], &Device::default().autodiff());
    assert!(!hadamard_transform(x, 4).is_tracked());
}

#[test]
fn a_view_is_transformed_as_the_values_that_it_shows() {
    let device = Device::default();
    let whole = tensor(&normal(96, 6), [8, 12], DType::F32, &device);
    let views: [(&str, Tensor<2>); 3] = [
        ("transposed", whole.clone().transpose()),
        ("columns", whole.clone().slice([0..8, 3..11])),
        ("both", whole.slice([0..8, 2..9]).transpose()),
    ];
    for (name, view) in views {
        let expected = reference::hadamard_transform(&floats(view.clone()), 8);
        assert_equal(&floats(hadamard_transform(view, 8)), &expected, name);
    }
}

#[test]
fn non_finite_values_affect_only_their_block() {
    let device = Device::default();
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut values = normal(48, 7);
        values[13] = bad;
        let x = tensor(&values, [3, 16], DType::F32, &device);
        let transformed = floats(hadamard_transform(x, 8));
        let expected = reference::hadamard_transform(&values, 8);
        for (i, (&value, &expected)) in transformed.iter().zip(&expected).enumerate() {
            if (8..16).contains(&i) {
                assert!(!value.is_finite(), "{bad} at 13, value {i}: got {value}");
            } else {
                assert_eq!(value, expected, "{bad} at 13, value {i}");
            }
        }
    }
}

#[test]
fn an_empty_input_has_an_empty_output() {
    let device = Device::default();
    for shape in [[0, 4], [3, 0]] {
        let transformed = hadamard_transform(Tensor::<2>::zeros(shape, &device), 4);
        assert_eq!(transformed.dims(), shape);
        assert!(floats(transformed).is_empty());
    }
}

#[test]
#[should_panic(expected = "takes blocks of a power of two of values, got 12")]
fn a_block_of_another_size_is_refused() {
    hadamard_transform(Tensor::<2>::zeros([3, 12], &Device::default()), 12);
}

#[test]
#[should_panic(expected = "takes blocks of a power of two of values, got 0")]
fn a_block_of_nothing_is_refused() {
    hadamard_transform(Tensor::<1>::zeros([0], &Device::default()), 0);
}

#[test]
#[should_panic(
    expected = "block 8 does not divide the 12 values of the last dimension of shape [2, 12]"
)]
fn blocks_that_leave_a_rest_are_refused() {
    // 24 values are three blocks, but not in whole rows.
    hadamard_transform(Tensor::<2>::zeros([2, 12], &Device::default()), 8);
}
