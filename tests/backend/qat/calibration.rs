//! Observers on a device, compared with the same observers on host values.

use bitnet_burn::quant::calibration::{
    CalibrationError, Mapping, Observer, ObserverConfig, ObserverGranularity,
};
use burn::tensor::{DType, Device, Tensor};

use crate::support::values::{float_types, normal, rounded, tensor};

const PER_CHANNEL: ObserverGranularity = ObserverGranularity::PerChannel;

/// One observer of each kind and granularity.
fn observers() -> Vec<Observer> {
    let ema = |granularity| ObserverConfig::EmaMinMax {
        momentum: 0.75,
        granularity,
    };
    let configs: [ObserverConfig; 7] = [
        ObserverConfig::min_max(),
        ObserverConfig::MinMax {
            granularity: PER_CHANNEL,
        },
        ema(ObserverGranularity::PerTensor),
        ema(PER_CHANNEL),
        ObserverConfig::Percentile {
            percentile: 95.0,
            bins: 64,
        },
        ObserverConfig::Histogram { bins: 64 },
        ObserverConfig::Mse {
            bits: 4,
            mapping: Mapping::Symmetric,
            candidates: 10,
            bins: 64,
        },
    ];
    configs.iter().map(ObserverConfig::init).collect()
}

/// Checks that the state after two samples equals that of the host values, bit for bit.
fn check<const D: usize>(shape: [usize; D], device: &Device) {
    let n = shape.iter().product();
    for dtype in float_types(device) {
        for mut observer in observers() {
            let mut on_host = observer.clone();
            for seed in 0..2 {
                let values = normal(n, seed);
                let sample = tensor(&values, shape, dtype, device);
                observer.observe(sample).unwrap();
                on_host.observe_values(&rounded(&values, dtype), shape[D - 1]);
            }
            assert_eq!(observer, on_host, "{shape:?}, {dtype:?}");
            assert!(observer.range().is_ok());
        }
    }
}

#[test]
fn tensors_of_any_rank_are_observed_as_their_values() {
    let device = Device::default();
    check([1], &device);
    check([33], &device);
    check([5, 7], &device);
    check([3, 4, 5], &device);
    check([2, 3, 4, 2], &device);
}

#[test]
fn a_tensor_under_autodiff_is_observed_like_any_other() {
    check([4, 6], &Device::default().autodiff());
}

#[test]
fn values_that_are_not_finite_are_counted_on_the_device() {
    let device = Device::default();
    // The second channel has no finite value.
    let values = [1.0, f32::NAN, -2.0, f32::INFINITY, 5.0, f32::NEG_INFINITY];
    for dtype in float_types(&device) {
        for mut observer in observers() {
            let mut on_host = observer.clone();
            observer
                .observe(tensor(&values, [3, 2], dtype, &device))
                .unwrap();
            observer
                .observe(tensor(&[0.5, 0.25], [1, 2], dtype, &device))
                .unwrap();
            on_host.observe_values(&values, 2);
            on_host.observe_values(&[0.5, 0.25], 2);
            assert_eq!(observer, on_host, "{dtype:?}");
            let error = observer.range().unwrap_err();
            let counted = matches!(
                error,
                CalibrationError::NonFinite {
                    non_finite: 3,
                    finite: 5,
                    ..
                }
            );
            assert!(counted, "{dtype:?}: {error}");
        }
    }
}

#[test]
fn an_empty_tensor_is_no_sample() {
    let device = Device::default();
    for mut observer in observers() {
        let before = observer.clone();
        observer
            .observe(Tensor::<2>::zeros([0, 3], &device))
            .unwrap();
        assert_eq!(observer, before);
    }
}

#[test]
fn a_value_of_f64_beyond_f32_is_not_finite() {
    let device = Device::default();
    if !device.supports_dtype(DType::F64) {
        return;
    }
    for mut observer in observers() {
        let values = Tensor::<1>::from_data([1e39f64, -0.1, 0.5], (&device, DType::F64));
        observer.observe(values).unwrap();
        let mut on_host = observer.config().init();
        on_host.observe_values(&[f32::INFINITY, -0.1, 0.5], 3);
        assert_eq!(observer, on_host);
    }
}

#[test]
#[should_panic(expected = "the observer has seen 2 channels before, got 3")]
fn another_number_of_channels_panics() {
    let device = Device::default();
    let granularity = PER_CHANNEL;
    let mut observer = ObserverConfig::MinMax { granularity }.init();
    observer
        .observe(Tensor::<2>::ones([1, 2], &device))
        .unwrap();
    let _ = observer.observe(Tensor::<2>::ones([1, 3], &device));
}
