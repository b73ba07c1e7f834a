//! A training configuration for tests of its formats.

use bitnet_burn::{
    peft::{LoraConfig, PeftConfig},
    quant::{
        ActivationQuantizer, BitWidth, HadamardConfig, NoiseConfig, QatScheme, WeightGranularity,
        WeightQuantizer,
        calibration::{ObserverConfig, SamplingPolicy},
        schedule::{BitWidthSchedule, ProgressiveSchedule, ProgressiveShape},
    },
    train::{
        callback::{MitigationRule, Remedy, Symptom},
        checkpoint::{BestMetric, CheckpointPolicy, Resume},
        config::{
            CalibrationConfig, ErrorMonitorConfig, LearningRateConfig, MonitoringConfig, NanPolicy,
            OptimizerConfig, OptimizerKind, ParameterGroupConfig, RunConfig, ScheduleConfig,
            TrainingConfig,
        },
    },
};

/// A configuration without any default value.
pub fn unusual() -> TrainingConfig {
    let weight = WeightQuantizer::ternary(WeightGranularity::PerGroup { group_size: 64 });
    TrainingConfig {
        training: RunConfig {
            steps: 77,
            epochs: 3,
            grad_accumulation: 2,
            seed: 9,
            gradient_checkpointing: true,
        },
        qat: QatScheme::b1_58()
            .with_weight(weight)
            .with_activation(Some(ActivationQuantizer::Static {
                bits: 8,
                symmetric: true,
            }))
            .with_rotation(Some(HadamardConfig::new(64)))
            .with_noise(Some(NoiseConfig::Quant {
                fraction: 0.5,
                seed: 3,
            })),
        optimizer: OptimizerConfig {
            beta_1: 0.8,
            beta_2: 0.99,
            epsilon: 1e-7,
            weight_decay: 0.0,
            max_grad_norm: None,
            kind: OptimizerKind::AdamW8bit,
            stochastic_rounding: true,
            groups: vec![
                ParameterGroupConfig::new("norm").with_weight_decay(0.0),
                ParameterGroupConfig::new("steps$").with_learning_rate(0.1),
            ],
        },
        peft: Some(PeftConfig::Lora(
            LoraConfig::new(3).with_alpha(5.0).with_dropout(0.1),
        )),
        learning_rate: LearningRateConfig::Cosine {
            peak: 1.5e-3,
            warm_up_steps: 7,
            end: 0.0,
        },
        schedule: ScheduleConfig {
            progressive: Some(
                ProgressiveSchedule::new(ProgressiveShape::Sigmoid { k: 15.0 }, 3, 60).unwrap(),
            ),
            layerwise: None,
            bit_width: Some(
                BitWidthSchedule::new([(0, BitWidth::Bits(8)), (9, BitWidth::Ternary)]).unwrap(),
            ),
        },
        calibration: Some(CalibrationConfig {
            start: 10,
            end: 20,
            observer: ObserverConfig::mse(),
            sampling: SamplingPolicy::every(3).with_max_samples(5),
            file: Some("ranges.json".into()),
        }),
        monitoring: MonitoringConfig {
            progress_every: None,
            log_file: Some("log.jsonl".into()),
            log_every: 3,
            gradients_every: Some(7),
            nan: NanPolicy::Skip { max_skips: 4 },
            errors: Some(ErrorMonitorConfig {
                every: 4,
                html_file: Some("report.html".into()),
                json_file: Some("errors.jsonl".into()),
                rules: vec![
                    MitigationRule {
                        symptom: Symptom::SqnrBelow { db: 8.0 },
                        patience: 2,
                        remedy: Remedy::Bits { bits: 4 },
                    },
                    MitigationRule {
                        symptom: Symptom::LossAbove { factor: 3.0 },
                        patience: 1,
                        remedy: Remedy::RollBack,
                    },
                ],
                dry_run: true,
            }),
        },
        checkpoints: Some(
            CheckpointPolicy::new("run/checkpoints")
                .every_steps(11)
                .keep_last(4)
                .keep_best(BestMetric::loss())
                .resume(Resume::Step(22))
                .fingerprint("mine"),
        ),
    }
}
