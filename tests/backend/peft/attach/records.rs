//! Records of adapted models, and of the adapters alone.

use burn::store::ModuleRecord;

use super::*;

fn reread(record: ModuleRecord) -> ModuleRecord {
    ModuleRecord::from_bytes(record.into_bytes().unwrap()).unwrap()
}

#[test]
fn a_record_holds_model_and_adapters() {
    // Burn 0.22.1 loads the transposed weight of a column layout only into a layer without values.
    let net = |seed| {
        let net = Net::initial(&device(), LinearLayout::Row);
        net.map(&mut Drawn::new(seed, 0.3))
    };
    let config = hidden(3).with_dora();
    let model = drawn(attached(net(1), config.clone()).model, 40);
    let other = attached(net(8), config).model;
    assert_ne!(outputs(&other), outputs(&model));
    let loaded = other.load_record(reread(model.clone().into_record()));
    assert_equal(&outputs(&loaded), &outputs(&model), "loaded");
    assert_eq!(values(&loaded).trains, values(&model).trains);
}

#[test]
fn a_record_of_the_adapters_alone_is_added_to_the_base() {
    let mut config = hidden(3).with_dora();
    config.modules_to_save = vec!["head".to_string()];
    let Attached { model, trained, .. } = attached(Net::new(&device()), config.clone());
    let model = drawn(model, 40);
    let record = reread(model.clone().into_record_group(trained));
    // Two factors, norms and the scale of two modules, and the head.
    assert_eq!(record.len(), 2 * 4 + 1);
    let fresh = attached(Net::new(&device()), config).model;
    assert_ne!(outputs(&fresh), outputs(&model));
    let loaded = fresh.load_record(record.allow_partial(true));
    assert_equal(&outputs(&loaded), &outputs(&model), "loaded");
}

#[test]
fn a_record_of_another_scale_is_refused_by_name() {
    let Attached { model, trained, .. } = attached(Net::new(&device()), hidden(4));
    let record = model.into_record_group(trained);
    let other = attached(Net::new(&device()), hidden(4).with_alpha(2.0)).model;
    let error = other
        .try_load_record(record.allow_partial(true))
        .unwrap_err();
    let text = format!("{error}");
    assert!(
        text.contains("fc.0.weight.adapter.settings.scaling_2"),
        "{text}"
    );
}
