//! Conversion of mixed models: quantized layers, mixed-precision plans, and widths set by a schedule.

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    qat::{MixedPrecisionPlan, PackedModel, Precision, Prepare, QuantControls, convert},
    quant::{BitWidth, HadamardConfig, QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{DType, Device, Tensor},
};

use crate::support::{
    models::{Mlp, scheme},
    values::*,
};

/// Quantized layers beside one in full precision.
#[derive(Module, Debug)]
struct Layers {
    first: BitLinear,
    second: BitLinear,
    head: Linear,
}

impl Layers {
    fn new(scheme: &QatScheme, device: &Device) -> Self {
        let layer = |d_input, d_output| {
            let config = BitLinearConfig::new(d_input, d_output).with_bias(true);
            config.with_scheme(scheme.clone()).init(device)
        };
        Self {
            first: layer(8, 16),
            second: layer(16, 8),
            head: LinearConfig::new(8, 3).init(device),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.head
            .forward(self.second.forward(self.first.forward(x)))
    }
}

fn input(device: &Device) -> Tensor<2> {
    tensor(&normal(5 * 8, 1), [5, 8], DType::F32, device)
}

/// Asserts that the values are equal on Flex. On other devices the sums of at most 16 products of values of about
/// 1, in three layers, have another order.
fn assert_same<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (floats(found), floats(expected));
    match on_flex() {
        true => assert_equal(&found, &expected, "output"),
        false => {
            assert_within(&found, &expected, |_| 48.0 * ROUNDING, "output");
        }
    }
}

/// Loads the packed model from its file.
fn through_a_file(packed: &PackedModel) -> PackedModel {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bpk");
    packed.save(&path).unwrap();
    PackedModel::load(&path, &Device::default()).unwrap()
}

#[test]
fn layers_that_quantize_compute_the_same_from_packed_weights() {
    let device = Device::default();
    let b1_58 = QatScheme::b1_58;
    for scheme in [
        b1_58(),
        b1_58().with_weight(WeightQuantizer::ternary(WeightGranularity::PerChannel)),
        b1_58().with_activation(None),
        b1_58().with_rotation(Some(HadamardConfig::new(8))),
        b1_58().with_weight(WeightQuantizer::learned_step(BitWidth::Ternary)),
    ] {
        let trained = Layers::new(&scheme, &device);
        let packed = through_a_file(&convert(&trained).unwrap());
        let paths: Vec<&String> = packed.weights.keys().collect();
        assert_eq!(paths, ["first.weight", "second.weight"], "{scheme:?}");
        assert_eq!(packed.quantizer("first.weight"), Some(&scheme.weight));
        assert_eq!(packed.unpacked_in_use().count(), 0);
        let deployed = packed.load_into(Layers::new(&scheme, &device)).unwrap();
        // An unpacked matrix is transposed in memory: sums of at most 16 products in three layers, of values of
        // about 1, are rounded in another order.
        let found = floats(deployed.forward(input(&device)));
        let expected = floats(trained.forward(input(&device)));
        assert_within(&found, &expected, |_| 48.0 * ROUNDING, "output");
        let layers = [
            (&deployed.first, &trained.first),
            (&deployed.second, &trained.second),
        ];
        for (deployed, trained) in layers {
            assert_same(deployed.quantized_weight(), trained.quantized_weight());
            let width = trained.weight.dims()[0];
            let x = input(&device).narrow(0, 0, 1).repeat_dim(1, width / 8);
            let packed = trained.pack().forward(x.clone());
            assert_same(deployed.forward(x.clone()), packed.clone());
            assert_same(deployed.pack().forward(x), packed);
        }
    }
}

#[test]
fn a_layer_that_is_excluded_stays_in_float() {
    let device = Device::default();
    let scheme = QatScheme::b1_58();
    let trained = Layers::new(&scheme, &device);
    QuantControls::of(&trained.first).set_excluded(true);
    let packed = through_a_file(&convert(&trained).unwrap());
    assert_eq!(packed.weights.keys().collect::<Vec<_>>(), ["second.weight"]);
    let deployed = packed.load_into(Layers::new(&scheme, &device)).unwrap();
    assert_same(
        deployed.forward(input(&device)),
        trained.forward(input(&device)),
    );
}

#[test]
fn weights_that_a_plan_gives_more_bits_keep_their_quantized_values() {
    let device = Device::default();
    let plan = MixedPrecisionPlan {
        layers: [("fc1".to_string(), Precision::Bits(4))].into(),
    };
    let prepare = Prepare::new(scheme(WeightGranularity::PerTensor)).without_output_head();
    let trained = prepare
        .with_plan(plan)
        .apply(Mlp::new(&device))
        .unwrap()
        .model;
    let packed = through_a_file(&convert(&trained).unwrap());
    assert!(
        !packed.weights.contains_key("fc1.weight") && packed.weights.contains_key("fc2.weight")
    );
    let deployed = packed.load_into(Mlp::new(&device)).unwrap();
    assert_same(deployed.fc1.weight.val(), trained.fc1.weight.val());
    assert_ne!(
        floats(trained.fc1.weight.val()),
        floats(trained.fc1.weight.base())
    );
    assert_same(
        deployed.forward(input(&device)),
        trained.forward(input(&device)),
    );
}

#[test]
fn a_width_that_a_schedule_set_is_the_one_that_is_packed() {
    let device = Device::default();
    let four_bits = QatScheme::b1_58().with_weight(WeightQuantizer::symmetric(4));
    let prepare = Prepare::new(four_bits.clone().with_activation(None)).without_output_head();
    let trained = prepare.apply(Mlp::new(&device)).unwrap().model;
    QuantControls::of(&trained).set_weight_width(Some(BitWidth::Ternary));
    let packed = convert(&trained).unwrap();
    // The granularity stays that of the scheme.
    let ternary = WeightQuantizer::ternary(WeightGranularity::PerChannel);
    assert_eq!(packed.quantizer("fc1.weight"), Some(&ternary));
    let deployed = packed.load_into(Mlp::new(&device)).unwrap();
    assert_same(
        deployed.forward(input(&device)),
        trained.forward(input(&device)),
    );
    // In quantized layers, too.
    let trained = Layers::new(&four_bits, &device);
    QuantControls::of(&trained).set_weight_width(Some(BitWidth::Ternary));
    let deployed = convert(&trained)
        .unwrap()
        .load_into(Layers::new(&four_bits, &device));
    assert_same(
        deployed.unwrap().forward(input(&device)),
        trained.forward(input(&device)),
    );
}
