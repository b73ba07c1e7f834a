//! Training configurations as text: round trip of every value, and named errors.

use std::fs;

use bitnet_burn::{
    quant::{QatScheme, WeightQuantizer, schedule::LayerwiseConfig},
    train::{
        Trainer,
        checkpoint::{CheckpointPolicy, Resume},
        config::{LearningRateConfig, TrainingConfig, TrainingConfigError},
    },
};

use crate::support::training::{BATCHES, Folder, Run, loader};
use crate::support::unusual_config::unusual;

#[test]
fn every_value_comes_back_from_toml_and_json() {
    let mut configs = vec![TrainingConfig::default(), unusual()];
    let mut float = unusual();
    float.qat = QatScheme::b1_58()
        .with_weight(WeightQuantizer::symmetric(4))
        .with_activation(None);
    float.schedule.progressive = None;
    float.schedule.layerwise = Some(LayerwiseConfig::default());
    float.learning_rate = LearningRateConfig::TwoStage {
        peak_1: 1e-3,
        peak_2: 5e-4,
        warm_up_steps: 0,
        decay: bitnet_burn::optim::LrDecay::Cosine,
    };
    configs.push(float);
    let folder = Folder::new("config");
    for config in configs {
        let read = TrainingConfig::from_toml(&config.to_toml()).unwrap();
        assert_eq!(read, config, "{}", config.to_toml());
        let read = TrainingConfig::from_json(&config.to_json()).unwrap();
        assert_eq!(read, config, "{}", config.to_json());
        for name in ["config.toml", "config.json"] {
            let path = folder.0.join(name);
            config.save(&path).unwrap();
            assert_eq!(TrainingConfig::load(&path).unwrap(), config);
        }
    }
    assert_eq!(
        fs::read_dir(&folder.0).unwrap().count(),
        2,
        "nothing is left beside them"
    );
    assert_eq!(
        TrainingConfig::from_toml("").unwrap(),
        TrainingConfig::default()
    );
}

#[test]
fn a_wrong_value_is_named_with_its_range() {
    for (text, message) in [
        (
            "[training]\nsteps = 0",
            "training.steps must be 1 or more, got 0",
        ),
        (
            "[training]\nepochs = 0",
            "training.epochs must be 1 or more, got 0",
        ),
        (
            "[optimizer]\nbeta_1 = 1.0",
            "optimizer.beta_1 must be in [0, 1), got 1",
        ),
        (
            "[optimizer]\nepsilon = 0.0",
            "optimizer.epsilon must be positive and finite, got 0",
        ),
        (
            "[optimizer]\nweight_decay = -0.1",
            "optimizer.weight_decay must be zero or above and finite, got -0.1",
        ),
        (
            "[optimizer]\nmax_grad_norm = nan",
            "optimizer.max_grad_norm must be positive and finite, got NaN",
        ),
        (
            "[learning_rate.cosine]\npeak = 1e-3\nend = 2.0",
            "learning_rate.cosine.end must be in [0, 1], got 2",
        ),
        (
            "[monitoring]\nprogress_every = 0",
            "monitoring.progress_every must be 1 or more, got 0",
        ),
        (
            "[checkpoints]\nfolder = \"run\"\nkeep_last = 0",
            "checkpoints.keep_last must be 1 or more, got 0",
        ),
        (
            "[calibration]\nstart = 5\nend = 5",
            "calibration.end must be above calibration.start, which is 5, got 5",
        ),
        (
            "[schedule.progressive]\nend = 5\n[schedule.layerwise]",
            "schedule.layerwise must be absent where schedule.progressive is given, got both",
        ),
    ] {
        let error = TrainingConfig::from_toml(text).unwrap_err();
        assert!(
            matches!(error, TrainingConfigError::OutOfRange { .. }),
            "{error:?}"
        );
        assert_eq!(error.to_string(), message);
    }
}

#[test]
fn a_text_that_is_no_configuration_is_an_error_with_its_place() {
    for (text, parts) in [
        (
            "[optimizer]\nbeta = 1",
            vec!["optimizer", "unknown field `beta`"],
        ),
        (
            "[training]\nsteps = \"many\"",
            vec!["training.steps", "invalid type: string"],
        ),
        (
            "[training]\nsteps = -1",
            vec!["training.steps", "invalid value"],
        ),
        (
            "[qat.activation.absmax]\nbits = 9\ngranularity = \"per_token\"",
            vec!["qat.activation", "bits must be 2 to 8, got 9"],
        ),
        (
            "[schedule.progressive]\nstart = 9\nend = 3",
            vec!["schedule.progressive", "9", "3"],
        ),
        (
            "[qat]\nactivation = \"non\"",
            vec!["qat.activation", "\"none\""],
        ),
        ("training = ", vec!["line 1"]),
    ] {
        let error = TrainingConfig::from_toml(text).unwrap_err();
        assert!(
            matches!(error, TrainingConfigError::Parse { .. }),
            "{error:?}"
        );
        let message = error.to_string();
        for part in parts {
            assert!(message.contains(part), "{part:?} in {message:?}");
        }
    }
    let json = r#"{"optimizer": {"beta_2": "x"}}"#;
    let message = TrainingConfig::from_json(json).unwrap_err().to_string();
    assert!(message.contains("optimizer.beta_2"), "{message}");
    assert!(TrainingConfig::from_json("{} {}").is_err());

    let message = TrainingConfig::load("config.yaml").unwrap_err().to_string();
    assert!(message.contains("ends in .toml or .json"), "{message}");
    let message = TrainingConfig::load("/nowhere/config.toml")
        .unwrap_err()
        .to_string();
    assert!(message.starts_with("/nowhere/config.toml: "), "{message}");
}

#[test]
fn a_warm_up_must_end_within_the_training() {
    let error = LearningRateConfig::default()
        .init(100, &Default::default())
        .err()
        .unwrap();
    let expected = "learning_rate.cosine.warm_up_steps must be fewer than the 100 steps of the \
                    training, got 100";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn a_training_runs_by_its_configuration_and_goes_on_only_with_the_same() {
    let folder = Folder::new("config");
    let mut config = unusual();
    config.qat.rotation = None;
    config.optimizer.groups.clear();
    config.training.grad_accumulation = 1;
    config.training.steps = 3 * BATCHES;
    config.training.gradient_checkpointing = false;
    config.schedule.bit_width = None;
    config.monitoring.log_file = Some(folder.0.join("log.jsonl"));
    let errors = config.monitoring.errors.as_mut().unwrap();
    errors.html_file = Some(folder.0.join("report.html"));
    errors.json_file = Some(folder.0.join("errors.jsonl"));
    let calibration = config.calibration.as_mut().unwrap();
    calibration.file = Some(folder.0.join("ranges.json"));
    let policy = CheckpointPolicy::new(folder.0.join("checkpoints"));
    config.checkpoints = Some(policy);
    // The layers are narrower than the groups.
    config.qat.weight = WeightQuantizer::default();
    let run = Run {
        scheme: config.qat.clone(),
        ..Run::new(&folder.0)
    };
    let launch = |config: &TrainingConfig| {
        let trainer = Trainer::new(run.learner().model(), config.clone()).unwrap();
        trainer.train(loader(1, true), run.valid.clone())
    };
    let trained = launch(&config).unwrap();
    assert!(trained.model.weights().iter().all(|w| w.is_finite()));
    let log = fs::read_to_string(folder.0.join("log.jsonl")).unwrap();
    for source in [
        "calibration",
        "progressive_quantization",
        "gradient_statistics",
    ] {
        // Lambda is 1 only at step 60, after the training.
        let expected = source != "progressive_quantization";
        assert_eq!(log.contains(source), expected, "{source} in {log}");
    }
    for file in ["ranges.json", "report.html", "errors.jsonl"] {
        assert!(folder.0.join(file).exists(), "{file}");
    }

    let resume = |config: &mut TrainingConfig| {
        config.checkpoints.as_mut().unwrap().resume = Resume::Latest;
    };
    let mut other = config.clone();
    other.optimizer.beta_1 = 0.7;
    resume(&mut other);
    let error = launch(&other).unwrap_err().to_string();
    assert!(error.contains("is of another run"), "{error}");
    resume(&mut config);
    config.monitoring.log_every = 1;
    launch(&config).unwrap();
}
