//! The invariant of this crate: the packed weight equals the trained weight, bit for bit (except for
//! the sign of zeros, which packed codes do not have).

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    qat::PackedWeight,
    quant::{QatScheme, Ste, WeightGranularity, WeightQuantizer},
};
use burn::{
    module::{Module, Param},
    optim::{AdamWConfig, GradientsParams},
    tensor::{DType, Device, Tensor, module::linear},
};

use crate::support::values::*;

fn quantizers(group_size: usize) -> [WeightQuantizer; 3] {
    [
        WeightGranularity::PerTensor,
        WeightGranularity::PerChannel,
        WeightGranularity::PerGroup { group_size },
    ]
    .map(WeightQuantizer::ternary)
}

/// Compares the fake-quantized and the packed weight for every granularity and type.
fn check<const D: usize>(shape: [usize; D], output_axis: usize, group_size: usize) {
    let device = Device::default();
    let values = normal(shape.iter().product(), 1);
    for dtype in float_types(&device) {
        for quantizer in quantizers(group_size) {
            let what = format!("{shape:?} {dtype:?} {quantizer:?}");
            let weight = tensor(&values, shape, dtype, &device);
            let groups = quantizer.groups(&shape, output_axis).unwrap();
            let (fake, _) = quantizer.fake_quant(weight.clone(), groups, Ste::Identity);
            let packed = PackedWeight::from_latent(weight, &quantizer, output_axis);
            let unpacked = packed.unpack_like(shape, output_axis);
            assert_eq!(unpacked.dtype(), dtype, "{what}");
            assert_equal(&floats(unpacked), &floats(fake), &what);
        }
    }
}

#[test]
fn of_linear_weights() {
    for (shape, group_size) in [
        ([1, 1], 1),
        ([8, 17], 4),
        ([16, 16], 16),
        ([40, 33], 8),
        ([96, 64], 32),
    ] {
        check(shape, 1, group_size);
    }
}

#[test]
fn of_embedding_weights() {
    check([33, 40], 0, 8);
}

#[test]
fn of_convolution_weights() {
    check([8, 3, 3, 3], 0, 9);
    check([4, 5, 3], 0, 5);
}

/// Compares the weight of a layer and of its packed form, and their outputs for the same input.
fn check_layer(layer: &BitLinear, what: &str) {
    let layer = layer.valid();
    let [d_input, d_output] = layer.weight.val().dims();
    let packed = layer.pack();
    let weight = layer.quantized_weight();
    let unpacked = packed.weight.unpack_like([d_input, d_output], 1);
    assert_equal(&floats(unpacked), &floats(weight.clone()), what);

    let device = weight.device();
    let x = tensor(&normal(5 * d_input, 7), [5, d_input], DType::F32, &device);
    let expected = floats(layer.forward(x.clone()));

    // The packed weight lies transposed in memory, for which a backend may add the products in
    // another order: one rounding for each product and addition on either side, relative to the
    // sum of the magnitudes.
    let norm = layer.rms_norm.as_ref().unwrap();
    let input_quant = layer.input_quant.as_ref().unwrap();
    let x_q = input_quant.forward(norm.forward(x.clone()));
    let bias = layer.bias.as_ref().unwrap().val().abs();
    let terms = floats(linear(x_q.abs(), weight.abs(), Some(bias)));
    let bound = |i: usize| 2.0 * (d_input as f64 + 1.0) * ROUNDING * terms[i] as f64;
    assert_within(&floats(packed.forward(x)), &expected, bound, what);
}

fn layer(
    d_input: usize,
    d_output: usize,
    quantizer: WeightQuantizer,
    device: &Device,
) -> BitLinear {
    let mut layer = BitLinearConfig::new(d_input, d_output)
        .with_bias(true)
        .with_rms_norm_epsilon(Some(1e-6))
        .with_scheme(QatScheme::b1_58().with_weight(quantizer))
        .init(device);
    let weight = normal(d_input * d_output, 2);
    let weight = tensor(&weight, [d_input, d_output], DType::F32, device);
    layer.weight = Param::from_tensor(weight);
    layer
}

#[test]
fn of_layers_and_their_outputs() {
    let device = Device::default();
    for (d_input, d_output, group_size) in [(8, 17, 4), (40, 33, 8), (64, 32, 32)] {
        for quantizer in quantizers(group_size) {
            let what = format!("{d_input} -> {d_output} {quantizer:?}");
            check_layer(&layer(d_input, d_output, quantizer, &device), &what);
        }
    }
}

#[test]
fn of_layers_that_were_trained() {
    let device = Device::default().autodiff();
    let x = tensor(&normal(16 * 12, 3), [16, 12], DType::F32, &device);
    let target = tensor(&normal(16 * 6, 4), [16, 6], DType::F32, &device);
    for quantizer in quantizers(4) {
        let mut layer = layer(12, 6, quantizer, &device);
        let before = floats(layer.weight.val());
        let mut optimizer = AdamWConfig::new().init();
        for _ in 0..training_steps() {
            let loss = (layer.forward(x.clone()) - target.clone()).square().mean();
            let grads = GradientsParams::from_grads(loss.backward(), &layer);
            layer = optimizer.step(0.02, layer, grads);
        }
        assert_ne!(floats(layer.weight.val()), before, "no training took place");
        check_layer(&layer, "trained");
    }
}

#[test]
fn and_the_packed_form_takes_two_bits_per_weight() {
    let device = Device::default();
    let weight = Tensor::<2>::ones([64, 32], &device);
    let packed = PackedWeight::from_latent(weight, &WeightQuantizer::default(), 1);
    // 32 channels of 64 codes of 2 bits, and one scale of 32.
    assert_eq!(packed.num_bytes(), 32 * 64 * 2 / 8 + 4);
    assert_eq!(packed.dims(), [32, 64]);
}
