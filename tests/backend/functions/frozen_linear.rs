//! Products with frozen weights of any type against sums in `f64`.

use bitnet_burn::functions::frozen_linear;
use burn::tensor::{DType, Device, Tensor};

use crate::support::{products::*, values::*};

/// Checks the product of a weight `[d_input, d_output]` and the gradient of its input. A view has the weight as the
/// transpose of what is in memory.
fn check(tokens: usize, [d_input, d_output]: [usize; 2], types: [DType; 2], is_view: bool) {
    let device = Device::default();
    let [of_x, of_weight] = types;
    let what = format!("{tokens} tokens, [{d_input}, {d_output}], {types:?}, {is_view}");
    let rows = rounded(&normal(d_output * d_input, 1), of_weight);
    let columns = transposed(&rows, d_input);
    let weight: Tensor<2> = match is_view {
        true => tensor(&rows, [d_output, d_input], of_weight, &device).transpose(),
        false => tensor(&columns, [d_input, d_output], of_weight, &device),
    };
    // Values are used in the type of the input.
    let [rows, columns] = [rows, columns].map(|values| rounded(&values, of_x));
    let [x, grads] = [(d_input, 2), (d_output, 3)]
        .map(|(features, seed)| rounded(&normal(tokens * features, seed), of_x));
    let input = tensor(&x, [tokens, d_input], of_x, &device);
    let y = frozen_linear(input.clone(), weight.clone(), None);
    assert_eq!((y.dims(), y.dtype()), ([tokens, d_output], of_x));
    assert_products(&floats(y), &x, &rows, d_input, of_x, &what);

    let input = Tensor::from_inner(input).require_grad();
    let y = frozen_linear(input.clone(), Tensor::from_inner(weight), None);
    let of_y = Tensor::from_inner(tensor(&grads, [tokens, d_output], of_x, &device));
    let gradients = (y * of_y).sum().backward();
    let found = floats(input.grad(&gradients).expect("a gradient of the input"));
    assert_products(&found, &grads, &columns, d_output, of_x, &what);
}

#[test]
fn products_and_gradients_are_within_rounding() {
    let types = float_types(&Device::default());
    for (tokens, shape) in [(1, [1, 1]), (1, [50, 33]), (3, [50, 7]), (40, [129, 30])] {
        for &of_x in &types {
            for &of_weight in &types {
                for is_view in [false, true] {
                    check(tokens, shape, [of_x, of_weight], is_view);
                }
            }
        }
    }
}

#[test]
fn a_weight_of_16_bits_in_parts_equals_the_sums() {
    if !computes_in(&Device::default(), DType::BF16) {
        return;
    }
    // More rows than are widened at a time.
    for is_view in [false, true] {
        check(33, [1100, 1001], [DType::F32, DType::BF16], is_view);
    }
}

#[test]
fn leading_dimensions_are_kept_and_the_bias_is_added_and_learned() {
    let device = Device::default().autodiff();
    let x = tensor(&normal(60, 2), [2, 3, 10], DType::F32, &device);
    let weight = tensor(&normal(60, 1), [10, 6], DType::F32, &device);
    let bias = tensor(&normal(6, 3), [6], DType::F32, &device).require_grad();
    let y = frozen_linear(x.clone(), weight.clone(), Some(bias.clone()));
    assert_eq!(y.dims(), [2, 3, 6]);
    let expected = floats(frozen_linear(x, weight, None) + bias.clone().unsqueeze());
    assert_equal(&floats(y.clone()), &expected, "with a bias");
    let grads = y.sum().backward();
    assert_equal(
        &floats(bias.grad(&grads).unwrap()),
        &[6.0; 6],
        "gradient of the bias",
    );
}

#[test]
fn a_weight_that_has_a_gradient_gets_it() {
    let device = Device::default().autodiff();
    let leaf = |n, shape, seed| tensor(&normal(n, seed), shape, DType::F32, &device).require_grad();
    let (x, weight): (Tensor<2>, Tensor<2>) = (leaf(30, [3, 10], 1), leaf(60, [10, 6], 2));
    let upstream = tensor(&normal(18, 3), [3, 6], DType::F32, &device);
    let y = frozen_linear(x.clone(), weight.clone(), None);
    let grads = (y * upstream.clone()).sum().backward();
    let expected = (x.clone().matmul(weight.clone()) * upstream)
        .sum()
        .backward();
    for (name, leaf) in [("x", x), ("weight", weight)] {
        let [found, expected] = [&grads, &expected].map(|grads| floats(leaf.grad(grads).unwrap()));
        assert_equal(&found, &expected, name);
    }
}

#[test]
fn no_tokens_give_no_outputs() {
    let device = Device::default();
    let weight = || tensor::<2>(&normal(60, 1), [10, 6], DType::F32, &device);
    let y = frozen_linear(Tensor::<3>::zeros([2, 0, 10], &device), weight(), None);
    assert_eq!(y.dims(), [2, 0, 6]);
    let y = frozen_linear(
        Tensor::<2>::zeros([3, 0], &device),
        Tensor::zeros([0, 2], &device),
        None,
    );
    assert_equal(&floats(y), &[0.0; 6], "no features");
}
