//! Records of quantized layers: another scheme, shape or layout is rejected.

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    qat::{Prepare, QuantControls},
    quant::{
        ActivationGranularity, ActivationQuantizer, HadamardConfig, QatScheme, WeightGranularity,
        WeightQuantizer,
    },
};
use burn::{
    module::Module,
    store::{ModuleRecord, RecordError},
    tensor::{Bytes, Device, Shape},
};

use crate::support::{
    models::{Mlp, scheme},
    values::*,
};

fn layer(size: [usize; 2], scheme: &QatScheme) -> BitLinear {
    BitLinearConfig::new(size[0], size[1])
        .with_scheme(scheme.clone())
        .init(&Device::default())
        .map(&mut Drawn::new(600, 0.2))
}

/// Loads the record of a module into another, through its bytes.
fn load<M: Module>(from: &M, to: M) -> Result<M, RecordError> {
    let bytes = from.clone().into_record().into_bytes().unwrap();
    to.try_load_record(ModuleRecord::from_bytes(bytes).unwrap())
}

fn b1_58_with(bits: u8) -> QatScheme {
    let granularity = ActivationGranularity::PerToken;
    QatScheme::b1_58().with_activation(Some(ActivationQuantizer::Absmax { bits, granularity }))
}

#[test]
fn a_record_of_another_scheme_is_refused_with_the_schemes_name() {
    let b1_58 = QatScheme::b1_58();
    let others = [
        (b1_58_with(4), "absmax_8_bits_per_token"),
        (
            b1_58.clone().with_weight(WeightQuantizer::symmetric(3)),
            "absmean_ternary_per_tensor",
        ),
        (
            scheme(WeightGranularity::PerChannel),
            "absmean_ternary_per_tensor",
        ),
        (
            b1_58.clone().with_rotation(Some(HadamardConfig::largest())),
            "absmax_8_bits_per_token",
        ),
    ];
    for (other, missing) in others {
        let record = layer([64, 16], &other);
        let error = load(&record, layer([64, 16], &b1_58)).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("Missing tensors") && text.contains(missing),
            "{other:?}: {text}"
        );
        let same = load(&record, layer([64, 16], &other)).unwrap();
        assert_equal(
            &floats(same.weight.val()),
            &floats(record.weight.val()),
            "the same scheme",
        );
    }
}

#[test]
fn a_packed_record_of_another_scheme_or_layout_is_refused() {
    let b1_58 = QatScheme::b1_58();
    let shell = || layer([250, 16], &b1_58).pack();
    // The same number of words per row.
    let error = load(&layer([255, 16], &b1_58).pack(), shell()).unwrap_err();
    assert!(
        error.to_string().contains("ternary_16_x_250_groups"),
        "{error}"
    );
    let error = load(&layer([250, 16], &b1_58_with(4)).pack(), shell()).unwrap_err();
    assert!(
        error.to_string().contains("absmax_8_bits_per_token"),
        "{error}"
    );
    let per_channel = layer([250, 16], &scheme(WeightGranularity::PerChannel));
    assert!(load(&per_channel.pack(), shell()).is_err());

    let packed = layer([250, 16], &b1_58).pack();
    let loaded = load(&packed, shell()).unwrap();
    assert_equal(
        &floats(loaded.weight.unpack()),
        &floats(packed.weight.unpack()),
        "the same layout",
    );
}

#[test]
fn a_prepared_model_of_another_scheme_is_refused() {
    let device = Device::default();
    let prepared = |scheme: QatScheme| {
        let prepared = Prepare::new(scheme).apply(Mlp::new(&device)).unwrap();
        prepared.model
    };
    let symmetric = QatScheme::weight_only().with_weight(WeightQuantizer::symmetric(3));
    let error = load(
        &prepared(QatScheme::weight_only()),
        prepared(symmetric.clone()),
    )
    .unwrap_err();
    assert!(error.to_string().contains("fc1.weight"), "{error}");
    assert!(error.to_string().contains("symmetric_3_bits"), "{error}");
    assert!(load(&prepared(symmetric.clone()), prepared(symmetric)).is_ok());
}

#[test]
fn a_control_of_another_length_is_refused_and_changes_nothing() {
    let scheme = QatScheme::b1_58();
    let saved = layer([64, 16], &scheme);
    QuantControls::of(&saved).set_lambda(0.25);
    let bytes = saved.into_record().into_bytes().unwrap();
    let tensors = burn_pack::Reader::from_bytes(bytes).unwrap().into_tensors();
    // The first two of the six numbers of each control, whatever integers the backend has.
    let cut = tensors.unwrap().into_iter().map(|tensor| {
        let (name, dtype, shape, id, bytes) = tensor.into_parts().unwrap();
        match name.contains(".control.state.") {
            true => {
                let bytes = Bytes::from_bytes_vec(bytes[..bytes.len() / 3].to_vec());
                burn_pack::Tensor::new(name, dtype, Shape::new([2]), id, bytes)
            }
            false => burn_pack::Tensor::new(name, dtype, shape, id, bytes),
        }
    });
    let bytes = burn_pack::Writer::new(cut.collect()).into_bytes().unwrap();
    let record = ModuleRecord::from_bytes(bytes).unwrap();
    let layer = layer([64, 16], &scheme);
    let controls = QuantControls::of(&layer);
    let error = layer.try_load_record(record).unwrap_err().to_string();
    assert!(error.contains("control.state"), "{error}");
    assert!(controls.lambdas().all(|(_, lambda)| lambda == 1.0));
}
