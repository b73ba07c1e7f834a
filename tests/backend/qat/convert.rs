//! Models of Burn layers, prepared: trained, saved, converted.

use bitnet_burn::{
    functions::ternary_fake_quant,
    qat::{FakeQuant, Prepare, convert},
    quant::WeightGranularity,
};
use burn::{
    module::Module,
    optim::{AdamWConfig, GradientsParams},
    store::ModuleRecord,
    tensor::{DType, Device, Tensor},
};

use crate::support::{
    models::{Cnn, Mlp, scheme},
    values::*,
};

/// Creates a prepared model and trains a few steps.
fn trained(granularity: WeightGranularity) -> (Mlp, Tensor<2>) {
    let device = Device::default().autodiff();
    let x = tensor(&normal(10 * 8, 1), [10, 8], DType::F32, &device);
    let target = tensor(&normal(10 * 3, 2), [10, 3], DType::F32, &device);
    let prepared = Prepare::new(scheme(granularity)).apply(Mlp::new(&device));
    let mut model = prepared.unwrap().model;
    let mut optimizer = AdamWConfig::new().init();
    for _ in 0..training_steps() {
        let loss = (model.forward(x.clone()) - target.clone()).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        assert_eq!(grads.len(), 6);
        model = optimizer.step(0.01, model, grads);
    }
    (model, x)
}

const GRANULARITIES: [WeightGranularity; 3] = [
    WeightGranularity::PerTensor,
    WeightGranularity::PerChannel,
    WeightGranularity::PerGroup { group_size: 4 },
];

#[test]
fn training_moves_float_weights_and_uses_ternary_ones() {
    for granularity in GRANULARITIES {
        let (model, _) = trained(granularity);
        for linear in [&model.fc1, &model.fc2] {
            let base = linear.weight.base();
            let groups = granularity.groups(&base.dims(), 1).unwrap();
            let latent = floats(base.clone());
            let effective = floats(linear.weight.val());
            let mut distinct = latent.clone();
            distinct.sort_by(f32::total_cmp);
            distinct.dedup();
            assert!(
                distinct.len() > latent.len() / 2,
                "{granularity:?}: not float"
            );

            let (expected, scales) = ternary_fake_quant(base, groups);
            assert_equal(&effective, &floats(expected), &format!("{granularity:?}"));
            let scales = floats(scales);
            for (i, value) in effective.iter().enumerate() {
                let scale = scales[groups.scale_index(i)];
                assert!(
                    [-scale, 0.0, scale].contains(value),
                    "{granularity:?}: {value}"
                );
            }
        }
        let head = &model.head.weight;
        assert_equal(
            &floats(head.val()),
            &floats(head.base()),
            "the head is float",
        );
    }
}

#[test]
fn a_record_restores_the_latent_weights() {
    let (model, x) = trained(WeightGranularity::PerChannel);
    let bytes = model.clone().into_record().into_bytes().unwrap();
    let fresh = Mlp::new(&Device::default().autodiff());
    let fresh = Prepare::new(scheme(WeightGranularity::PerChannel))
        .apply(fresh)
        .unwrap();
    let restored = fresh
        .model
        .load_record(ModuleRecord::from_bytes(bytes).unwrap());
    let (a, b) = (model.fc1.weight.base(), restored.fc1.weight.base());
    assert_equal(&floats(b), &floats(a), "latent weight");
    assert!(
        restored
            .fc1
            .weight
            .reparameterization::<FakeQuant>()
            .is_some()
    );
    let (a, b) = (model.forward(x.clone()), restored.forward(x));
    assert_equal(&floats(b), &floats(a), "output");
}

#[test]
fn validation_uses_the_same_weights_without_gradients() {
    let (model, x) = trained(WeightGranularity::PerTensor);
    let valid = model.valid();
    assert!(!valid.fc1.weight.val().is_autodiff());
    let expected = floats(model.forward(x.clone()));
    assert_equal(&floats(valid.forward(x.inner())), &expected, "output");
}

#[test]
fn converted_weights_are_those_that_were_trained() {
    for granularity in GRANULARITIES {
        let (model, x) = trained(granularity);
        let packed = convert(&model).unwrap();
        let paths: Vec<&String> = packed.weights.keys().collect();
        assert_eq!(paths, ["fc1.weight", "fc2.weight"]);
        for (path, linear) in [("fc1.weight", &model.fc1), ("fc2.weight", &model.fc2)] {
            let weight = linear.weight.val();
            let unpacked = packed.weights[path].unpack_like(weight.dims(), 1);
            assert_equal(&floats(unpacked), &floats(weight), path);
        }
        // 12 rows of one word, twice, and the scales.
        let scales = match granularity {
            WeightGranularity::PerTensor => 2,
            WeightGranularity::PerChannel => 24,
            _ => 12 * 2 + 12 * 3,
        };
        assert_eq!(packed.num_bytes(), 4 * (2 * 12 + scales));

        // A model with dense ternary weights, which are not quantized again.
        let dense = packed.unpack_into(model.valid());
        assert!(dense.fc1.weight.reparameterization::<FakeQuant>().is_none());
        let expected = floats(model.fc2.weight.val());
        assert_equal(&floats(dense.fc2.weight.val()), &expected, "dense weight");
        // The weights of equal value may lie transposed in memory, for which a backend may add
        // in another order: two dot products of 8 and 12 terms and one of 12, all below 1.
        let bound = |_: usize| 2.0 * (8.0 + 12.0 + 12.0) * ROUNDING;
        let expected = floats(model.forward(x.clone()));
        assert_within(
            &floats(dense.forward(x.inner())),
            &expected,
            bound,
            "output",
        );
    }
}

#[test]
fn a_convolution_converts_to_the_weight_that_it_uses() {
    let device = Device::default();
    for granularity in [WeightGranularity::PerTensor, WeightGranularity::PerChannel] {
        let scheme = scheme(granularity);
        let model = Prepare::new(scheme.clone())
            .apply(Cnn::new(&device))
            .unwrap()
            .model;
        let weight = model.conv.weight.val();
        let packed = convert(&model).unwrap();
        let unpacked = packed.weights["conv.weight"].unpack_like(weight.dims(), 0);
        assert_equal(&floats(unpacked), &floats(weight), "weight");
        let x = tensor(&normal(2 * 16, 3), [1, 2, 4, 4], DType::F32, &device);
        let expected = floats(model.forward(x.clone()));
        let dense = packed.unpack_into(model);
        assert_equal(&floats(dense.forward(x)), &expected, "output");
    }
}
