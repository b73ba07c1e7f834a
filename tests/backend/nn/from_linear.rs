//! Full-precision layers and models converted to BitNet with the same weights.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, BitNetLmConfig},
    qat::{PackedWeight, QuantControls},
    quant::{HadamardConfig, QatScheme, WeightQuantizer},
};
use burn::{
    module::{Module, Param},
    nn::{Linear, LinearConfig, LinearLayout},
    optim::{AdamWConfig, GradientsParams},
    store::ModuleRecord,
    tensor::{DType, Device, Int, Tensor},
};

use crate::support::values::*;

fn linear(layout: LinearLayout, device: &Device) -> Linear {
    LinearConfig::new(12, 6).with_layout(layout).init(device)
}

fn input(device: &Device) -> Tensor<2> {
    tensor(&normal(5 * 12, 1), [5, 12], DType::F32, device)
}

#[test]
fn at_lambda_zero_a_layer_is_the_linear_one_in_either_layout() {
    let device = Device::default();
    for layout in [LinearLayout::Row, LinearLayout::Col] {
        let linear = linear(layout, &device);
        let layer = BitLinear::from_linear(linear.clone(), &QatScheme::b1_58());
        assert_eq!(layer.weight.val().dims(), [12, 6]);
        assert_equal(
            &floats(layer.weight.val()),
            &floats(linear.weight.val()),
            "latent weight",
        );
        QuantControls::of(&layer).set_lambda(0.0);
        let expected = floats(linear.forward(input(&device)));
        assert_equal(
            &floats(layer.forward(input(&device))),
            &expected,
            "at lambda 0",
        );
    }
}

#[test]
fn a_record_of_a_layer_is_the_same_from_either_layout() {
    let device = Device::default();
    for layout in [LinearLayout::Row, LinearLayout::Col] {
        let layer = BitLinear::from_linear(linear(layout, &device), &QatScheme::b1_58());
        let bytes = layer.clone().into_record().into_bytes().unwrap();
        let record = ModuleRecord::from_bytes(bytes).unwrap();
        let other = linear(LinearLayout::Row, &device);
        let loaded = BitLinear::from_linear(other, &QatScheme::b1_58()).load_record(record);
        assert_equal(
            &floats(loaded.weight.val()),
            &floats(layer.weight.val()),
            "weight of the record",
        );
    }
}

#[test]
fn parameters_keep_their_identifiers_and_whether_they_are_trained() {
    let device = Device::default().autodiff();
    let mut linear = linear(LinearLayout::Col, &device);
    linear.bias = linear.bias.map(|bias| bias.set_require_grad(false));
    let (weight, bias) = (linear.weight.id, linear.bias.as_ref().unwrap().id);
    let layer = BitLinear::from_linear(linear, &QatScheme::b1_58());
    assert_eq!(layer.weight.id, weight);
    assert_eq!(layer.bias.as_ref().unwrap().id, bias);
    let loss = layer.forward(input(&device)).sum();
    let grads = GradientsParams::from_grads(loss.backward(), &layer);
    assert!(grads.get::<2>(weight).is_some());
    assert!(grads.get::<1>(bias).is_none());
}

#[test]
#[should_panic(expected = "made from a plain weight")]
fn a_weight_that_is_already_fake_quantized_is_refused() {
    use bitnet_burn::qat::Prepare;
    let linear = linear(LinearLayout::Row, &Device::default());
    let prepared = Prepare::new(QatScheme::weight_only()).apply(linear);
    BitLinear::from_linear(prepared.unwrap().model, &QatScheme::b1_58());
}

fn config() -> BitNetLmConfig {
    BitNetLmConfig::new(11, 8, 1, 2, 16)
        .with_n_kv_heads(Some(1))
        .with_max_positions(4)
}

fn tokens(device: &Device) -> Tensor<2, Int> {
    Tensor::from_ints([[1, 5, 10, 3], [0, 2, 2, 7]], device)
}

#[test]
fn at_lambda_zero_a_model_has_the_logits_of_full_precision() {
    let device = Device::default();
    for tied in [true, false] {
        let full: BitNetLm<Linear> = config().with_tied_embeddings(tied).init(&device);
        let model = full.clone().into_bitnet(&QatScheme::b1_58());
        let expected = floats(full.forward(tokens(&device)));
        let controls = QuantControls::of(&model);
        assert_eq!(controls.len(), 2 * 7);
        assert_ne!(floats(model.forward(tokens(&device))), expected);
        controls.set_lambda(0.0);
        assert_equal(
            &floats(model.forward(tokens(&device))),
            &expected,
            "logits at lambda 0",
        );
    }
}

/// Copies the parameters of a full-precision model one by one into a BitNet model.
fn filled(mut model: BitNetLm, full: &BitNetLm<Linear>) -> BitNetLm {
    let weight = |linear: &Linear| Param::from_tensor(linear.weight.val());
    model.model.embed_tokens = full.model.embed_tokens.clone();
    for (layer, full) in model.model.layers.iter_mut().zip(&full.model.layers) {
        layer.self_attn.q_proj.weight = weight(&full.self_attn.q_proj);
        layer.self_attn.k_proj.weight = weight(&full.self_attn.k_proj);
        layer.self_attn.v_proj.weight = weight(&full.self_attn.v_proj);
        layer.self_attn.o_proj.weight = weight(&full.self_attn.o_proj);
        layer.mlp.gate_proj.weight = weight(&full.mlp.gate_proj);
        layer.mlp.up_proj.weight = weight(&full.mlp.up_proj);
        layer.mlp.down_proj.weight = weight(&full.mlp.down_proj);
    }
    model
}

#[test]
fn at_lambda_one_a_model_is_a_bitnet_with_these_weights() {
    let device = Device::default();
    let full: BitNetLm<Linear> = config().init(&device);
    // With the rotation, which only the output projections of a block have.
    let rotated = QatScheme::b1_58().with_rotation(Some(HadamardConfig::new(8)));
    for scheme in [QatScheme::b1_58(), rotated] {
        let model = full.clone().into_bitnet(&scheme);
        let other = filled(config().with_scheme(scheme).init(&device), &full);
        assert_equal(
            &floats(model.forward(tokens(&device))),
            &floats(other.forward(tokens(&device))),
            "logits at lambda 1",
        );
    }
}

#[test]
fn a_model_trains_and_packs_what_it_trained() {
    let device = Device::default().autodiff();
    let full: BitNetLm<Linear> = config().init(&device);
    let mut model = full.into_bitnet(&QatScheme::b1_58());
    let before = floats(model.model.layers[0].mlp.down_proj.weight.val());
    let mut optimizer = AdamWConfig::new().init();
    for _ in 0..training_steps().min(3) {
        let loss = model.forward(tokens(&device)).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        // 7 projections, 5 norms and the embedding.
        assert_eq!(grads.len(), 13);
        model = optimizer.step(0.01, model, grads);
    }
    let down_proj = &model.model.layers[0].mlp.down_proj;
    assert_ne!(floats(down_proj.weight.val()), before);
    let packed = model.pack();
    let unpacked: &PackedWeight = &packed.model.layers[0].mlp.down_proj.weight;
    assert_equal(
        &floats(unpacked.unpack_like([16, 8], 1)),
        &floats(down_proj.quantized_weight()),
        "packed weight",
    );
}

#[test]
fn a_model_that_is_quantized_already_takes_another_scheme() {
    let device = Device::default();
    let config = BitNetLmConfig::new(16, 32, 1, 2, 64).with_max_positions(8);
    let lm: BitNetLm = config.init(&device);
    let scheme = QatScheme::b1_58()
        .with_weight(WeightQuantizer::symmetric(4))
        .with_rotation(Some(HadamardConfig::new(32)));
    let expected: BitNetLm = config.clone().with_scheme(scheme.clone()).init(&device);
    let quantizers = |lm: &BitNetLm| -> Vec<String> {
        let controls = QuantControls::of(lm);
        let texts = controls
            .quantizers()
            .map(|(path, settings)| format!("{path}: {settings:?}"));
        texts.collect()
    };
    assert_ne!(quantizers(&lm), quantizers(&expected));
    let other = lm.clone().with_scheme(&scheme);
    assert_eq!(quantizers(&other), quantizers(&expected));
    // The latent weights and their identifiers stay.
    let weight = |lm: &BitNetLm| lm.model.layers[0].self_attn.q_proj.weight.clone();
    assert_eq!(weight(&other).id, weight(&lm).id);
    assert_equal(
        &floats(weight(&other).val()),
        &floats(weight(&lm).val()),
        "latent weight",
    );
    // A projection that is left out of quantization stays so.
    QuantControls::of(&lm.model.layers[0].mlp).set_excluded(true);
    let other = lm.with_scheme(&scheme);
    assert!(other.model.layers[0].mlp.gate_proj.is_full_precision());
    assert!(!other.model.layers[0].self_attn.q_proj.is_full_precision());
}
