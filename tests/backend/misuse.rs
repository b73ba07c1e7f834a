//! Misuse by callers: the message has the value, and the panic location is the caller's line.

use std::{
    panic::{self, AssertUnwindSafe},
    sync::{Arc, Mutex, Once},
};

use bitnet_burn::{
    functions::{
        Groups, absmax_quantize, gated_activation, hadamard_transform, ternary_fake_quant,
    },
    loss::*,
    nn::GatedActivation,
    optim::{
        AdamW8bitConfig, DecoupledWeightDecay, LatentClipping, LossScalerConfig,
        QatOptimizerConfig, TwoStageLrSchedulerConfig, WeightDecaySchedule,
    },
    qat::{Prepare, QuantControls},
    quant::{calibration::*, *},
};
use burn::{
    nn::LinearConfig,
    tensor::{Device, Int, Tensor},
};

thread_local! {
    static PLACE: Mutex<Option<(String, u32)>> = const { Mutex::new(None) };
}

/// Records the location of panics of these tests.
fn watch() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = Arc::new(panic::take_hook());
        panic::set_hook(Box::new(move |info| {
            let place = info.location().map(|at| (at.file().to_string(), at.line()));
            PLACE.with(|slot| *slot.lock().unwrap() = place);
            before(info);
        }));
    });
}

/// Returns the message of a panic, which must be located in this file, within the call.
#[track_caller]
fn message<T>(misuse: impl FnOnce() -> T) -> String {
    watch();
    let line = panic::Location::caller().line();
    let result = panic::catch_unwind(AssertUnwindSafe(misuse));
    let Err(payload) = result else {
        panic!("nothing is wrong with line {line}");
    };
    let (file, at) = PLACE.with(|slot| slot.lock().unwrap().take()).unwrap();
    let text = match payload.downcast::<String>() {
        Ok(text) => *text,
        Err(payload) => (*payload.downcast::<&str>().unwrap()).to_string(),
    };
    assert!(file.ends_with("misuse.rs"), "{file}:{at}: {text}");
    // The misuse may span some lines, before or within the call.
    assert!(at.abs_diff(line) < 6, "{at} is not {line}: {text}");
    text
}

#[track_caller]
fn check<T>(misuse: impl FnOnce() -> T, expected: &str) {
    let text = message(misuse);
    assert!(text.contains(expected), "expected {expected:?}: {text}");
}

#[test]
fn quantizers_are_checked_where_they_are_made() {
    let bits = "bits must be 2 to 8, got 1";
    check(|| WeightQuantizer::symmetric(1), bits);
    check(|| WeightQuantizer::learned_step(BitWidth::Bits(1)), bits);
    let none = WeightGranularity::PerGroup { group_size: 0 };
    let size = "group_size must be 1 or more, got 0";
    check(|| WeightQuantizer::ternary(none), size);
    check(|| WeightQuantizer::binary(none), size);
    check(
        || WeightQuantizer::symmetric(8).with_granularity(none),
        size,
    );
    check(
        || WeightQuantizer::learned_step(BitWidth::Ternary).with_granularity(none),
        size,
    );
    check(
        || Ste::clipped(0.0),
        "bound must be positive and finite, got 0",
    );
    check(
        || Ste::tanh(f32::NAN),
        "must be positive and finite, got NaN",
    );
}

#[test]
fn parts_that_are_made_without_functions_are_checked_by_the_scheme() {
    let scheme = QatScheme::b1_58;
    let activation = |activation| scheme().with_activation(Some(activation));
    let bits = 9;
    let granularity = ActivationGranularity::PerToken;
    let wrong: [ActivationQuantizer; 6] = [
        ActivationQuantizer::Absmax { bits, granularity },
        ActivationQuantizer::Absmean { bits, granularity },
        ActivationQuantizer::Asymmetric { bits, granularity },
        ActivationQuantizer::TopK { keep: 0.5, bits },
        ActivationQuantizer::Static {
            bits,
            symmetric: true,
        },
        ActivationQuantizer::LearnedStep {
            bits,
            offset: false,
            absmean: 0.8,
        },
    ];
    for wrong in wrong {
        let with = || scheme().with_activation(Some(wrong));
        check(with, "bits must be 2 to 8, got 9");
    }
    let top_k = ActivationQuantizer::TopK { keep: 0.0, bits: 8 };
    check(
        || scheme().with_activation(Some(top_k)),
        "keep must be in (0, 1], got 0",
    );
    let learned = |absmean| ActivationQuantizer::LearnedStep {
        bits: 8,
        offset: false,
        absmean,
    };
    check(
        || scheme().with_activation(Some(learned(-1.0))),
        "absmean must be positive and finite, got -1",
    );
    let weight = WeightQuantizer::Symmetric {
        bits: 0,
        granularity: WeightGranularity::PerTensor,
    };
    check(
        || scheme().with_weight(weight),
        "bits must be 2 to 8, got 0",
    );
    let (seed, factor, fraction) = (0, -1.0, 2.0);
    check(
        || scheme().with_noise(Some(NoiseConfig::Uniform { factor, seed })),
        "factor must be zero or above and finite, got -1",
    );
    check(
        || scheme().with_noise(Some(NoiseConfig::Quant { fraction, seed })),
        "fraction must be in [0, 1], got 2",
    );
    let ste = Ste::Clipped { bound: -2.0 };
    check(
        || scheme().with_ste(ste),
        "bound must be positive and finite",
    );
    let mut whole = activation(ActivationQuantizer::Absmax {
        bits: 8,
        granularity,
    });
    whole.weight = WeightQuantizer::Binary {
        granularity: WeightGranularity::PerGroup { group_size: 0 },
    };
    check(
        || Prepare::new(whole),
        "group_size must be 1 or more, got 0",
    );
}

/// Asserts that a configuration in JSON is rejected with the same message as in code.
#[test]
fn deserializing_and_code_have_the_same_error_messages() {
    let error = |json: &str| {
        serde_json::from_str::<QatScheme>(json)
            .unwrap_err()
            .to_string()
    };
    let top_k = ActivationQuantizer::TopK { keep: 1.5, bits: 8 };
    let learned = ActivationQuantizer::LearnedStep {
        bits: 8,
        offset: false,
        absmean: 0.0,
    };
    let cases = [
        (
            r#"{"weight": {"symmetric": {"bits": 1}}}"#,
            message(|| WeightQuantizer::symmetric(1)),
        ),
        (
            r#"{"weight": {"ternary": {"granularity": {"per_group": {"group_size": 0}}}}}"#,
            message(|| WeightQuantizer::ternary(WeightGranularity::PerGroup { group_size: 0 })),
        ),
        (
            r#"{"activation": {"top_k": {"keep": 1.5}}}"#,
            message(|| QatScheme::b1_58().with_activation(Some(top_k))),
        ),
        (
            r#"{"activation": {"learned_step": {"absmean": 0.0}}}"#,
            message(|| QatScheme::b1_58().with_activation(Some(learned))),
        ),
    ];
    for (json, expected) in cases {
        let error = error(json);
        assert!(error.contains(&expected), "expected {expected:?}: {error}");
    }
    let json = r#"{"until": {"value": -0.1, "until": 5}}"#;
    let error = serde_json::from_str::<WeightDecaySchedule>(json).unwrap_err();
    let expected = message(|| WeightDecaySchedule::until_midpoint(-0.1, 10));
    assert!(error.to_string().contains(&expected), "{error}");
}

#[test]
fn losses_are_checked_where_a_number_is_given() {
    let causal = CausalLmLoss::new;
    check(
        || causal().with_label_smoothing(1.5),
        "label_smoothing must be in [0, 1], got 1.5",
    );
    check(
        || causal().with_z_loss(f64::NAN),
        "z_loss must be zero or above and finite, got NaN",
    );
    check(
        || InfoNceLoss::new().with_temperature(0.0),
        "temperature must be positive and finite, got 0",
    );
    check(
        || KurtosisLoss::new().with_target(-1.0),
        "target kurtosis must be positive",
    );
    check(
        || ScaleDecayLoss::new().with_coefficient(-1.0),
        "coefficient must be zero or above and finite, got -1",
    );
    check(
        || SparsityTargetLoss::new(1.5),
        "target sparsity must be in [0, 1], got 1.5",
    );
    check(
        || WeightRegularizer::new(Regularizer::L1).with_coefficient(f64::INFINITY),
        "coefficient must be zero or above and finite, got inf",
    );
    // Losses with Burn's builders are checked when they are used.
    let device = Device::default();
    let zero = || LogitsDistillationLoss::new().with_temperature(0.0);
    let logits = || Tensor::<2>::ones([1, 4], &device);
    check(|| zero().forward(logits(), logits()), "got 0");
    let config = DistillationLossConfig::new().with_logits(Some(zero()));
    check(|| config.init(&device), "got 0");
    let states = || Tensor::<3>::ones([1, 2, 4], &device);
    let states = AttentionStates {
        query: states(),
        key: states(),
        value: states(),
    };
    let no_heads = AttentionRelationLoss::new(0);
    check(
        || no_heads.forward(&states, &states, None),
        "split_heads must be 1 or more, got 0",
    );
}

#[test]
fn optimizers_and_schedules_are_checked_where_they_are_made() {
    for peak in [0.0, -1e-3, f64::NAN, f64::INFINITY] {
        check(
            || TwoStageLrSchedulerConfig::new(peak, 1e-3, 1000).init(),
            &format!("peak_1 must be positive and finite, got {peak}"),
        );
    }
    check(
        || TwoStageLrSchedulerConfig::new(1e-3, 1e-3, 0).init(),
        "the warm-up must end within the training",
    );
    let decay = "weight decay must be zero or above and finite, got -0.1";
    check(|| DecoupledWeightDecay::new(-0.1), decay);
    check(|| WeightDecaySchedule::until_midpoint(-0.1, 100), decay);
    check(
        || WeightDecaySchedule::rise_until_midpoint(-0.1, 100),
        decay,
    );
    let linear = LinearConfig::new(4, 4).init(&Device::default());
    let clipping = QatOptimizerConfig::new().with_clipping(Some(LatentClipping::Scaled(1.0)));
    let optimizer = clipping.build(AdamW8bitConfig::new().build());
    check(
        || optimizer.init(&linear),
        "clipping and freezing are for latent weights, the model has none",
    );
    check(|| AdamW8bitConfig::new().with_beta_1(1.5).build(), "1.5");
    check(
        || LossScalerConfig::new().with_growth_interval(0).init(),
        "0",
    );
}

#[test]
fn observers_are_checked_where_they_are_made() {
    let observer = ObserverConfig::Percentile {
        percentile: 40.0,
        bins: 4096,
    };
    check(
        || observer.init(),
        "percentile must be in (50, 100], got 40",
    );
    check(
        || ObserverConfig::Histogram { bins: 17 }.init(),
        "a power of two from 16 to 65536, got 17",
    );
    check(
        || SamplingPolicy::every(0),
        "the number of steps between samples must be 1 or more",
    );
    check(|| Mapping::Symmetric.codes(9), "9");
}

#[test]
fn operations_name_the_line_of_their_caller() {
    let device = Device::default();
    let x = |shape: [usize; 2]| Tensor::<2>::ones(shape, &device);
    check(
        || gated_activation(x([2, 3]), x([2, 4]), GatedActivation::Silu),
        "gate and up",
    );
    check(|| hadamard_transform(x([2, 6]), 4), "4");
    check(|| absmax_quantize(x([2, 4]), 9), "9");
    check(
        || {
            ternary_fake_quant(
                x([2, 4]),
                Groups {
                    outer: 3,
                    size: 2,
                    inner: 1,
                },
            )
        },
        "",
    );
    check(|| BitWidth::Bits(9).codes(), "9");
    let controls = QuantControls::of(&LinearConfig::new(1, 1).init(&device));
    check(|| controls.set_lambda(f64::NAN), "NaN");
    let quantizer = ActivationQuantizer::TopK { keep: 2.0, bits: 8 };
    check(
        || quantizer.fake_quant(x([2, 4]), Ste::Identity),
        "keep must be",
    );
    let logits = Tensor::<3>::ones([1, 2, 4], &device);
    let targets = Tensor::<2, Int>::zeros([1, 3], &device);
    check(
        || CausalLmLoss::forward(&CausalLmLoss::new(), logits, targets),
        "3",
    );
}

#[cfg(feature = "train")]
#[test]
fn trainings_are_checked_where_they_are_described() {
    use crate::support::training::strategy;
    use bitnet_burn::train::{
        callback::*,
        checkpoint::{BestMetric, CheckpointPolicy},
        config::TrainingConfig,
    };
    check(
        || strategy().with_max_steps(0),
        "max_steps must be 1 or more, got 0",
    );
    check(
        || CheckpointPolicy::new("run").every_steps(0),
        "every_steps must be 1 or more, got 0",
    );
    check(
        || EarlyStopping::new(BestMetric::loss(), 0),
        "patience must be 1 or more, got 0",
    );
    check(
        || JsonLogger::new("log").every(0),
        "every must be 1 or more, got 0",
    );
    check(
        || GradientStatistics::every(0),
        "every must be 1 or more, got 0",
    );
    check(
        || GradientClipping::new(f64::NAN),
        "max_norm must be positive and finite, got NaN",
    );
    let controls = QuantControls::of(&LinearConfig::new(1, 1).init(&Device::default()));
    let observer = ObserverConfig::Histogram { bins: 3 };
    check(
        || Calibration::new(controls.clone(), observer, 0, 5),
        "bins must be a power of two",
    );
    let keep = message(|| CheckpointPolicy::new("run").keep_last(0));
    let toml = "[checkpoints]\nfolder = \"run\"\nkeep_last = 0";
    let error = TrainingConfig::from_toml(toml).unwrap_err().to_string();
    assert_eq!(error, format!("checkpoints.{keep}"));

    // Values set in code are checked, too.
    let mut config = TrainingConfig::default();
    config.qat.weight = WeightQuantizer::Symmetric {
        bits: 1,
        granularity: WeightGranularity::PerTensor,
    };
    let error = config.validate().unwrap_err().to_string();
    assert_eq!(error, "qat.weight.bits must be 2 to 8, got 1");
}

#[cfg(feature = "text")]
#[test]
fn batches_are_checked_where_they_are_made() {
    use bitnet_burn::text::dataset::{Sequence, TokenBatch};
    let device = Device::default();
    let sequence = |length| Sequence::unmasked((0..length).collect());
    check(
        || TokenBatch::new(&[], &device),
        "a batch has at least one sequence",
    );
    check(
        || TokenBatch::new(&[sequence(4), sequence(5)], &device),
        "the sequences of a batch have 3 positions each",
    );
}
