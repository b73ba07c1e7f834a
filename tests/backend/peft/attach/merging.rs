//! Merged and detached adapters.

use bitnet_burn::{
    peft::{AttachError, detach_adapters, merge_adapters},
    qat::Prepare,
    quant::QatScheme,
};
use burn::module::ParamGroup;

use super::*;

#[test]
fn merged_weights_give_the_same_outputs() {
    for config in [hidden(4), hidden(4).with_dora(), hidden(4).with_rslora()] {
        let net = Net::new(&device());
        let adapted = drawn(attached(net.clone(), config).model, 30);
        let expected = outputs(&adapted);
        assert_ne!(expected, outputs(&net));
        let merged = merge_adapters(adapted).unwrap();
        assert_eq!(merged.num_params(), net.num_params());
        assert_close(&outputs(&merged), &expected, "merged");
        // The record is that of a model that never had an adapter, also of a layer in column layout.
        let loaded =
            Net::initial(&device(), LinearLayout::Col).load_record(merged.clone().into_record());
        assert_eq!(values(&loaded).values, values(&merged).values);
    }
}

#[test]
fn detaching_gives_the_base_back_bit_for_bit() {
    let net = Net::new(&device());
    let adapted = drawn(attached(net.clone(), hidden(4).with_dora()).model, 30);
    let detached = detach_adapters(adapted).unwrap();
    assert_eq!(values(&detached).values, values(&net).values);
    assert!(values(&detached).trains.is_empty());
    assert_eq!(
        values(&detached.clone().unfreeze()).trains.len(),
        values(&net).trains.len()
    );
    assert_equal(&outputs(&detached), &outputs(&net), "detached");
    let loaded = Net::initial(&device(), LinearLayout::Col).load_record(detached.into_record());
    assert_eq!(values(&loaded).values, values(&net).values);
}

#[test]
fn other_weights_keep_their_quantizers() {
    let head = ParamGroup::from_path("head.weight");
    let prepare = Prepare::new(QatScheme::weight_only()).with_group(head);
    let prepared = prepare.apply(Net::new(&device())).unwrap().model;
    let adapted = drawn(attached(prepared.clone(), hidden(4)).model, 30);
    assert_close(
        &outputs(&merge_adapters(adapted.clone()).unwrap()),
        &outputs(&adapted),
        "merged",
    );
    let detached = detach_adapters(adapted).unwrap();
    assert_equal(&outputs(&detached), &outputs(&prepared), "detached");
}

#[test]
fn a_model_without_adapters_is_refused() {
    let error = merge_adapters(Net::new(&device())).unwrap_err();
    assert!(matches!(error, AttachError::NotAttached), "{error}");
    let error = detach_adapters(Net::new(&device())).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no parameter of the model has an attached adapter"
    );
}
