//! [`Linear4bit`] against bitsandbytes' layer of the same weight.

use std::fs;

use bitnet_burn::{
    nn::{BitNetLmConfig, Linear4bit, Projection, SavedInput},
    quant::{FourBitConfig, FourBitType},
};
use burn::{
    module::{Module, Param},
    nn::{Linear, LinearConfig, LinearLayout},
    optim::GradientsParams,
    store::ModuleRecord,
    tensor::{DType, Device, Int, Tensor},
};
use safetensors::SafeTensors;

use crate::support::{
    oracle::{Oracle, data_path},
    values::*,
};

/// A file of bitsandbytes.
struct File(Vec<u8>);

impl File {
    fn open(name: &str) -> Self {
        Self(fs::read(data_path(&format!("{name}.safetensors"))).unwrap())
    }

    fn bytes(&self, tensor: &str) -> Vec<u8> {
        let file = SafeTensors::deserialize(&self.0).unwrap();
        file.tensor(tensor).unwrap().data().to_vec()
    }

    fn floats(&self, tensor: &str) -> Vec<f32> {
        let bytes = self.bytes(tensor);
        let (words, _) = bytes.as_chunks::<4>();
        words.iter().map(|&word| f32::from_le_bytes(word)).collect()
    }
}

/// Returns the layer of the file in full precision, 64 to 24 features.
fn linear(case: &str, file: &File, device: &Device) -> Linear {
    let oracle = Oracle::open("f_nf4");
    let weight = oracle.case(case).tensor::<2>("A", device);
    let bias = tensor(&file.floats("0.bias"), [24], DType::F32, device);
    Linear {
        weight: Param::from_tensor(weight.transpose()),
        bias: Some(Param::from_tensor(bias)),
    }
}

/// The cases of bitsandbytes: double quantization, the file, and the weight in the other file.
const CASES: [(bool, &str, &str); 2] = [
    (false, "f_linear4bit_plain", "w24x64"),
    (true, "f_linear4bit_dq", "w24x64_dq"),
];

fn config(double_quant: bool) -> FourBitConfig {
    FourBitConfig::default().with_double_quant(double_quant)
}

#[test]
fn a_layer_holds_the_tensors_of_bitsandbytes() {
    let device = Device::default();
    for (double_quant, name, case) in CASES {
        let file = File::open(name);
        let layer = Linear4bit::from_linear(&linear(case, &file, &device), &config(double_quant));
        let weight = &layer.weight;
        assert_eq!(weight.dims(), [24, 64]);
        assert_equal(&weight.to_bytes().unwrap(), &file.bytes("0.weight"), name);
        let map = weight.config().quant_type.values();
        assert_equal(map, &file.floats("0.weight.quant_map"), name);
        let absmax = floats(weight.absmax.val());
        let state = file.bytes("0.weight.quant_state.bitsandbytes__nf4");
        let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
        if double_quant {
            let words = ints::<1, u32>(weight.absmax_codes.as_ref().unwrap().val());
            let codes: Vec<u8> = words.into_iter().flat_map(u32::to_le_bytes).collect();
            assert_equal(&codes, &file.bytes("0.weight.absmax"), name);
            assert_equal(&absmax, &file.floats("0.weight.nested_absmax"), name);
            let offset = floats(weight.absmax_offset.as_ref().unwrap().val());
            assert_eq!(offset[0] as f64, state["nested_offset"].as_f64().unwrap());
        } else {
            assert_equal(&absmax, &file.floats("0.weight.absmax"), name);
        }
        assert_eq!(weight.config().block_size, state["blocksize"]);
    }
}

#[test]
fn outputs_and_gradients_of_the_input_are_those_of_bitsandbytes() {
    let device = Device::default().autodiff();
    for (double_quant, name, case) in CASES {
        let file = File::open(name);
        let io = File::open(&format!("{name}_io"));
        let layer = Linear4bit::from_linear(&linear(case, &file, &device), &config(double_quant));
        let [x, grads] = ["x", "grad_output"].map(|tensor| io.floats(tensor));
        let weight = floats(layer.weight.dequantize());
        let bias = file.floats("0.bias");

        let input = tensor(&x, [3, 64], DType::F32, &device).require_grad();
        let y = layer.forward(input.clone());
        // Both programs round each product and each addition.
        let magnitude = |i: usize| {
            let terms = (0..64).map(|k| x[i / 24 * 64 + k] * weight[i % 24 * 64 + k]);
            terms.map(|term| term.abs() as f64).sum::<f64>() + bias[i % 24].abs() as f64
        };
        let bound = |i| 2.0 * 66.0 * ROUNDING * magnitude(i);
        assert_within(&floats(y.clone()), &io.floats("y"), bound, name);

        let of_y = tensor(&grads, [3, 24], DType::F32, &device);
        let gradients = (y * of_y).sum().backward();
        let found = floats(input.grad(&gradients).unwrap());
        let magnitude = |i: usize| {
            let terms = (0..24).map(|k| grads[i / 64 * 24 + k] * weight[k * 64 + i % 64]);
            terms.map(|term| term.abs() as f64).sum::<f64>()
        };
        let bound = |i| 2.0 * 25.0 * ROUNDING * magnitude(i);
        assert_within(&found, &io.floats("grad_x"), bound, name);
    }
}

fn drawn(d_input: usize, d_output: usize, device: &Device) -> Linear {
    let linear = LinearConfig::new(d_input, d_output).init(device);
    linear.map(&mut Drawn::new(700, 0.2))
}

#[test]
fn the_layer_computes_with_the_weight_that_it_dequantizes() {
    let device = Device::default();
    let linear = drawn(50, 30, &device);
    for quant_type in [FourBitType::Nf4, FourBitType::Fp4] {
        for double_quant in [false, true] {
            let config = FourBitConfig::new(quant_type)
                .with_block_size(32)
                .with_double_quant(double_quant);
            let what = config.to_string();
            let layer = Linear4bit::from_linear(&linear, &config);
            let dense = layer.dequantize();
            assert_eq!(dense.weight.val().dims(), [50, 30]);

            let x = tensor(&normal(4 * 50, 1), [4, 50], DType::F32, &device);
            let y = floats(Projection::forward(&layer, x.clone()));
            let expected = floats(dense.forward(x.clone()));
            let magnitude = floats(x.abs().matmul(dense.weight.val().abs()));
            let bias = floats(dense.bias.as_ref().unwrap().val());
            let bound = |i: usize| {
                let sum = magnitude[i] as f64 + bias[i % 30].abs() as f64;
                2.0 * 52.0 * ROUNDING * sum
            };
            assert_within(&y, &expected, bound, &what);

            // Its values are their own nearest ones.
            let again = Linear4bit::from_linear(&dense, &config.with_double_quant(false));
            let [first, second] = [&layer, &again].map(|l| floats(l.weight.dequantize()));
            assert_equal(&second, &first, &what);
        }
    }
}

#[test]
fn both_layouts_of_a_linear_layer_have_the_same_codes() {
    let device = Device::default();
    let row = drawn(33, 20, &device);
    let values = row.weight.val();
    let mut column = LinearConfig::new(33, 20)
        .with_layout(LinearLayout::Col)
        .init(&device);
    column.weight = column.weight.map(|_| values.clone());
    let bytes = [row, column].map(|linear| {
        let layer = Linear4bit::from_linear(&linear, &FourBitConfig::default());
        layer.weight.to_bytes().unwrap()
    });
    assert_eq!(bytes[0], bytes[1]);
}

#[test]
fn a_record_is_loaded_exactly_and_only_into_the_same_format() {
    let device = Device::default();
    for double_quant in [false, true] {
        let config = config(double_quant);
        let layer = Linear4bit::from_linear(&drawn(70, 9, &device), &config);
        let bytes = || layer.clone().into_record().into_bytes().unwrap();
        let record = || ModuleRecord::from_bytes(bytes()).unwrap();
        let shell = |config| {
            let zeros = Tensor::<2>::zeros([70, 9], &device);
            let linear = Linear {
                weight: Param::from_tensor(zeros),
                bias: Some(Param::from_tensor(Tensor::zeros([9], &device))),
            };
            Linear4bit::from_linear(&linear, &config)
        };
        let loaded = shell(config).load_record(record());
        let x = tensor(&normal(140, 1), [2, 70], DType::F32, &device);
        assert_equal(
            &floats(loaded.forward(x.clone())),
            &floats(layer.forward(x)),
            "outputs",
        );
        assert_eq!(
            loaded.weight.to_bytes().unwrap(),
            layer.weight.to_bytes().unwrap()
        );
        let other_type = FourBitConfig {
            quant_type: FourBitType::Fp4,
            ..config
        };
        for other in [
            other_type,
            config.with_block_size(128),
            config.with_double_quant(!double_quant),
        ] {
            let error = shell(other).try_load_record(record()).unwrap_err();
            // Its layout is missing, or one of its tensors has another shape.
            assert!(error.to_string().contains("weight."), "{error}");
        }
    }
}

#[test]
fn only_the_bias_of_a_layer_is_trained() {
    let device = Device::default().autodiff();
    let layer = Linear4bit::from_linear(&drawn(40, 8, &device), &FourBitConfig::default());
    let x = tensor(&normal(80, 1), [2, 40], DType::F32, &device);
    let grads = layer.forward(x).sum().backward();
    let grads = GradientsParams::from_grads(grads, &layer);
    let bias = layer.bias.as_ref().unwrap();
    assert_equal(&floats(grads.get::<1>(bias.id).unwrap()), &[2.0; 8], "bias");
    assert_eq!(grads.len(), 1);
    let saved = layer.saved();
    assert_eq!(saved.input, SavedInput::Unused);
    assert!(saved.input_copy == 0 && !saved.weight_copy);
}

#[test]
fn a_weight_takes_4_bits_and_its_part_of_the_maxima() {
    let device = Device::default();
    let linear = drawn(256, 256, &device);
    let values = (256 * 256) as f64;
    let layer = |double_quant| Linear4bit::from_linear(&linear, &config(double_quant));
    assert_eq!(layer(false).weight.bits_per_weight(), 4.5);
    let double_quantized = layer(true).weight.bits_per_weight();
    let offset = 32.0 / values;
    let expected = FourBitConfig::default().bits_per_weight() + offset;
    assert!((double_quantized - expected).abs() < 1e-12);
    assert_eq!(
        layer(true).to_string(),
        "Linear4bit {d_input: 256, d_output: 256, bias: true, \
         weight: nf4 in blocks of 64, double quantized, params: 261}"
    );
}

#[test]
fn a_language_model_computes_with_projections_of_4_bits() {
    let device = Device::default();
    let config = BitNetLmConfig::new(32, 16, 2, 2, 24);
    let model = config.init::<Linear>(&device);
    let model = model
        .map_projections(|_, linear| Linear4bit::from_linear(&linear, &FourBitConfig::default()));
    let tokens = Tensor::<2, Int>::from_ints([[1, 2, 3]], &device);
    let logits = floats(model.forward(tokens));
    assert!(logits.iter().all(|v| v.is_finite()));
}

#[test]
#[should_panic(expected = "block_size must be a power of two from 32 to 4096, got 100")]
fn a_configuration_out_of_its_bounds_is_refused() {
    let config = FourBitConfig {
        block_size: 100,
        ..FourBitConfig::default()
    };
    Linear4bit::from_linear(&drawn(4, 4, &Device::default()), &config);
}
