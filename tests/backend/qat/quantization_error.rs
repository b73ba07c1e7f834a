//! Quantization errors measured in a forward pass, against sums in f64.

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    qat::{Prepare, QuantControls, QuantizationError},
    quant::{
        ActivationGranularity, ActivationQuantizer, BitWidth, QatScheme, WeightGranularity,
        WeightQuantizer,
        calibration::{ObserverConfig, SamplingPolicy},
    },
};
use burn::{
    module::{Module, Param, ParamGroup},
    nn::LinearConfig,
    tensor::{DType, Device, Tensor},
};

use crate::support::values::*;

const INPUTS: usize = 32;
const OUTPUTS: usize = 12;

/// Error bound of sums in f32 of n values, in any order.
fn near(actual: Option<f64>, expected: f64, n: usize, what: &str) {
    let actual = actual.unwrap_or_else(|| panic!("{what} is no number"));
    let bound = 2.0 * n as f64 * ROUNDING * expected.abs();
    assert!(
        (actual - expected).abs() <= bound,
        "{what}: {actual}, expected {expected}"
    );
}

/// Compares a measurement with the values and the quantized values.
fn check(error: &QuantizationError, values: &[f32], quantized: &[f32]) {
    let n = values.len();
    let sum = |f: &dyn Fn(f64, f64) -> f64| -> f64 {
        let pairs = values.iter().zip(quantized);
        pairs.map(|(&w, &q)| f(w as f64, q as f64)).sum()
    };
    let (signal, noise) = (sum(&|w, _| w * w), sum(&|w, q| (w - q).powi(2)));
    let what = |name: &str| format!("{name} of {}", error.path);
    assert_eq!(error.count, n);
    near(error.mse, noise / n as f64, n, &what("mse"));
    // A relative error of e in the ratio is 4.34 e dB.
    let sqnr = 10.0 * (signal / noise).log10();
    let bound = 4.4 * 4.0 * n as f64 * ROUNDING;
    assert!(
        (error.sqnr_db.unwrap() - sqnr).abs() <= bound,
        "{}",
        what("sqnr")
    );
    let cosine = sum(&|w, q| w * q) / (signal * sum(&|_, q| q * q)).sqrt();
    near(error.cosine, cosine, 4 * n, &what("cosine"));
    let largest = values.iter().zip(quantized).map(|(w, q)| (w - q).abs());
    let largest = largest.fold(0.0, f32::max);
    assert_eq!(
        error.max_error,
        Some(largest as f64),
        "{}",
        what("largest error")
    );
    let zeros = quantized.iter().filter(|q| **q == 0.0).count();
    near(
        Some(error.zero_fraction),
        zeros as f64 / n as f64,
        1,
        &what("zeros"),
    );
}

/// Counts latent weights in bins of an eighth of the largest code's value.
fn check_bins(
    error: &QuantizationError,
    values: &[f32],
    granularity: WeightGranularity,
    max_code: f32,
) {
    let total: u64 = error.weight_histogram.iter().sum();
    assert_eq!(
        (error.weight_histogram.len(), total as usize),
        (33, values.len())
    );
    if granularity == WeightGranularity::PerTensor {
        let scale = error.scale.unwrap().mean as f32;
        let mut bins = [0; 33];
        for value in values {
            let bin = (value / scale * (8.0 / max_code)).clamp(-16.0, 16.0);
            bins[(bin.round_ties_even() + 16.0) as usize] += 1;
        }
        assert_eq!(error.weight_histogram, bins);
    }
}

fn layer(scheme: &QatScheme, device: &Device) -> BitLinear {
    let config = BitLinearConfig::new(INPUTS, OUTPUTS).with_scheme(scheme.clone());
    let mut layer = config.init(device);
    let weight = tensor(
        &normal(INPUTS * OUTPUTS, 3),
        [INPUTS, OUTPUTS],
        DType::F32,
        device,
    );
    layer.weight = Param::from_tensor(weight);
    layer
}

fn inputs(device: &Device) -> Tensor<2> {
    tensor(&normal(5 * INPUTS, 4), [5, INPUTS], DType::F32, device)
}

fn measure(controls: &QuantControls, forward: impl FnOnce()) -> Vec<QuantizationError> {
    controls.request_errors();
    forward();
    controls.collect_errors().unwrap()
}

#[test]
fn weights_are_measured_as_they_are_quantized() {
    let groups = [
        WeightGranularity::PerTensor,
        WeightGranularity::PerChannel,
        WeightGranularity::PerGroup { group_size: 16 },
    ];
    for device in [Device::default(), Device::default().autodiff()] {
        for granularity in groups {
            let quantizers: [WeightQuantizer; 4] = [
                WeightQuantizer::ternary(granularity),
                WeightQuantizer::symmetric(4).with_granularity(granularity),
                WeightQuantizer::symmetric(8).with_granularity(granularity),
                WeightQuantizer::learned_step(BitWidth::Bits(2)).with_granularity(granularity),
            ];
            for quantizer in quantizers {
                let scheme = QatScheme::b1_58()
                    .with_weight(quantizer.clone())
                    .with_activation(None);
                let layer = layer(&scheme, &device);
                let controls = QuantControls::of(&layer);
                let errors = measure(&controls, || drop(layer.forward(inputs(&device))));
                let [error] = &errors[..] else {
                    panic!("one quantizer, got {errors:?}");
                };
                assert!(error.is_weight && error.path == "weight_quant");
                let values = floats(layer.weight.val());
                let quantized = floats(layer.quantized_weight());
                check(error, &values, &quantized);

                let range = quantizer.codes();
                let histogram = &error.code_histogram;
                let codes: Vec<i32> = histogram.iter().map(|count| count.code).collect();
                assert_eq!(
                    codes,
                    (range.min as i32..=range.max as i32).collect::<Vec<_>>()
                );
                let total: u64 = histogram.iter().map(|count| count.count).sum();
                assert_eq!(total as usize, values.len(), "{quantizer:?}");
                let zeros = histogram
                    .iter()
                    .find(|count| count.code == 0)
                    .unwrap()
                    .count;
                near(
                    Some(error.zero_fraction),
                    zeros as f64 / values.len() as f64,
                    1,
                    "zeros",
                );
                check_bins(error, &values, granularity, range.max);
                let scale = error.scale.unwrap();
                assert!(0.0 < scale.min && scale.min <= scale.mean && scale.mean <= scale.max);
                assert_eq!(
                    scale.min == scale.max,
                    granularity == WeightGranularity::PerTensor
                );
                assert_eq!(error.flip_rate, None, "the first look");
                assert!(
                    controls.collect_errors().unwrap().is_empty(),
                    "nothing was asked for"
                );
            }
        }
    }
}

#[test]
fn flips_are_the_codes_that_changed_since_the_last_look() {
    let device = Device::default();
    let scheme = QatScheme::b1_58().with_activation(None);
    let mut layer = layer(&scheme, &device);
    // Scale 1: codes are 1, 0, -1 and so on.
    let pattern = |flipped: usize| -> Vec<f32> {
        let code = |i: usize| [1.5, 0.0, -1.5][(i + usize::from(i < flipped)) % 3];
        (0..INPUTS * OUTPUTS).map(code).collect()
    };
    let controls = QuantControls::of(&layer);
    let mut look = |flipped: usize| {
        let values = tensor(&pattern(flipped), [INPUTS, OUTPUTS], DType::F32, &device);
        layer.weight = Param::initialized(layer.weight.id, values);
        // One clone measures for all.
        let clone = layer.clone();
        let errors = measure(&controls, || drop(clone.forward(inputs(&device))));
        (errors[0].flip_rate, errors[0].code_histogram.clone())
    };
    assert_eq!(look(0).0, None);
    assert_eq!(look(0).0, Some(0.0));
    let count = (INPUTS * OUTPUTS) as f64;
    let (flips, histogram) = look(96);
    assert_eq!(flips, Some(96.0 / count));
    let third = (INPUTS * OUTPUTS / 3) as u64;
    let counts: Vec<(i32, u64)> = histogram.iter().map(|c| (c.code, c.count)).collect();
    assert_eq!(counts, [-1, 0, 1].map(|code| (code, third)));
    assert_eq!(look(0).0, Some(96.0 / count));
}

#[test]
fn activations_are_measured_and_clipped_ones_counted() {
    let device = Device::default();
    for symmetric in [true, false] {
        let quantizer = ActivationQuantizer::Static { bits: 4, symmetric };
        let scheme = QatScheme::b1_58().with_activation(Some(quantizer));
        let layer = layer(&scheme, &device);
        let controls = QuantControls::of(&layer).filter(|path| path == "input_quant");
        let x = inputs(&device);
        let values = floats(x.clone());
        // Calibrated on half of the range.
        controls.observe(&ObserverConfig::min_max(), SamplingPolicy::default());
        layer.forward(x.clone().mul_scalar(0.5));
        controls
            .calibrate(&controls.finish_observation().unwrap())
            .unwrap();

        let errors = measure(&controls, || drop(layer.forward(x.clone())));
        let input = layer.input_quant.as_ref().unwrap();
        let quantized = floats(input.forward(x));
        check(&errors[0], &values, &quantized);
        assert!(!errors[0].is_weight && errors[0].scale.is_none());
        // Clipped values have an error above half a step; the step is the smallest difference.
        let mut levels = quantized.clone();
        levels.sort_by(f32::total_cmp);
        let steps = levels.windows(2).map(|pair| pair[1] - pair[0]);
        let step = steps.filter(|step| *step > 1e-6).fold(f32::MAX, f32::min);
        let pairs = values.iter().zip(&quantized);
        let clipped = pairs
            .filter(|(w, q)| (*w - *q).abs() > 0.5001 * step)
            .count();
        assert!(clipped > 0);
        near(
            Some(errors[0].clipping_rate),
            clipped as f64 / values.len() as f64,
            1,
            "clipping",
        );
    }
    let scheme = QatScheme::b1_58().with_activation(Some(ActivationQuantizer::Absmax {
        bits: 8,
        granularity: ActivationGranularity::PerToken,
    }));
    let layer = layer(&scheme, &device);
    let controls = QuantControls::of(&layer);
    let errors = measure(&controls, || drop(layer.forward(inputs(&device))));
    assert_eq!(errors[1].path, "input_quant");
    assert_eq!(errors[1].clipping_rate, 0.0);
}

#[test]
fn a_prepared_model_is_measured_in_full_at_any_lambda() {
    let device = Device::default();
    let linear = LinearConfig::new(INPUTS, OUTPUTS)
        .with_bias(false)
        .init(&device);
    let prepared = Prepare::new(QatScheme::weight_only())
        .with_group(ParamGroup::from_path("weight"))
        .apply(linear)
        .unwrap()
        .model;
    let quantized = floats(prepared.weight.val());
    let values = floats(prepared.weight.base());
    let controls = QuantControls::of(&prepared);
    for lambda in [1.0, 0.25, 0.0] {
        controls.set_lambda(lambda);
        let errors = measure(&controls, || drop(prepared.forward(inputs(&device))));
        assert_eq!(errors[0].path, "weight");
        check(&errors[0], &values, &quantized);
    }
}

#[test]
fn zero_and_non_finite_weights_have_no_signal_to_noise_ratio() {
    let device = Device::default();
    let scheme = QatScheme::b1_58().with_activation(None);
    for (value, finite) in [(0.0, true), (f32::NAN, false), (f32::INFINITY, false)] {
        let mut layer = layer(&scheme, &device);
        layer.weight = layer
            .weight
            .map(|w| w.zeros_like().slice_fill([0..1, 0..1], value));
        let controls = QuantControls::of(&layer);
        let errors = measure(&controls, || drop(layer.forward(inputs(&device))));
        let error = &errors[0];
        assert_eq!((error.sqnr_db, error.cosine), (None, None));
        assert_eq!(error.mse.is_some(), finite, "{value}");
        assert_eq!(error.scale.is_some(), finite, "{value}");
        assert_eq!(error.max_error.is_some(), finite, "{value}");
        let json = serde_json::to_string(error).unwrap();
        let read: QuantizationError = serde_json::from_str(&json).unwrap();
        assert_eq!(&read, error);
    }
}

#[test]
fn a_fork_of_the_model_measures_for_the_controls_of_the_first() {
    let device = Device::default();
    let layer = layer(&QatScheme::b1_58(), &device);
    let controls = QuantControls::of(&layer);
    let fork = layer.clone().fork(&device.clone().autodiff());
    let errors = measure(&controls, || drop(fork.forward(inputs(&device.autodiff()))));
    assert_eq!(errors.len(), 2);
}
