//! The fused linear layer against the separate operations, values and gradients.

use bitnet_burn::{
    functions::{
        Groups, absmax_fake_quant, bit_linear, packed_linear, ternary_fake_quant, ternary_pack,
    },
    nn::BitLinearConfig,
    qat::QuantControls,
    quant::QatScheme,
};
use burn::{
    module::{Module, Param},
    tensor::{DType, Device, Tensor, module::linear},
};

use crate::support::{transformer_reference::assert_same_in_all_threads, values::*};

struct Case {
    x: Tensor<2>,
    weight: Tensor<2>,
    bias: Option<Tensor<1>>,
    groups: Groups,
    bits: u8,
}

/// Shapes with and without a remainder in words of 4 and 16 codes, and in panels of 16 outputs.
const SHAPES: [[usize; 3]; 6] = [
    [1, 1, 1],
    [3, 5, 17],
    [2, 64, 32],
    [7, 33, 40],
    [17, 100, 16],
    [40, 48, 50],
];

/// Fewer shapes for CubeCL's CPU runtime, which takes a minute for all.
fn shapes() -> &'static [[usize; 3]] {
    &SHAPES[if on_cubecl_cpu() { 3..5 } else { 0..6 }]
}

impl Case {
    fn new([tokens, d_input, d_output]: [usize; 3], dtype: DType, device: &Device) -> Self {
        let values = |n, seed| normal(n, seed);
        let shape = [d_input, d_output];
        let groups = match tokens % 3 {
            0 => Groups::per_tensor(d_input * d_output),
            1 => Groups::along_axis(&shape, 0, d_input),
            _ => Groups::along_axis(&shape, 0, d_input / 2),
        };
        let bias = tensor(&values(d_output, 3), [d_output], dtype, device);
        Self {
            x: tensor(
                &values(tokens * d_input, 1),
                [tokens, d_input],
                dtype,
                device,
            ),
            weight: tensor(&values(d_input * d_output, 2), shape, dtype, device),
            bias: (tokens % 2 == 1).then_some(bias),
            groups,
            bits: if tokens == 7 { 4 } else { 8 },
        }
    }

    fn fused(&self) -> Tensor<2> {
        let (x, weight) = (self.x.clone(), self.weight.clone());
        bit_linear(x, weight, self.bias.clone(), self.groups, self.bits)
    }

    fn quantized(&self) -> (Tensor<2>, Tensor<2>) {
        let per_token = Groups::per_row(&self.x.dims());
        let (x, _) = absmax_fake_quant(self.x.clone(), per_token, self.bits);
        (x, ternary_fake_quant(self.weight.clone(), self.groups).0)
    }

    fn separate(&self) -> Tensor<2> {
        let (x, weight) = self.quantized();
        linear(x, weight, self.bias.clone())
    }

    fn packed(&self) -> Tensor<2> {
        let (_, gamma) = ternary_fake_quant(self.weight.clone(), self.groups);
        let groups = Groups {
            outer: self.groups.num_groups(),
            size: self.groups.size,
            inner: 1,
        };
        let scales = gamma.transpose().reshape(groups.scale_shape());
        let packed = ternary_pack(self.weight.clone().transpose(), scales.clone(), groups);
        let (x, bias) = (self.x.clone(), self.bias.clone());
        packed_linear(x, packed, scales, bias, groups, self.bits)
    }

    /// Error bound: `(d_input + 5) u sum |Q(x) Q(w)|` and the rounding of the bias, `u` that of the type.
    fn bounds(&self) -> Vec<f64> {
        let (x, weight) = self.quantized();
        let [d_input, _] = weight.dims();
        let unit = match self.x.dtype() {
            DType::F32 => ROUNDING,
            DType::F16 => ROUNDING * (1 << 13) as f64,
            _ => ROUNDING * (1 << 16) as f64,
        };
        let sums = x.abs().matmul(weight.abs());
        let sums = match &self.bias {
            Some(bias) => sums + bias.clone().abs().unsqueeze(),
            None => sums,
        };
        let bound = |sum: f32| (d_input + 6) as f64 * unit * sum as f64 + 1e-30;
        floats(sums).into_iter().map(bound).collect()
    }
}

#[test]
fn values_are_those_of_the_separate_operations() {
    let device = Device::default();
    for dtype in float_types(&device) {
        for shape in shapes() {
            let case = Case::new(*shape, dtype, &device);
            let (fused, separate) = (case.fused(), case.separate());
            assert_eq!(fused.dtype(), dtype);
            let bounds = case.bounds();
            let what = format!("{shape:?} {dtype:?}");
            assert_within(&floats(fused), &floats(separate), |i| bounds[i], &what);
        }
    }
}

/// Computes gradients of the input, weight and bias for an upstream gradient that differs by output.
fn gradients(case: &Case, y: Tensor<2>) -> [Option<Vec<f32>>; 3] {
    let upstream = tensor(
        &normal(y.shape().num_elements(), 9),
        y.dims(),
        DType::F32,
        &y.device(),
    );
    let grads = (y * upstream).sum().backward();
    [
        case.x.grad(&grads).map(floats),
        case.weight.grad(&grads).map(floats),
        case.bias.as_ref().and_then(|b| b.grad(&grads)).map(floats),
    ]
}

#[test]
fn gradients_are_those_of_the_separate_operations() {
    for shape in shapes() {
        for (x, weight, bias) in [
            (true, true, true),
            (true, false, false),
            (false, true, true),
        ] {
            let device = Device::default().autodiff();
            let mut case = Case::new(*shape, DType::F32, &device);
            case.x = case.x.clone().set_require_grad(x);
            case.weight = case.weight.clone().set_require_grad(weight);
            case.bias = case.bias.clone().map(|b| b.set_require_grad(bias));
            let fused = gradients(&case, case.fused());
            let separate = gradients(&case, case.separate());
            for (fused, separate) in fused.into_iter().zip(separate) {
                assert_eq!(fused.is_some(), separate.is_some(), "{shape:?}");
                if let (Some(fused), Some(separate)) = (fused, separate) {
                    // The same factors, quantized to the same bits, in the same products.
                    assert_equal(&fused, &separate, &format!("{shape:?}"));
                }
            }
        }
    }
}

#[test]
fn gradient_checkpointing_changes_nothing() {
    let gradients_on = |device: Device| {
        let mut case = Case::new([7, 33, 40], DType::F32, &device);
        case.x = case.x.clone().require_grad();
        case.weight = case.weight.clone().require_grad();
        let before = case.x.clone().tanh();
        let inner = Case { x: before, ..case };
        let y = inner.fused().tanh();
        let grads = y.sum().backward();
        (inner.weight.grad(&grads).map(floats), inner.bias.is_some())
    };
    let plain = gradients_on(Device::default().autodiff());
    let device = Device::default().autodiff().gradient_checkpointing();
    assert!(device.gradient_checkpointing_strategy().is_some());
    assert_eq!(gradients_on(device), plain);
}

#[test]
fn a_packed_weight_gives_the_same_values() {
    let device = Device::default();
    for dtype in float_types(&device) {
        for shape in shapes() {
            let case = Case::new(*shape, dtype, &device);
            let (y, expected) = (floats(case.packed()), floats(case.fused()));
            let what = format!("{shape:?} {dtype:?}");
            if on_flex() && case.groups.outer == 1 {
                assert_equal(&y, &expected, &what);
            }
            // A transposed matrix may be summed in another order.
            let bounds = case.bounds();
            assert_within(&y, &expected, |i| 2.0 * bounds[i], &what);
        }
    }
}

#[test]
fn a_large_packed_weight_is_multiplied_in_parts() {
    // More values than are unpacked at a time, with one scale, one per channel, and per group.
    let tokens = if on_cubecl_cpu() { 19..20 } else { 18..21 };
    for tokens in tokens {
        let case = Case::new([tokens, 1040, 1100], DType::F32, &Device::default());
        let (y, expected) = (floats(case.packed()), floats(case.fused()));
        let bounds = case.bounds();
        assert_within(&y, &expected, |i| 2.0 * bounds[i], &format!("{tokens}"));
    }
}

#[test]
fn leading_dimensions_are_kept_and_may_be_empty() {
    let device = Device::default();
    let weight = tensor(&normal(12, 1), [4, 3], DType::F32, &device);
    let bias = Some(tensor(&normal(3, 2), [3], DType::F32, &device));
    let x = tensor(&normal(24, 3), [2, 3, 4], DType::F32, &device);
    let groups = Groups::per_tensor(12);
    let y = bit_linear(x.clone(), weight.clone(), bias.clone(), groups, 8);
    assert_eq!(y.dims(), [2, 3, 3]);
    let rows = bit_linear(x.reshape([6, 4]), weight.clone(), bias.clone(), groups, 8);
    assert_equal(&floats(y), &floats(rows), "rows of a batch");
    let none = Tensor::<3>::zeros([2, 0, 4], &device);
    assert_eq!(bit_linear(none, weight, bias, groups, 8).dims(), [2, 0, 3]);
}

#[test]
fn a_non_finite_value_affects_its_token_or_all() {
    let device = Device::default();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut values = normal(2 * 20, 1);
        values[3] = bad;
        let x = tensor(&values, [2, 20], DType::F32, &device);
        let weight = tensor(&normal(20 * 3, 2), [20, 3], DType::F32, &device);
        let groups = Groups::per_tensor(60);
        let y = floats(bit_linear(x.clone(), weight, None, groups, 8));
        assert!(y[..3].iter().all(|v| !v.is_finite()), "{y:?}");
        assert!(y[3..].iter().all(|v| v.is_finite()), "{y:?}");

        let mut values = normal(20 * 3, 2);
        values[7] = bad;
        let weight = tensor(&values, [20, 3], DType::F32, &device);
        let x = tensor(&normal(2 * 20, 1), [2, 20], DType::F32, &device);
        let y = floats(bit_linear(x, weight, None, groups, 8));
        assert!(y.iter().all(|v| !v.is_finite()), "{y:?}");
    }
}

#[test]
fn a_layer_is_fused_only_while_fully_quantized() {
    let device = Device::default();
    let mut layer = BitLinearConfig::new(33, 20).init(&device);
    layer.weight = Param::from_tensor(tensor(&normal(660, 1), [33, 20], DType::F32, &device));
    let x = tensor(&normal(5 * 33, 2), [5, 33], DType::F32, &device);
    let fused = bit_linear(
        x.clone(),
        layer.weight.val(),
        None,
        Groups::per_tensor(660),
        8,
    );
    assert_equal(
        &floats(layer.forward(x.clone())),
        &floats(fused.clone()),
        "the layer",
    );

    let controls = QuantControls::of(&layer);
    controls.set_lambda(0.0);
    let float = linear(x.clone(), layer.weight.val(), None);
    assert_equal(
        &floats(layer.forward(x.clone())),
        &floats(float),
        "the layer without quantization",
    );
    controls.set_lambda(1.0);
    assert_equal(&floats(layer.forward(x)), &floats(fused), "the layer again");
}

#[test]
fn the_layer_of_a_scheme_without_activations_is_not_fused() {
    let device = Device::default();
    let scheme = QatScheme::b1_58().with_activation(None);
    let layer = BitLinearConfig::new(8, 6).with_scheme(scheme).init(&device);
    let x = tensor(&normal(3 * 8, 2), [3, 8], DType::F32, &device);
    let expected = linear(x.clone(), layer.quantized_weight(), None);
    let (y, packed) = (layer.forward(x.clone()), layer.valid().pack().forward(x));
    assert_equal(&floats(y), &floats(expected.clone()), "the layer");
    let error = largest_error(&floats(packed), &floats(expected));
    assert!(error < 1e-6, "{error}");
}

#[test]
#[should_panic(expected = "the weight takes 4 features of F32, got x of shape [2, 3] and F32")]
fn features_must_fit() {
    let device = Device::default();
    let (x, weight) = (
        Tensor::<2>::zeros([2, 3], &device),
        Tensor::zeros([4, 5], &device),
    );
    bit_linear(x, weight, None, Groups::per_tensor(20), 8);
}

#[test]
#[should_panic(expected = "a bias of 5 values of F32 is expected, got [4] of F32")]
fn the_bias_must_fit() {
    let device = Device::default();
    let (x, weight) = (
        Tensor::<2>::zeros([2, 4], &device),
        Tensor::zeros([4, 5], &device),
    );
    bit_linear(
        x,
        weight,
        Some(Tensor::zeros([4], &device)),
        Groups::per_tensor(20),
        8,
    );
}

#[test]
fn outputs_do_not_depend_on_the_number_of_threads() {
    let device = Device::default();
    let [tokens, d_input, d_output] = [600, 500, 700];
    let shape = [d_input, d_output];
    let x = tensor(
        &normal(tokens * d_input, 1),
        [tokens, d_input],
        DType::F32,
        &device,
    );
    let weight = tensor(&normal(d_input * d_output, 2), shape, DType::F32, &device);
    let groups = Groups::per_tensor(d_input * d_output);
    let outputs = |x: Tensor<2>| floats(bit_linear(x, weight.clone(), None, groups, 8));
    assert_same_in_all_threads(|| {
        let all = outputs(x.clone());
        let few = outputs(x.clone().slice([0..30, 0..d_input]));
        assert_eq!(few, all[..few.len()]);
        vec![all]
    });
}
