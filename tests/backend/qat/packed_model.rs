//! Packed models: saved from a trained model, and loaded into a new model of the same layers.

use std::{fs, path::Path};

use bitnet_burn::{
    nn::{BitLinearConfig, PackedForward},
    qat::{
        ConvertError, PackedModel, PackedModelError, PackedParameter, Prepare, QuantControls,
        convert,
    },
    quant::{ActivationQuantizer, NoiseConfig, QatScheme, WeightGranularity},
};
use burn::{
    module::{Initializer, Lora, Module, Param, ParamGroup},
    nn::{
        Embedding, EmbeddingConfig, Linear, LinearConfig, LinearLayout,
        conv::{
            Conv1d, Conv1dConfig, Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig,
        },
    },
    tensor::{DType, Device, Int, Tensor},
};

use crate::support::{
    models::{Cnn, Mlp, scheme},
    values::*,
};

const GRANULARITIES: [WeightGranularity; 3] = [
    WeightGranularity::PerTensor,
    WeightGranularity::PerChannel,
    WeightGranularity::PerGroup { group_size: 2 },
];

/// Weights of rank 2 or more, all quantized.
fn prepared<M: Module>(model: M, scheme: &QatScheme) -> M {
    let prepare = Prepare::new(scheme.clone()).with_group(ParamGroup::from_predicate("weight"));
    prepare.apply(model).unwrap().model
}

/// Loads the packed model from its file.
fn through_a_file(packed: &PackedModel) -> PackedModel {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bpk");
    packed.save(&path).unwrap();
    PackedModel::load(&path, &Device::default()).unwrap()
}

fn is_packed<const D: usize>(param: &Param<Tensor<D>>) -> bool {
    param.reparameterization::<PackedParameter>().is_some()
}

#[test]
fn a_new_model_computes_what_the_trained_one_does() {
    let device = Device::default();
    let x = tensor(&normal(10 * 8, 1), [10, 8], DType::F32, &device);
    let image = tensor(&normal(2 * 16, 3), [1, 2, 4, 4], DType::F32, &device);
    for granularity in GRANULARITIES {
        let scheme = scheme(granularity);
        let mlp = prepared(Mlp::new(&device), &scheme);
        let packed = through_a_file(&convert(&mlp).unwrap());
        assert_eq!(packed.quantizer("fc1.weight"), Some(&scheme.weight));
        let deployed = packed.load_into(Mlp::new(&device)).unwrap();
        assert!(is_packed(&deployed.fc1.weight) && is_packed(&deployed.head.weight));
        assert_same(deployed.forward(x.clone()), mlp.forward(x.clone()));
        assert_same(
            deployed.fc1.forward_packed(x.clone()),
            mlp.fc1.forward(x.clone()),
        );

        let cnn = prepared(Cnn::new(&device), &scheme);
        let packed = through_a_file(&convert(&cnn).unwrap());
        assert_eq!(packed.unpacked_in_use().count(), 0);
        let deployed = packed.load_into(Cnn::new(&device)).unwrap();
        assert!(is_packed(&deployed.conv.weight));
        assert_same(deployed.forward(image.clone()), cnn.forward(image.clone()));
    }
}

/// Compares bit for bit on Flex; elsewhere weights that are transposed in memory may be summed in another
/// order.
fn assert_same<const D: usize>(found: Tensor<D>, expected: Tensor<D>) {
    assert_eq!(found.dims(), expected.dims());
    let (found, expected) = (floats(found), floats(expected));
    match on_flex() {
        true => assert_equal(&found, &expected, "output"),
        false => {
            assert_within(&found, &expected, |_| 64.0 * ROUNDING, "output");
        }
    }
}

#[derive(Module, Debug)]
struct Layers {
    table: Embedding,
    wide: Linear,
    conv: Conv1d,
    conv2: Conv2d,
    up: ConvTranspose2d,
}

impl Layers {
    /// Layers with more values than are unpacked at a time, except for the last.
    fn new(device: &Device) -> Self {
        Self {
            table: EmbeddingConfig::new(300, 8).init(device),
            wide: LinearConfig::new(1024, 1500).init(device),
            conv: Conv1dConfig::new(512, 900, 3).init(device),
            conv2: Conv2dConfig::new([128, 1000], [3, 3]).init(device),
            up: ConvTranspose2dConfig::new([2, 4], [3, 3]).init(device),
        }
        .map(&mut Drawn::new(700, 0.2))
    }
}

#[test]
fn layers_compute_from_packed_weights_part_by_part() {
    if !on_flex() {
        return;
    }
    let device = Device::default();
    let scheme = scheme(WeightGranularity::PerTensor);
    let layers = prepared(Layers::new(&device), &scheme);
    let packed = convert(&layers).unwrap();
    let unpacked: Vec<&str> = packed.unpacked_in_use().collect();
    assert_eq!(unpacked, ["up.weight"]);
    assert!(
        packed
            .to_string()
            .contains("up.weight: ConvTranspose2d [2, 4, 3, 3], 28 bytes, unpacked")
    );
    let deployed = packed.load_into(Layers::new(&device)).unwrap();

    let tokens = Tensor::<2, Int>::from_ints([[1, 299, 7], [0, 1, 150]], &device);
    let rows = deployed.table.forward_packed(tokens.clone());
    assert_same(rows, layers.table.forward(tokens));
    let x = tensor(&normal(3 * 1024, 5), [3, 1024], DType::F32, &device);
    assert_same(
        deployed.wide.forward_packed(x.clone()),
        layers.wide.forward(x),
    );
    let x = tensor(&normal(512 * 5, 6), [1, 512, 5], DType::F32, &device);
    assert_same(
        deployed.conv.forward_packed(x.clone()),
        layers.conv.forward(x),
    );
    let x = tensor(&normal(128 * 16, 7), [1, 128, 4, 4], DType::F32, &device);
    assert_same(
        deployed.conv2.forward_packed(x.clone()),
        layers.conv2.forward(x),
    );
    let x = tensor(&normal(2 * 9, 8), [1, 2, 3, 3], DType::F32, &device);
    assert_same(deployed.up.forward(x.clone()), layers.up.forward(x));
}

#[test]
fn a_bit_linear_unpacks_parts_with_every_scheme() {
    let device = Device::default();
    let x = tensor(&normal(3 * 1024, 9), [3, 1024], DType::F32, &device);
    for granularity in GRANULARITIES {
        let weights = scheme(granularity);
        let topk = ActivationQuantizer::TopK { keep: 0.5, bits: 8 };
        let both = weights.clone().with_activation(Some(topk));
        for scheme in [QatScheme::b1_58(), weights, both] {
            let config = BitLinearConfig::new(1024, 1100)
                .with_bias(true)
                .with_rms_norm_epsilon(Some(1e-5))
                .with_scheme(scheme);
            let layer = config.init(&device);
            let packed = convert(&layer).unwrap();
            let deployed = packed.load_into(config.init(&device)).unwrap();
            assert_same(deployed.forward_packed(x.clone()), layer.forward(x.clone()));
        }
    }
}

#[test]
fn rows_of_a_table_have_their_own_scales() {
    let device = Device::default();
    let tokens = Tensor::<2, Int>::from_ints([[1, 9, 3]], &device);
    for granularity in GRANULARITIES {
        let scheme = scheme(granularity);
        let table = EmbeddingConfig::new(10, 8).init(&device);
        let table = prepared(table.map(&mut Drawn::new(710, 0.2)), &scheme);
        let packed = convert(&table).unwrap();
        let deployed = packed.load_into(EmbeddingConfig::new(10, 8).init(&device));
        let rows = deployed.unwrap().forward_packed(tokens.clone());
        assert_equal(
            &floats(rows),
            &floats(table.forward(tokens.clone())),
            &format!("{granularity:?}"),
        );
    }
}

#[derive(Module, Debug)]
struct Twice {
    a: Linear,
    b: Linear,
}

impl Twice {
    fn new(device: &Device) -> Self {
        let layer = LinearConfig::new(8, 8).init(device);
        let layer = layer.map(&mut Drawn::new(720, 0.2));
        Self {
            a: layer.clone(),
            b: layer,
        }
    }
}

#[test]
fn a_shared_parameter_is_packed_once() {
    let device = Device::default();
    let scheme = scheme(WeightGranularity::PerTensor);
    let model = prepared(Twice::new(&device), &scheme);
    let packed = through_a_file(&convert(&model).unwrap());
    assert_eq!(packed.weights.len(), 1);
    assert!(
        packed
            .to_string()
            .contains("b.weight: Linear [8, 8], shared with a.weight")
    );
    let deployed = packed.load_into(Twice::new(&device)).unwrap();
    let x = tensor(&normal(8, 1), [1, 8], DType::F32, &device);
    assert_same(deployed.b.forward(x.clone()), model.a.forward(x));
}

#[test]
fn a_model_with_lambda_below_one_is_not_converted() {
    let device = Device::default();
    let scheme = scheme(WeightGranularity::PerTensor);
    let model = prepared(Mlp::new(&device), &scheme);
    let controls = QuantControls::of(&model);
    controls.set_lambda(0.25);
    let error = convert(&model).unwrap_err();
    assert_eq!(
        error.to_string(),
        "parameter fc1.weight is not quantized in full: its lambda is 0.25, expected 1"
    );
    controls.set_lambda(1.0);

    // A parameter excluded from quantization is an ordinary float.
    controls
        .filter(|path| path.starts_with("fc2"))
        .set_excluded(true);
    let packed = convert(&model).unwrap();
    assert_eq!(packed.weights.len(), 2);
    let deployed = packed.load_into(Mlp::new(&device)).unwrap();
    let x = tensor(&normal(8, 1), [1, 8], DType::F32, &device);
    assert_same(deployed.forward(x.clone()), model.forward(x));
}

#[test]
fn a_bias_that_is_not_finite_is_named() {
    let device = Device::default();
    let scheme = scheme(WeightGranularity::PerTensor);
    let mut model = prepared(Mlp::new(&device), &scheme);
    let bias = Tensor::<1>::full([12], f32::NAN, &device);
    model.fc1.bias = Some(Param::from_tensor(bias));
    let path = "fc1.bias".to_string();
    assert_eq!(
        convert(&model).unwrap_err(),
        ConvertError::NotFinite { path }
    );
}

fn packed_mlp() -> PackedModel {
    let scheme = scheme(WeightGranularity::PerTensor);
    convert(&prepared(Mlp::new(&Device::default()), &scheme)).unwrap()
}

#[test]
fn models_that_do_not_fit_are_errors_with_paths() {
    let (device, packed) = (Device::default(), packed_mlp());
    let error = packed.load_into(Cnn::new(&device)).unwrap_err().to_string();
    assert!(
        error.contains("without conv.bias, conv.weight, last.bias, .. (4 in all); with fc1.bias"),
        "{error}"
    );
    let mut wider = Mlp::new(&device);
    wider.fc1 = LinearConfig::new(9, 12).init(&device);
    let error = packed.load_into(wider).unwrap_err().to_string();
    assert!(
        error.contains("fc1.weight was packed with shape [8, 12], that of the model has [9, 12]"),
        "{error}"
    );
    let prepared = prepared(Mlp::new(&device), &scheme(WeightGranularity::PerTensor));
    let error = packed.load_into(prepared).unwrap_err().to_string();
    assert!(
        error.contains("fc1.weight has the reparameterization fake_quant"),
        "{error}"
    );
}

fn load(path: &Path) -> Result<PackedModel, PackedModelError> {
    PackedModel::load(path, &Device::default())
}

#[test]
fn damaged_and_foreign_files_are_errors() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bpk");
    assert!(matches!(load(&path), Err(PackedModelError::Io { .. })));
    let model = Mlp::new(&Device::default());
    model.into_record().save(&path).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(
        error.contains("is no packed model: it has no header"),
        "{error}"
    );

    packed_mlp().save(&path).unwrap();
    let whole = fs::read(&path).unwrap();
    // Truncation is detected, and no flipped bit causes a panic.
    for length in (0..whole.len()).step_by(97) {
        fs::write(&path, &whole[..length]).unwrap();
        assert!(load(&path).is_err(), "{length} bytes");
    }
    for place in (0..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        fs::write(&path, bytes).unwrap();
        let _ = load(&path);
    }
    let newer = String::from_utf8_lossy(&whole)
        .find("\"version\":1")
        .unwrap();
    let newer = whole
        .windows(11)
        .position(|w| w == b"\"version\":1")
        .unwrap_or(newer);
    let mut bytes = whole.clone();
    bytes[newer + 10] = b'2';
    fs::write(&path, bytes).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(
        error.contains("has version 2, this program reads versions up to 1"),
        "{error}"
    );
}

#[test]
fn an_invalid_code_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bpk");
    let mut packed = packed_mlp();
    let weight = packed.weights.get_mut("fc1.weight").unwrap();
    let codes = weight.codes.val();
    weight.codes = Param::initialized(weight.codes.id, codes.full_like(u32::MAX));
    packed.save(&path).unwrap();
    let error = load(&path).unwrap_err().to_string();
    assert!(
        error.contains("`fc1.weight`: it has codes other than -1, 0 and 1"),
        "{error}"
    );
}

#[test]
fn diverged_places_of_a_shared_parameter_are_packed_separately() {
    let device = Device::default();
    let scheme = scheme(WeightGranularity::PerTensor);
    let mut model = prepared(Twice::new(&device), &scheme);
    // A step of Burn's optimizers has this effect: the first place changes, under the same id.
    model.a = model.a.map(&mut Drawn::new(730, 0.2));
    let packed = convert(&model).unwrap();
    assert_eq!(packed.weights.len(), 2);
    let deployed = packed.load_into(Twice::new(&device)).unwrap();
    let x = tensor(&normal(8, 1), [1, 8], DType::F32, &device);
    assert_same(deployed.a.forward(x.clone()), model.a.forward(x.clone()));
    assert_same(deployed.b.forward(x.clone()), model.b.forward(x));
}

#[test]
fn an_adapter_is_refused_and_not_lost() {
    let device = Device::default();
    let scheme = scheme(WeightGranularity::PerTensor);
    let mut model = Prepare::new(scheme.clone())
        .apply(Mlp::new(&device))
        .unwrap()
        .model;
    model.head = model.head.apply_reparameterization(Lora::new(2, 4.0));
    let error = convert(&model).unwrap_err().to_string();
    assert!(
        error.contains("parameter head.weight has the reparameterization"),
        "{error}"
    );
}

#[test]
fn noise_is_for_training_alone() {
    let noise = NoiseConfig::Uniform {
        factor: 1.0,
        seed: 0,
    };
    let scheme = scheme(WeightGranularity::PerTensor).with_noise(Some(noise));
    let model = prepared(Mlp::new(&Device::default().autodiff()), &scheme);
    assert_eq!(convert(&model).unwrap().weights.len(), 3);
}

#[test]
fn a_linear_layer_of_column_layout_is_packed_and_loaded() {
    let device = Device::default();
    let scheme = scheme(WeightGranularity::PerGroup { group_size: 4 });
    let new = || {
        LinearConfig::new(8, 6)
            .with_layout(LinearLayout::Col)
            .init(&device)
    };
    let model = prepared(new(), &scheme);
    let deployed = convert(&model).unwrap().load_into(new()).unwrap();
    let x = tensor(&normal(16, 1), [2, 8], DType::F32, &device);
    assert_same(deployed.forward(x.clone()), model.forward(x));
}

#[test]
fn a_deployed_model_keeps_its_outputs_wherever_it_goes() {
    let (device, packed) = (Device::default(), packed_mlp());
    let x = tensor(&normal(8, 1), [1, 8], DType::F32, &device);
    let deployed = packed.load_into(Mlp::new(&device)).unwrap();
    let expected = floats(deployed.forward(x.clone()));
    let same = |model: &Mlp, what: &str| {
        assert!(is_packed(&model.fc1.weight), "{what}");
        assert_equal(&floats(model.forward(x.clone())), &expected, what);
    };
    same(&deployed.valid(), "valid");
    same(&deployed.clone().fork(&device), "fork");
    same(&deployed.clone().to_device(&device), "to_device");
    let record = deployed.clone().into_record();
    let loaded = packed.load_into(Mlp::new(&device)).unwrap();
    same(&loaded.try_load_record(record).unwrap(), "record");

    // In a model in training, it is a constant.
    let trains = packed
        .load_into(Mlp::new(&device.clone().autodiff()))
        .unwrap();
    let y = trains.forward(Tensor::from_inner(x.clone()));
    assert_equal(&floats(y.inner()), &expected, "autodiff");
    // Loaded onto an autodiff device, it computes without gradients.
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bpk");
    packed.save(&path).unwrap();
    let read = PackedModel::load(&path, &device.clone().autodiff()).unwrap();
    let plain = read.load_into(Mlp::new(&device)).unwrap();
    assert!(!plain.forward(x.clone()).device().is_autodiff());
    same(&plain, "read for autodiff");
}

#[test]
fn a_weight_without_values_is_no_packed_one() {
    let device = Device::default();
    let scheme = scheme(WeightGranularity::PerTensor);
    let new = || Layers0 {
        none: LinearConfig::new(0, 4)
            .with_initializer(Initializer::Zeros)
            .init(&device),
        some: LinearConfig::new(4, 4).init(&device),
    };
    let packed = through_a_file(&convert(&prepared(new(), &scheme)).unwrap());
    assert_eq!(packed.weights.len(), 1);
    packed.load_into(new()).unwrap();
}

#[derive(Module, Debug)]
struct Layers0 {
    none: Linear,
    some: Linear,
}
