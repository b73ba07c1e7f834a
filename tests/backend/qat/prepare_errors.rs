//! Errors of [`Prepare`] and [`convert`], with their messages.

use bitnet_burn::{
    qat::{ConvertError, Prepare, PrepareError, convert},
    quant::{HadamardConfig, QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::{
    module::{Lora, Module, Param, ParamGroup},
    nn::{RmsNorm, RmsNormConfig},
    tensor::{Device, Tensor},
};

use crate::support::models::{Cnn, Mlp, scheme};

fn prepare() -> Prepare {
    Prepare::new(QatScheme::weight_only())
}

#[test]
fn a_group_that_matches_nothing_is_named_with_what_there_is() {
    let prepare = prepare().with_group(ParamGroup::from_path("fc9.weight"));
    let error = prepare.apply(Cnn::new(&Device::default())).unwrap_err();
    let text = error.to_string();
    assert!(text.contains("Exact([\"fc9.weight\"])"), "{text}");
    assert!(
        text.ends_with("the model has: conv.weight, conv.bias, last.weight, last.bias"),
        "{text}"
    );
    assert!(matches!(error, PrepareError::EmptyGroup { paths, .. } if paths.len() == 4));
}

#[test]
fn a_model_of_vectors_has_nothing_to_quantize() {
    let norm: RmsNorm = RmsNormConfig::new(4).init(&Device::default());
    let error = prepare().apply(norm).unwrap_err();
    assert!(
        matches!(error, PrepareError::NothingMatched { .. }),
        "{error}"
    );
}

#[test]
fn a_second_reparameterization_is_refused() {
    let device = Device::default();
    let adapted = Mlp::new(&device).apply_lora(Lora::new(2, 4.0));
    let error = prepare().apply(adapted).unwrap_err();
    let expected = PrepareError::AlreadyReparameterized {
        path: "fc1.weight".into(),
        name: "lora".into(),
    };
    assert_eq!(error, expected);

    let prepared = prepare().apply(Mlp::new(&device)).unwrap().model;
    let error = prepare().apply(prepared).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter fc1.weight already has the reparameterization `fake_quant`, and a parameter \
         holds only one"
    );
}

#[test]
fn a_vector_in_the_group_is_refused() {
    let prepare = prepare().with_group(ParamGroup::from_path("fc1.bias"));
    let error = prepare.apply(Mlp::new(&Device::default())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter fc1.bias of shape [12] cannot be quantized: a weight has two dimensions or more"
    );
}

#[test]
fn a_group_size_that_does_not_divide_is_refused() {
    let scheme = scheme(WeightGranularity::PerGroup { group_size: 5 });
    let error = Prepare::new(scheme)
        .apply(Mlp::new(&Device::default()))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter fc1.weight of shape [8, 12]: group_size 5 does not divide the 8 input features"
    );
    let source = std::error::Error::source(&error).expect("a cause");
    assert_eq!(
        source.to_string(),
        "group_size 5 does not divide the 8 input features"
    );
}

#[test]
fn a_model_that_was_not_prepared_is_not_converted() {
    let model = Mlp::new(&Device::default());
    let error = convert(&model).unwrap_err();
    assert_eq!(error, ConvertError::NotPrepared);
}

#[test]
fn a_model_without_ternary_codes_is_not_converted() {
    let scheme = QatScheme::weight_only().with_weight(WeightQuantizer::symmetric(4));
    let prepared = Prepare::new(scheme).apply(Mlp::new(&Device::default()));
    let error = convert(&prepared.unwrap().model).unwrap_err();
    assert_eq!(error, ConvertError::NotTernary);
}

#[test]
fn a_weight_that_is_not_finite_is_not_converted() {
    let device = Device::default();
    for bad in [f32::NAN, f32::INFINITY] {
        let mut model = Mlp::new(&device);
        let weight = Tensor::<2>::full([12, 12], bad, &device);
        model.fc2.weight = Param::from_tensor(weight);
        let model = prepare().apply(model).unwrap().model;
        let error = convert(&model).unwrap_err();
        assert_eq!(
            error.to_string(),
            "parameter fc2.weight holds a NaN or infinity"
        );
    }
}

#[test]
fn a_scheme_that_quantizes_activations_is_refused() {
    let error = Prepare::new(QatScheme::b1_58()).apply(Mlp::new(&Device::default()));
    assert_eq!(
        error.unwrap_err().to_string(),
        "activations stay in float in a prepared model, and the scheme is ternary absmean per tensor, \
         int8 absmax per token: take `QatScheme::weight_only`, or `BitLinear` layers"
    );
    let rotated = QatScheme::weight_only().with_rotation(Some(HadamardConfig::largest()));
    let error = Prepare::new(rotated).apply(Mlp::new(&Device::default()));
    assert!(matches!(error, Err(PrepareError::Activations { .. })));
}
