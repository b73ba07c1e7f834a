//! Errors of attaching, with their messages.

use bitnet_burn::peft::{Attach, AttachError, LoraInit, PeftError};
use burn::{
    module::{Lora, ParamGroup, Quantizer},
    tensor::quantization::{Calibration, QuantValue},
};

use super::*;

fn error(net: Net, config: LoraConfig) -> AttachError {
    Attach::new(config).apply(net).unwrap_err()
}

fn names(names: &[&str]) -> LoraConfig {
    LoraConfig::new(2).with_targets(TargetModules::names(names.iter().copied()))
}

#[test]
fn targets_that_match_nothing_are_an_error_that_lists_the_layers() {
    let error = error(Net::new(&device()), names(&["query"]));
    assert_eq!(
        error.to_string(),
        r#"target_modules ["query"] match no `Linear` of the model, which has fc.0, fc.1, head"#
    );
}

#[test]
fn modules_of_other_types_are_named() {
    for (name, kind) in [
        ("embed", "Embedding"),
        ("norm", "LayerNorm"),
        ("conv", "Conv2d"),
    ] {
        let error = error(Net::new(&device()), names(&["head", name]));
        let AttachError::NotLinear {
            module,
            kind: found,
        } = &error
        else {
            panic!("{error}");
        };
        assert_eq!((module.as_str(), found.as_str()), (name, kind));
    }
    let text = error(Net::new(&device()), names(&["embed"])).to_string();
    assert_eq!(
        text,
        "target_modules match embed, which is no `Linear` but a `Embedding`: only weights of `Linear` are \
         adapted, exclude it"
    );
}

#[test]
fn dropout_is_refused() {
    let error = error(Net::new(&device()), hidden(2).with_dropout(0.1));
    assert_eq!(
        error.to_string(),
        "dropout 0.1 acts on the input of an adapter, and an attached adapter sees only the weight: set it to 0"
    );
}

#[test]
fn a_second_reparameterization_is_named() {
    let net = attached(Net::new(&device()), hidden(2)).model;
    let again = error(net, hidden(2));
    assert_eq!(
        again.to_string(),
        "parameter fc.0.weight already has the reparameterization `adapter`, and a parameter holds only one"
    );
    let group = ParamGroup::from_path("fc.1.weight");
    let net = Net::new(&device()).apply_lora(Lora::new(2, 4.0).set_param_group(group));
    let of_burn = error(net.clone(), hidden(2));
    assert!(
        matches!(&of_burn, AttachError::AlreadyReparameterized { path, name }
            if path == "fc.1.weight" && name == "lora"),
        "{of_burn}"
    );
    // One beside the targets stays.
    let head = attached(net, names(&["head"])).model;
    assert!(head.fc[1].weight.adapter().is_some());
}

#[test]
fn a_shared_weight_is_refused_with_its_places() {
    let mut net = Net::new(&device());
    net.fc[0] = net.fc[1].clone();
    let error = error(net, hidden(2));
    assert!(
        matches!(&error, AttachError::Shared { paths } if *paths == ["fc.0.weight", "fc.1.weight"]),
        "{error}"
    );
}

#[test]
fn ranks_without_factors_are_refused() {
    for (init, rank, expected) in [
        (
            LoraInit::Orthogonal,
            3,
            "the rank of fc.0 must be even for init orthogonal, got 3",
        ),
        (
            LoraInit::Pissa,
            13,
            "the rank of fc.0 must be at most 12 for init pissa, got 13",
        ),
    ] {
        let error = error(Net::new(&device()), hidden(rank).with_init(init));
        assert!(
            matches!(error, AttachError::Config(PeftError::OutOfBounds(_))),
            "{error}"
        );
        assert_eq!(error.to_string(), expected);
    }
    let error = error(Net::new(&device()), hidden(0));
    assert_eq!(error.to_string(), "rank must be 1 or more, got 0");
}

#[test]
fn codes_of_burn_are_refused() {
    if !on_flex() {
        return;
    }
    let scheme = Device::default().settings().quantization.scheme;
    let scheme = scheme.with_value(QuantValue::Q8S);
    let mut quantizer = Quantizer::new(Calibration::MinMax, scheme);
    let net = Net::new(&Device::default());
    let group = ParamGroup::from_path("fc.0.weight");
    let error = error(net.quantize_weights_group(&mut quantizer, group), hidden(2));
    assert!(
        matches!(&error, AttachError::Packed { path, .. } if path == "fc.0.weight"),
        "{error}"
    );
}
