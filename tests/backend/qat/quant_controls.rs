//! Settings of quantizers by schedules and calibration.

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    qat::{Prepare, QuantControls},
    quant::{
        ActivationQuantizer, BitWidth, NoiseConfig, QatScheme,
        calibration::{CalibrationTable, ObserverConfig, SamplingPolicy},
        schedule::{LayerOrder, LayerwiseConfig, ProgressiveSchedule, ProgressiveShape},
    },
};
use burn::{
    module::Module,
    tensor::{DType, Device, Tensor},
};

use crate::support::{
    models::{Cnn, Mlp},
    values::*,
};

fn layer(scheme: QatScheme, device: &Device) -> BitLinear {
    BitLinearConfig::new(8, 6).with_scheme(scheme).init(device)
}

fn input(device: &Device) -> Tensor<2> {
    tensor(&normal(4 * 8, 3), [4, 8], DType::F32, device)
}

#[test]
fn quantizers_are_found_by_the_paths_of_their_parameters() {
    let device = Device::default();
    let layer = layer(QatScheme::b1_58(), &device);
    let paths = |controls: &QuantControls| controls.paths().map(String::from).collect::<Vec<_>>();
    assert_eq!(
        paths(&QuantControls::of(&layer)),
        ["weight_quant", "input_quant"]
    );

    let prepared = Prepare::new(QatScheme::weight_only())
        .apply(Mlp::new(&device))
        .unwrap()
        .model;
    let controls = QuantControls::of(&prepared);
    assert_eq!(paths(&controls), ["fc1.weight", "fc2.weight"]);
    assert_eq!(
        paths(&controls.filter(|path| path.starts_with("fc2"))),
        ["fc2.weight"]
    );
    assert!(QuantControls::of(&Mlp::new(&device)).is_empty());
}

#[test]
fn lambda_blends_from_the_latent_to_the_quantized_value() {
    let device = Device::default();
    let layer = layer(QatScheme::b1_58(), &device);
    let controls = QuantControls::of(&layer);
    let quantized = floats(layer.quantized_weight());
    let latent = floats(layer.weight.val());
    controls.set_lambda(0.0);
    assert_equal(&floats(layer.quantized_weight()), &latent, "lambda 0");
    let x = input(&device);
    let expected = floats(x.clone().matmul(layer.weight.val()));
    assert_equal(&floats(layer.forward(x)), &expected, "output with lambda 0");

    controls.set_lambda(0.25);
    let blended: Vec<f32> = (latent.iter().zip(&quantized))
        .map(|(w, q)| (0.75 * *w as f64 + 0.25 * *q as f64) as f32)
        .collect();
    // Two products, exact except for a rounding, and a sum.
    let bound = |i: usize| 3.0 * ROUNDING * (latent[i].abs() + quantized[i].abs()) as f64;
    assert_within(
        &floats(layer.quantized_weight()),
        &blended,
        bound,
        "lambda 0.25",
    );
    controls.set_lambda(1.0);
    assert_equal(&floats(layer.quantized_weight()), &quantized, "lambda 1");
}

#[test]
fn the_gradient_of_a_blend_is_the_identity_for_every_lambda() {
    let device = Device::default().autodiff();
    let layer = layer(QatScheme::b1_58(), &device);
    let upstream = tensor(&normal(48, 4), [8, 6], DType::F32, &device);
    for lambda in [0.0, 0.5, 1.0] {
        QuantControls::of(&layer).set_lambda(lambda);
        let grads = (layer.quantized_weight() * upstream.clone())
            .sum()
            .backward();
        let grad = floats(layer.weight.grad(&grads).unwrap());
        assert_equal(
            &grad,
            &floats(upstream.clone()),
            &format!("lambda {lambda}"),
        );
    }
}

#[test]
fn clones_forks_and_validation_models_follow_and_records_remember() {
    let device = Device::default().autodiff();
    let model = Prepare::new(QatScheme::weight_only())
        .apply(Mlp::new(&device))
        .unwrap()
        .model;
    let controls = QuantControls::of(&model);
    let (clone, fork, valid) = (model.clone(), model.clone().fork(&device), model.valid());
    controls.set_lambda(0.0);
    for other in [&clone, &fork] {
        let weight = floats(other.fc1.weight.val());
        assert_equal(&weight, &floats(model.fc1.weight.base()), "copy");
    }
    let weight = floats(valid.fc1.weight.val());
    assert_equal(&weight, &floats(model.fc1.weight.base()), "validation");

    controls.set_lambdas(|path| (path == "fc2.weight").then_some(0.375));
    controls.set_weight_width(Some(BitWidth::Bits(4)));
    let record = model.clone().into_record();
    let other = Prepare::new(QatScheme::weight_only())
        .apply(Mlp::new(&device))
        .unwrap()
        .model;
    let before = QuantControls::of(&other);
    assert!(before.lambdas().all(|(_, lambda)| lambda == 1.0));
    let loaded = other.load_record(record);
    let lambdas: Vec<_> = before.lambdas().map(|(_, lambda)| lambda).collect();
    assert_eq!(
        lambdas,
        [0.0, 0.375],
        "what was found before the record was loaded"
    );
    assert_eq!(QuantControls::of(&loaded).to_string(), controls.to_string());
    assert!(
        controls
            .to_string()
            .contains("fc2.weight: lambda 0.375, 4 bits")
    );

    // The loaded model has controls independent of the saved one.
    controls.set_lambda(1.0);
    assert!(before.lambdas().any(|(_, lambda)| lambda == 0.0));
}

#[test]
fn a_layerwise_schedule_quantizes_one_layer_after_the_other() {
    let device = Device::default();
    let model = Prepare::new(QatScheme::weight_only())
        .apply(Mlp::new(&device))
        .unwrap()
        .model;
    let controls = QuantControls::of(&model);
    let names: Vec<String> = controls.paths().map(String::from).collect();
    let ramp = ProgressiveSchedule::new(ProgressiveShape::Linear, 0, 100).unwrap();
    let schedule = LayerwiseConfig::new(ramp)
        .with_order(LayerOrder::BackToFront)
        .with_overlap(0.0)
        .init(&names)
        .unwrap();
    controls.set_lambdas(|path| schedule.value_of(50, path));
    let lambdas: Vec<_> = controls.lambdas().map(|(_, lambda)| lambda).collect();
    assert_eq!(lambdas, [0.0, 1.0]);
}

#[test]
fn widths_anneal_from_eight_bits_to_the_scheme_of_a_convolution() {
    let device = Device::default();
    let model = Prepare::new(QatScheme::weight_only())
        .apply(Cnn::new(&device))
        .unwrap()
        .model;
    let controls = QuantControls::of(&model);
    let distinct = || {
        let mut values = floats(model.conv.weight.val());
        values.sort_by(f32::total_cmp);
        values.dedup();
        values.len()
    };
    let ternary = floats(model.conv.weight.val());
    controls.set_weight_width(Some(BitWidth::Bits(8)));
    let many = distinct();
    controls.set_weight_width(Some(BitWidth::Bits(4)));
    let some = distinct();
    assert!(
        many > some && (4..=15).contains(&some),
        "{many} then {some} values"
    );
    controls.set_weight_width(None);
    assert_equal(&floats(model.conv.weight.val()), &ternary, "as configured");
}

#[test]
#[should_panic(expected = "bits must be 2 to 8, got 9")]
fn a_width_of_nine_bits_is_refused() {
    let layer = layer(QatScheme::b1_58(), &Device::default());
    QuantControls::of(&layer).set_weight_width(Some(BitWidth::Bits(9)));
}

#[test]
fn noise_depends_on_the_seed_the_layer_and_the_step_and_is_for_training_alone() {
    let device = Device::default().autodiff();
    let noise = |seed| NoiseConfig::Uniform { factor: 1.0, seed };
    let prepared = |seed| {
        let scheme = QatScheme::weight_only().with_noise(Some(noise(seed)));
        let mut mlp = Mlp::new(&device);
        let weight = tensor(&normal(144, 9), [12, 12], DType::F32, &device);
        mlp.fc1.weight = burn::module::Param::from_tensor(weight.clone());
        mlp.fc2.weight = burn::module::Param::from_tensor(weight);
        Prepare::new(scheme).apply(mlp).unwrap().model
    };
    let draw = |model: &Mlp, step| {
        QuantControls::of(model).set_step(step);
        floats(model.fc1.weight.val())
    };
    let (model, same, other) = (prepared(1), prepared(1), prepared(2));
    let first = draw(&model, 7);
    assert_equal(&draw(&same, 7), &first, "same seed and step");
    assert_ne!(draw(&other, 7), first, "another seed");
    assert_ne!(draw(&model, 8), first, "another step");
    draw(&model, 7);
    assert_ne!(floats(model.fc2.weight.val()), first, "another layer");

    // Uniform within half a step around the latent weight, with the variance of rounding.
    let latent = floats(model.fc1.weight.base());
    let gamma = latent.iter().map(|w| w.abs() as f64).sum::<f64>() / 144.0;
    let errors: Vec<f64> = (first.iter().zip(&latent))
        .map(|(n, w)| (n - w) as f64 / gamma)
        .collect();
    assert!(errors.iter().all(|e| e.abs() <= 0.5 + 1e-5));
    // The mean square of 144 numbers in [-1/2, 1/2] is 1/12 with a deviation of 0.0062.
    let mean_square = errors.iter().map(|e| e * e).sum::<f64>() / 144.0;
    assert!(
        (mean_square - 1.0 / 12.0).abs() < 4.0 * 0.0062,
        "{mean_square}"
    );

    let evaluated = floats(model.valid().fc1.weight.val());
    let plain = floats(prepared_without_noise(&model).fc1.weight.val());
    assert_equal(&evaluated, &plain, "an evaluation");
}

fn prepared_without_noise(model: &Mlp) -> Mlp {
    let mut mlp = Mlp::new(&model.fc1.weight.base().device());
    mlp.fc1.weight = burn::module::Param::from_tensor(model.fc1.weight.base().detach());
    Prepare::new(QatScheme::weight_only())
        .apply(mlp)
        .unwrap()
        .model
}

#[test]
fn quant_noise_quantizes_a_share_and_leaves_the_rest_alone() {
    let device = Device::default().autodiff();
    let config = NoiseConfig::Quant {
        fraction: 0.25,
        seed: 3,
    };
    let layer = BitLinearConfig::new(32, 32)
        .with_scheme(QatScheme::b1_58().with_noise(Some(config)))
        .init(&device);
    QuantControls::of(&layer).set_step(1);
    let (latent, noisy) = (floats(layer.weight.val()), floats(layer.quantized_weight()));
    let quantized = floats(layer.valid().quantized_weight());
    let mut drawn = 0;
    for i in 0..latent.len() {
        assert!(
            noisy[i] == latent[i] || noisy[i] == quantized[i],
            "weight {i}"
        );
        drawn += usize::from(noisy[i] == quantized[i]);
    }
    // 1024 draws of probability 1/4: 256 with a deviation of 13.9.
    assert!((200..=312).contains(&drawn), "{drawn} of 1024");
}

#[test]
fn calibration_freezes_ranges_that_records_and_files_keep() {
    let device = Device::default();
    let scheme = QatScheme::b1_58().with_activation(Some(ActivationQuantizer::Static {
        bits: 8,
        symmetric: true,
    }));
    let layer = layer(scheme.clone(), &device);
    let all = QuantControls::of(&layer);
    let weights = all.filter(|path| path == "weight_quant");
    let error = weights.calibrate(&CalibrationTable::default()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "no activation of the model is quantized statically: use `ActivationQuantizer::Static` in its scheme"
    );
    assert_eq!(
        all.calibrate(&CalibrationTable::default())
            .unwrap_err()
            .to_string(),
        "the calibration table has no range for input_quant"
    );

    let inputs = all.filter(|path| path.ends_with("input_quant"));
    inputs.observe(&ObserverConfig::min_max(), SamplingPolicy::every(2));
    let seen = tensor(&[-1.27, 0.5, 0.25, 1.0], [1, 4], DType::F32, &device).repeat_dim(1, 2);
    layer.forward(seen.clone());
    // Not observed: every second pass.
    layer.forward(seen.clone().mul_scalar(100.0));
    let table = inputs.finish_observation().unwrap();
    assert_eq!(table.get("input_quant").unwrap().num_samples, 1);
    inputs.calibrate(&table).unwrap();

    // With step 0.01 everything beyond 1.27 is clamped, for any tensor.
    let quantizer = layer.input_quant.as_ref().unwrap();
    let wide = tensor(&[2.0, -2.0, 0.014, 0.0], [1, 4], DType::F32, &device);
    let step = 1.27f32 / 127.0;
    let expected = [127.0 * step, -128.0 * step, step, 0.0];
    assert_equal(
        &floats(quantizer.forward(wide.clone())),
        &expected,
        "static",
    );

    let loaded = self::layer(scheme, &device).load_record(layer.clone().into_record());
    let quantizer = loaded.input_quant.as_ref().unwrap();
    assert_equal(&floats(quantizer.forward(wide)), &expected, "loaded");
}
