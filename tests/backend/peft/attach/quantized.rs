//! Adapters on weights with a fake quantizer.

use bitnet_burn::{
    functions::{Groups, ternary_fake_quant},
    peft::{
        AdaptedWeight, Attach, AttachError, LoraInit, QuantizedPart, detach_adapters,
        merge_adapters,
    },
    qat::{Prepare, PrepareError, QuantControls, convert},
    quant::{BitWidth, QatScheme, WeightQuantizer},
};
use burn::module::{Lora, ParamGroup};

use super::*;

fn layers() -> ParamGroup {
    ParamGroup::from_paths(vec!["fc.0.weight", "fc.1.weight", "head.weight"])
}

fn prepared(scheme: QatScheme) -> Net {
    let prepare = Prepare::new(scheme).with_group(layers());
    prepare.apply(Net::new(&device())).unwrap().model
}

fn adapted(part: QuantizedPart, config: LoraConfig) -> Net {
    let attach = Attach::new(config).with_quantized_part(part);
    let attached = attach.apply(prepared(QatScheme::weight_only())).unwrap();
    drawn(attached.model, 50)
}

/// The second layer's factors, and its effective weight.
fn parts(net: &Net) -> (Tensor<2>, Tensor<2>, Tensor<2>) {
    let weight = &net.fc[1].weight;
    let lora = &weight.reparameterization::<AdaptedWeight>().unwrap().lora;
    (weight.base(), lora.delta(), weight.val())
}

fn quantize(weight: Tensor<2>) -> Tensor<2> {
    let groups = Groups::per_tensor(weight.shape().num_elements());
    ternary_fake_quant(weight, groups).0
}

#[test]
fn an_untrained_adapter_keeps_the_quantized_weights() {
    let learned =
        QatScheme::weight_only().with_weight(WeightQuantizer::learned_step(BitWidth::Ternary));
    for scheme in [QatScheme::weight_only(), learned] {
        let net = prepared(scheme);
        for part in [QuantizedPart::Base, QuantizedPart::Sum] {
            for config in [hidden(3), hidden(3).with_dora()] {
                let attach = Attach::new(config).with_quantized_part(part);
                let attached = attach.apply(net.clone()).unwrap();
                assert_equal(
                    &outputs(&attached.model),
                    &outputs(&net),
                    &format!("{part:?}"),
                );
                let trains = values(&attached.model).trains;
                assert!(
                    trains.iter().all(|path| path.contains(".lora.")),
                    "{trains:?}"
                );
                let detached = detach_adapters(attached.model).unwrap();
                assert_equal(&outputs(&detached), &outputs(&net), "detached");
                assert_eq!(values(&detached).values, values(&net).values);
            }
        }
    }
}

#[test]
fn the_base_or_the_sum_is_quantized() {
    let (base, delta, value) = parts(&adapted(QuantizedPart::Base, hidden(3)));
    assert_equal(
        &floats(value),
        &floats(quantize(base) + delta),
        "Q(W) + s A B",
    );
    let (base, delta, value) = parts(&adapted(QuantizedPart::Sum, hidden(3)));
    assert_equal(
        &floats(value),
        &floats(quantize(base + delta)),
        "Q(W + s A B)",
    );
}

#[test]
fn merging_keeps_the_outputs_and_the_quantizer_of_a_sum() {
    for config in [hidden(3), hidden(3).with_dora()] {
        let sum = adapted(QuantizedPart::Sum, config.clone());
        let expected = outputs(&sum);
        let merged = merge_adapters(sum).unwrap();
        assert_equal(&outputs(&merged), &expected, "sum");
        assert_eq!(QuantControls::of(&merged).len(), 3);
        assert_eq!(convert(&merged).unwrap().weights.len(), 3);

        let base = adapted(QuantizedPart::Base, config);
        let expected = outputs(&base);
        let merged = merge_adapters(base).unwrap();
        assert_close(&outputs(&merged), &expected, "base");
        let controls = QuantControls::of(&merged);
        assert_eq!(controls.paths().collect::<Vec<_>>(), ["head.weight"]);
    }
}

#[test]
fn controls_stay_connected() {
    let net = prepared(QatScheme::weight_only());
    let controls = QuantControls::of(&net);
    for part in [QuantizedPart::Base, QuantizedPart::Sum] {
        let attach = Attach::new(hidden(3)).with_quantized_part(part);
        let model = drawn(attach.apply(net.clone()).unwrap().model, 50);
        let of_model = QuantControls::of(&model);
        assert_eq!(
            of_model.paths().collect::<Vec<_>>(),
            controls.paths().collect::<Vec<_>>()
        );
        assert!(of_model.is_part_of(&controls));
        let quantized = outputs(&model);
        controls.set_lambda(0.0);
        assert_ne!(outputs(&model), quantized, "full precision");
        controls.set_lambda(1.0);
        // Merging a copy changes nothing here.
        merge_adapters(model.clone()).unwrap();
        assert_equal(&outputs(&model), &quantized, "quantized again");
    }
}

#[test]
fn gradients_pass_the_quantizer_of_a_sum() {
    let model = adapted(QuantizedPart::Sum, hidden(3));
    let weight = &model.fc[0].weight;
    let lora = &weight.reparameterization::<AdaptedWeight>().unwrap().lora;
    let g = tensor(
        &normal(36 * 12, 9),
        [36, 12],
        burn::tensor::DType::F32,
        &device(),
    );
    let grads = (weight.val() * g.clone()).sum().backward();
    // The straight-through estimator: as without the quantizer.
    let expected = g.matmul(lora.b.val().detach().transpose()) * lora.scaling;
    assert_close(
        &floats(lora.a.val().grad(&grads).unwrap()),
        &floats(expected),
        "A",
    );
    assert!(weight.base().grad(&grads).is_none());
}

#[test]
fn an_init_of_the_weight_needs_a_float_base() {
    let config = hidden(3).with_init(LoraInit::Pissa);
    let net = prepared(QatScheme::weight_only());
    let error = Attach::new(config.clone()).apply(net.clone()).unwrap_err();
    assert!(
        error.to_string().contains("which is fake-quantized here"),
        "{error}"
    );
    let attach = Attach::new(config).with_quantized_part(QuantizedPart::Sum);
    assert_eq!(attach.apply(net).unwrap().report.modules.len(), 2);
}

#[test]
fn a_weight_with_an_adapter_is_not_prepared() {
    let net = attached(Net::new(&device()), hidden(2)).model;
    let prepare = Prepare::new(QatScheme::weight_only()).with_group(layers());
    let error = prepare.apply(net).unwrap_err();
    let expected = PrepareError::AlreadyReparameterized {
        path: "fc.0.weight".to_string(),
        name: "adapter".to_string(),
    };
    assert_eq!(error, expected);
}

#[test]
fn a_reparameterization_that_would_be_lost_is_named() {
    let head = ParamGroup::from_path("head.weight");
    let net = Net::new(&device()).apply_lora(Lora::new(2, 4.0).set_param_group(head));
    let layers = ParamGroup::from_paths(vec!["fc.0.weight", "fc.1.weight"]);
    let prepare = Prepare::new(QatScheme::weight_only()).with_group(layers);
    let net = prepare.apply(net).unwrap().model;
    let error = Attach::new(hidden(2)).apply(net).unwrap_err();
    assert!(
        matches!(&error, AttachError::Foreign { path, name } if path == "head.weight" && name == "lora"),
        "{error}"
    );
}
