//! `AdamW8bit` against bitsandbytes: parameters, codes and maxima of every step.

use std::collections::BTreeMap;

use bitnet_burn::{
    functions::{DynamicMap, blockwise_dequantize},
    optim::{AdamW8bit, AdamW8bitConfig, QatOptimizerConfig},
};
use burn::{
    module::{Module, Param},
    optim::{GradientsParams, ModuleOptimizer, Optimizer, RecordState, StateSink},
    tensor::{DType, Device, Tensor, TensorData},
};

use crate::support::{
    oracle::{Case, Oracle},
    values::*,
};

fn config(case: &Case) -> AdamW8bitConfig {
    let beta = |i: usize| case.about["betas"][i].as_f64().unwrap();
    AdamW8bitConfig::new()
        .with_beta_1(beta(0))
        .with_beta_2(beta(1))
        .with_epsilon(case.number("eps"))
        .with_weight_decay(case.number("weight_decay"))
}

/// Returns the bytes of codes in words, without the padding of the last word.
fn bytes(words: &[u32], n: usize) -> Vec<u8> {
    let bytes = words.iter().flat_map(|word| word.to_le_bytes());
    bytes.take(n).collect()
}

/// Tensors of a state by their names in its record.
fn tensors(state: &impl RecordState) -> BTreeMap<String, TensorData> {
    let mut sink = StateSink::default();
    state.state_flatten("", &mut sink);
    sink.tensors.into_iter().collect()
}

/// Positions where the code of a moment differs from bitsandbytes' by one, as a rounding near the middle
/// between two values may cause.
fn check_moments(state: &impl RecordState, case: &Case, step: usize) -> Vec<usize> {
    let tensors = tensors(state);
    let mut differ = Vec::new();
    for i in [1, 2] {
        let expected = case.bytes(&format!("state{i}.{step}"));
        let words = &tensors[&format!("moment_{i}_codes")];
        let codes = bytes(&words.iter().collect::<Vec<u32>>(), expected.len());
        for (at, (a, b)) in codes.iter().zip(&expected).enumerate() {
            assert!(
                a.abs_diff(*b) <= 1,
                "step {step}, moment {i}, {at}: {a} {b}"
            );
            if a != b {
                differ.push(at);
            }
        }
        let expected = case.floats(&format!("absmax{i}.{step}"));
        // Sums of two products, from identical codes.
        let bound = |i: usize| 4.0 * ROUNDING * step as f64 * expected[i] as f64;
        let absmax: Vec<f32> = tensors[&format!("moment_{i}_absmax")].iter().collect();
        assert_within(&absmax, &expected, bound, "absmax");
    }
    differ
}

#[test]
fn the_maps_are_those_of_bitsandbytes() {
    let oracle = Oracle::open("adamw_8bit");
    let case = oracle.case("blocks_17x250");
    for (name, map) in [
        ("qmap1", DynamicMap::Signed),
        ("qmap2", DynamicMap::Unsigned),
    ] {
        assert_equal(map.values(), &case.floats(name), name);
    }
}

#[test]
fn steps_of_blocks_equal_bitsandbytes() {
    let device = Device::default();
    let oracle = Oracle::open("adamw_8bit");
    let case = oracle.case("blocks_17x250");
    let optimizer = config(&case).build();
    let lr = case.number("lr");
    let mut param: Tensor<2> = case.tensor("param.0", &device);
    let mut state = None;
    let mut differ = Vec::new();
    for step in 1..=4 {
        let grad = case.tensor(&format!("grad.{step}"), &device);
        (param, state) = optimizer.step(lr, param, grad, state);
        let expected = case.floats(&format!("param.{step}"));
        let values = floats(param.clone());
        for (i, (a, b)) in values.iter().zip(&expected).enumerate() {
            // A step is of size lr, computed with a dozen roundings; another code of a moment, from
            // the steps before, is up to a percent of it.
            let bound = match differ.contains(&i) {
                true => step as f64 * lr,
                false => step as f64 * (16.0 * ROUNDING * (lr + b.abs() as f64)),
            };
            let error = (a - b).abs() as f64;
            assert!(error <= bound, "step {step}, {i}: {a} {b}, bound {bound:e}");
        }
        differ.extend(check_moments(state.as_ref().unwrap(), &case, step));
    }
    println!("{} of {} codes differ", differ.len(), 4 * 2 * 4250);
    assert!(differ.len() <= 8, "{} codes differ", differ.len());

    // Its CPU kernel represents small values less exactly.
    let kernel = case.floats("kernel.param");
    let far = largest_error(&floats(param), &kernel);
    assert!(far > 1e-3 && far < lr as f32, "{far}");
}

#[test]
fn small_tensors_keep_moments_of_f32_and_equal_bitsandbytes() {
    let device = Device::default();
    let oracle = Oracle::open("adamw_8bit");
    let case = oracle.case("small_5x12");
    let optimizer = config(&case).build();
    let mut param: Tensor<2> = case.tensor("param.0", &device);
    let mut state = None;
    // The running maximum of each.
    let mut grads = vec![0.0f32; 60];
    for step in 1..=4 {
        let grad = case.tensor(&format!("grad.{step}"), &device);
        for (largest, grad) in grads.iter_mut().zip(floats(grad.clone())) {
            *largest = largest.max(grad.abs());
        }
        (param, state) = optimizer.step(case.number("lr"), param, grad, state);
        let expected = case.floats(&format!("param.{step}"));
        let bound = |i: usize| step as f64 * 16.0 * ROUNDING * (1e-2 + expected[i].abs() as f64);
        assert_within(&floats(param.clone()), &expected, bound, "param");
        let tensors = tensors(state.as_ref().unwrap());
        for i in [1, 2] {
            let moment: Vec<f32> = tensors[&format!("moment_{i}")].iter().collect();
            let expected = case.floats(&format!("state{i}.{step}"));
            // Terms may cancel.
            let term = |at: usize| grads[at].abs().powi(i) as f64;
            let bound = |at: usize| 8.0 * ROUNDING * term(at);
            assert_within(&moment, &expected, bound, "moment");
        }
    }
}

fn state_after<const D: usize>(
    optimizer: &AdamW8bit,
    param: &Tensor<D>,
) -> (Tensor<D>, <AdamW8bit as Optimizer>::State<D>) {
    let grad = param.clone().sin();
    let (param, state) = optimizer.step(1e-2, param.clone(), grad, None);
    (param, state.unwrap())
}

#[test]
fn states_are_saved_and_loaded_exactly() {
    let device = Device::default();
    let optimizer = AdamW8bitConfig::new().build();
    for shape in [[70, 60], [3, 5]] {
        let values = normal(shape[0] * shape[1], 3);
        let param: Tensor<2> = tensor(&values, shape, DType::F32, &device);
        let (param, state) = state_after(&optimizer, &param);
        let loaded = reloaded(&state);
        let grad = param.clone().cos();
        let step = |state| {
            floats(
                optimizer
                    .step(1e-2, param.clone(), grad.clone(), Some(state))
                    .0,
            )
        };
        assert_equal(&step(loaded), &step(state), "the next step");
    }
}

#[derive(Module, Debug)]
struct Parameters {
    matrix: Param<Tensor<2>>,
    vector: Param<Tensor<1>>,
}

#[test]
fn it_is_an_optimizer_of_modules_and_goes_into_ours() {
    let device = Device::default().autodiff();
    let module = Parameters {
        matrix: Param::from_tensor(tensor(&normal(64 * 65, 1), [64, 65], DType::F32, &device)),
        vector: Param::from_tensor(tensor(&normal(5, 2), [5], DType::F32, &device)),
    };
    let train = |mut optimizer: ModuleOptimizer| {
        let mut module = module.clone();
        for _ in 0..20 {
            let loss = module.matrix.val().square().sum() + module.vector.val().square().sum();
            let grads = GradientsParams::from_grads(loss.backward(), &module);
            module = optimizer.step(1e-2, module, grads);
        }
        let matrix = floats(module.matrix.val());
        (matrix, floats(module.vector.val()))
    };
    let inner = AdamW8bitConfig::new();
    let (matrix, vector) = train(inner.init());
    let wrapped = train(QatOptimizerConfig::new().build(inner.build()).into());
    assert_equal(&matrix, &wrapped.0, "in ours");
    let square = |values: &[f32]| values.iter().map(|v| v * v).sum::<f32>();
    let before = square(&floats(module.matrix.val()));
    assert!(
        square(&matrix) < 0.3 * before,
        "{} of {before}",
        square(&matrix)
    );
    assert!(square(&vector) < square(&floats(module.vector.val())));
}

#[test]
fn gradients_that_are_not_finite_show() {
    let device = Device::default();
    let optimizer = AdamW8bitConfig::new().build();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = normal(70 * 60, 3);
        let param: Tensor<2> = tensor(&values, [70, 60], DType::F32, &device);
        values[1000] = bad;
        let grad = tensor(&values, [70, 60], DType::F32, &device);
        let (param, state) = optimizer.step(1e-2, param, grad.clone(), None);
        let (param, _) = optimizer.step(1e-2, param, grad, state);
        let finite = floats(param).iter().filter(|v| v.is_finite()).count();
        // All except the block around it.
        assert!((4200 - 256..4200).contains(&finite), "{bad}: {finite}");
    }
}

#[test]
fn blocks_of_zeros_and_of_one_value_are_exact() {
    let device = Device::default();
    let mut values = vec![0.0; 600];
    values[300] = -2.5;
    values[599] = 3.0;
    let x: Tensor<1> = tensor(&values, [600], DType::F32, &device);
    let (codes, absmax) = bitnet_burn::functions::blockwise_quantize(x, DynamicMap::Signed);
    assert_equal(&floats(absmax.clone()), &[0.0, 2.5, 3.0], "absmax");
    let x = floats(blockwise_dequantize(codes, absmax, DynamicMap::Signed, 600));
    // The signed map ends at -0.993.
    values[300] = -2.5 * DynamicMap::Signed.values()[0].abs();
    assert_equal(&x, &values, "values");
}

#[test]
#[should_panic(expected = "beta_2 must be in [0, 1), got 1")]
fn a_beta_of_one_panics() {
    AdamW8bitConfig::new().with_beta_2(1.0).build();
}
