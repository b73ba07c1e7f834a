//! [`causal_attention`] and its gradients against the formulas in `f64`, and against Burn's own chain.

use core::array;

use bitnet_burn::functions::causal_attention;
use burn::tensor::{DType, Device, Tensor};

use super::causal_attention_reference::*;
use crate::support::{transformer_reference::*, values::*};

/// Small shapes, with groups of queries and fewer queries than keys.
const SMALL: [Shape; 6] = [
    Shape::new(2, [6, 2], [5, 5], 8),
    Shape::new(1, [6, 2], [3, 7], 16),
    Shape::new(1, [1, 1], [1, 1], 4),
    Shape::new(2, [4, 4], [1, 9], 5),
    Shape::new(2, [6, 2], [1, 7], 6),
    Shape::new(1, [2, 1], [4, 33], 33),
];

/// More queries than a block of Flex, in one thread and in several.
const LARGE: [Shape; 3] = [
    Shape::new(1, [2, 1], [130, 140], 4),
    Shape::new(1, [1, 1], [300, 300], 8),
    Shape::new(2, [4, 2], [100, 100], 8),
];

/// Shapes for devices on which each takes long: CubeCL's CPU runtime cannot multiply with inner size 1, and
/// GPUs take long to compile a product for each shape.
fn shapes() -> Vec<Shape> {
    match (on_cubecl_cpu(), on_cpu_library()) {
        (true, _) => SMALL[..2].to_vec(),
        (_, true) => [&SMALL[..], &LARGE].concat(),
        _ => SMALL.to_vec(),
    }
}

#[test]
fn values_are_those_of_the_formula() {
    let device = Device::default();
    for dtype in float_types(&device) {
        for shape in shapes() {
            let case = Case::new(shape, dtype);
            let [query, key, value, _] = case.tensors(dtype, &device);
            let y = causal_attention(query, key, value);
            assert_eq!((y.dims(), y.dtype()), (shape.dims()[3], dtype));
            let expected = case.expected();
            let what = format!("{shape:?} {dtype:?}");
            expected.check(0, &floats(y), dtype, &what);
        }
    }
}

#[test]
fn gradients_are_those_of_the_formula() {
    let device = Device::default().autodiff();
    for device in [device.clone(), device.gradient_checkpointing()] {
        for shape in shapes() {
            let case = Case::new(shape, DType::F32);
            let tensors = case.tensors(DType::F32, &device);
            let expected = case.expected();
            let gradients = gradients(tensors, [true; 3], causal_attention);
            for (i, gradient) in gradients.into_iter().enumerate() {
                expected.check(i, &gradient.unwrap(), DType::F32, &format!("{shape:?}"));
            }
        }
    }
}

#[test]
fn a_chain_of_burn_has_these_values_and_gradients_too() {
    if on_cubecl_cpu() {
        return;
    }
    let device = Device::default().autodiff();
    for shape in &SMALL[..2] {
        let case = Case::new(*shape, DType::F32);
        let expected = case.expected();
        let gradients = gradients(case.tensors(DType::F32, &device), [true; 3], chain);
        for (i, gradient) in gradients.into_iter().enumerate() {
            expected.check(i, &gradient.unwrap(), DType::F32, &format!("{shape:?}"));
        }
    }
}

/// Compares with the formula, with all tensors, or only the queries, as views of this kind.
fn check_views(shape: Shape, kind: usize) {
    let case = Case::new(shape, DType::F32);
    let expected = case.expected();
    let plain = case.tensors(DType::F32, &Device::default().autodiff());
    let of_kind = |x: &Tensor<4>| views(x.clone()).swap_remove(kind);
    let name = of_kind(&plain[0]).0;
    let all = array::from_fn(|i| of_kind(&plain[i]).1);
    let mut one = plain;
    one[0] = all[0].clone();
    for tensors in [all, one] {
        let gradients = gradients(tensors, [true; 3], causal_attention);
        for (i, gradient) in gradients.into_iter().enumerate() {
            expected.check(i, &gradient.unwrap(), DType::F32, name);
        }
    }
}

#[test]
fn views_attend_as_the_values_that_they_show() {
    // CubeCL's CPU runtime compiles products for each shape.
    for kind in 0..if on_cubecl_cpu() { 1 } else { 6 } {
        check_views(SMALL[0], kind);
        if on_cpu_library() {
            check_views(LARGE[0], kind);
        }
    }
}

#[test]
fn an_input_without_a_gradient_gets_none_and_is_not_missed() {
    let device = Device::default().autodiff();
    let tensors = Case::new(SMALL[0], DType::F32).tensors(DType::F32, &device);
    let all = gradients(tensors.clone(), [true; 3], causal_attention);
    for tracked in (1..7).step_by(if on_cubecl_cpu() { 3 } else { 1 }) {
        let tracked = array::from_fn(|i| tracked >> i & 1 == 1);
        let some = gradients(tensors.clone(), tracked, causal_attention);
        assert_eq!(some[0], all[0]);
        for i in 0..3 {
            let expected = all[i + 1].clone().filter(|_| tracked[i]);
            assert_eq!(some[i + 1], expected, "{tracked:?}, input {i}");
        }
    }
    let [query, key, value, _] = tensors;
    assert!(!causal_attention(query, key, value).is_tracked());
}

#[test]
fn later_positions_do_not_change_earlier_outputs() {
    let device = Device::default().autodiff();
    let (shape, first) = (SMALL[0], 3);
    let dims = shape.dims();
    let is_before = |tensor: usize, value: usize| value / dims[tensor][3] % dims[tensor][2] < first;
    let gradients_with = |after: fn(f32) -> f32| {
        let mut case = Case::new(shape, DType::F32);
        for (tensor, values) in case.inputs.iter_mut().enumerate() {
            let values = values.iter_mut().enumerate();
            for (_, value) in values.filter(|&(i, _)| !is_before(tensor, i)) {
                // Outputs after the position are not used.
                *value = if tensor == 3 { 0.0 } else { after(*value) };
            }
        }
        let tensors = case.tensors(DType::F32, &device);
        gradients(tensors, [true; 3], causal_attention).map(Option::unwrap)
    };
    let expected = gradients_with(|value| value);
    let changed = gradients_with(|value| 5.0 - 3.0 * value);
    for (tensor, like) in [3, 0, 1, 2].into_iter().enumerate() {
        for (i, (expected, changed)) in expected[tensor].iter().zip(&changed[tensor]).enumerate() {
            let what = format!("tensor {tensor}, value {i}");
            if is_before(like, i) {
                assert_eq!(changed.to_bits(), expected.to_bits(), "{what}");
            } else if tensor > 0 {
                assert_eq!((*changed, *expected), (0.0, 0.0), "{what}");
            }
        }
    }
}

#[test]
fn one_query_after_another_gives_the_outputs_of_the_whole() {
    let device = Device::default();
    let case = Case::new(SMALL[0], DType::F32);
    let [query, key, value, _] = case.tensors(DType::F32, &device);
    let expected = case.expected();
    // CubeCL's CPU runtime cannot multiply with inner size 1.
    let first = if on_cubecl_cpu() { 4 } else { 0 };
    for position in first..case.shape.length {
        let seen = |x: &Tensor<4>| x.clone().narrow(2, 0, position + 1);
        let query = query.clone().narrow(2, position, 1);
        let y = causal_attention(query, seen(&key), seen(&value));
        let rows = expected.sums[0].chunks(case.shape.d_head);
        let rows = rows.skip(position).step_by(case.shape.positions);
        let sums: Vec<Sum> = rows.flatten().copied().collect();
        let what = format!("position {position}");
        assert_sums(&floats(y), &sums, DType::F32, expected.operations, &what);
    }
}

#[test]
fn threads_change_no_bit() {
    let device = Device::default().autodiff();
    for shape in &LARGE[1..] {
        let case = Case::new(*shape, DType::F32);
        assert_same_in_all_threads(|| {
            let tensors = case.tensors(DType::F32, &device);
            gradients(tensors, [true; 3], causal_attention)
                .map(Option::unwrap)
                .to_vec()
        });
    }
}

#[test]
fn nan_affects_only_positions_that_attend_to_it() {
    let shape = SMALL[0];
    let group = shape.heads / shape.key_heads;
    // Batch 1, head of the keys 1, position 2.
    let key = (shape.key_heads + 1) * shape.length + 2;
    let query = (shape.heads + 2 * group - 1) * shape.positions + 2;
    for (input, row) in [(0, query), (1, key), (2, key)] {
        let mut case = Case::new(shape, DType::F32);
        case.inputs[input][row * shape.d_head + 3] = f32::NAN;
        let [query, key, value, _] = case.tensors(DType::F32, &Device::default());
        let y = floats(causal_attention(query, key, value));
        for (i, y) in y.chunks(shape.d_head).enumerate() {
            let (head, position) = (i / shape.positions, i % shape.positions);
            let looked_at = match input {
                0 => i == row,
                _ => head / group == row / shape.length && position >= 2,
            };
            if input == 2 && head / group == 3 && position < 2 {
                // A value that has the weight zero: the product may be zero or not a number.
                continue;
            }
            let is_nan = y.iter().any(|y| y.is_nan());
            assert_eq!(
                is_nan, looked_at,
                "input {input}, head {head}, position {position}"
            );
        }
    }
}

#[test]
fn an_empty_input_has_an_empty_output() {
    let device = Device::default();
    for (query, key) in [
        ([0, 2, 3, 4], [0, 1, 3, 4]),
        ([1, 0, 3, 4], [1, 1, 3, 4]),
        ([1, 2, 0, 4], [1, 1, 3, 4]),
        ([1, 2, 3, 0], [1, 1, 3, 0]),
    ] {
        let [query, key] = [query, key].map(|shape| Tensor::<4>::zeros(shape, &device));
        let y = causal_attention(query.clone(), key.clone(), key);
        assert_eq!(y.dims(), query.dims());
        assert!(floats(y).is_empty());
    }
}

fn attend(shapes: [[usize; 4]; 3]) {
    let [query, key, value] = shapes.map(|shape| Tensor::zeros(shape, &Device::default()));
    causal_attention(query, key, value);
}

#[test]
#[should_panic(expected = "5 heads cannot share 2 heads of the keys")]
fn query_heads_that_key_heads_do_not_divide_are_refused() {
    attend([[1, 5, 3, 4], [1, 2, 3, 4], [1, 2, 3, 4]]);
}

#[test]
#[should_panic(expected = "2 heads cannot share 0 heads of the keys")]
fn no_heads_of_keys_are_refused() {
    attend([[1, 2, 3, 4], [1, 0, 3, 4], [1, 0, 3, 4]]);
}

#[test]
#[should_panic(expected = "4 queries are not the last of 3 positions")]
fn more_queries_than_keys_are_refused() {
    attend([[1, 2, 4, 4], [1, 2, 3, 4], [1, 2, 3, 4]]);
}

#[test]
#[should_panic(
    expected = "assert_shape!(key, [batch, key_heads, length, d_head]): axis 3 expected 4, got 5"
)]
fn keys_of_another_size_are_refused() {
    attend([[1, 2, 3, 4], [1, 2, 3, 5], [1, 2, 3, 5]]);
}

#[test]
#[should_panic(
    expected = "assert_shape!(value, [batch, key_heads, length, d_head]): axis 2 expected 3, got 4"
)]
fn values_of_other_positions_are_refused() {
    attend([[1, 2, 3, 4], [1, 2, 3, 4], [1, 2, 4, 4]]);
}

#[test]
fn another_type_is_refused() {
    assert_refuses_f64("causal_attention", |options| {
        let x = Tensor::<4>::zeros([1, 2, 3, 4], options);
        causal_attention(x.clone(), x.clone(), x);
    });
}
