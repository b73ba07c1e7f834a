//! Random sequences of stops, kills, resumes and rollbacks: the result equals the uninterrupted training,
//! bit for bit, and everything else is an error.

use std::{
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex},
};

use bitnet_burn::{
    optim::{DecoupledWeightDecay, LossScalerConfig, QatOptimizerConfig, WeightDecaySchedule},
    qat::QuantControls,
    quant::{
        ActivationQuantizer, BitWidth, NoiseConfig, QatScheme,
        calibration::ObserverConfig,
        schedule::{BitWidthSchedule, ProgressiveSchedule, ProgressiveShape},
    },
    train::{
        callback::*,
        checkpoint::{BestMetric, CheckpointFolder, CheckpointPolicy, Resume},
    },
};
use burn::{
    data::dataloader::{DataLoader, DataLoaderIterator},
    lr_scheduler::constant::ConstantLr,
    optim::{AdamWConfig, ModuleOptimizer},
    tensor::Device,
    train::{Interrupter, Learner},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestRunner},
};

use crate::support::{
    training::{BATCHES, Batch, Folder, Net, Run, loader, strategy},
    values::*,
};

const ACCUMULATION: usize = 2;
/// Steps of an epoch: three of two batches, one of the last batch.
const STEPS: usize = BATCHES.div_ceil(ACCUMULATION);
const EVERY: usize = 3;
const KEPT: usize = 4;
const EPOCHS: usize = 3;

/// Rollbacks that led to a state: the step before each, and the step of its checkpoint.
type History = Vec<(usize, usize)>;

/// Event that ends a part of a training.
#[derive(Debug, Clone, Copy, PartialEq)]
enum End {
    Finished,
    StopAtStep(usize),
    /// Ends after this number of batches of the part.
    StopAtBatch(usize),
    StopInValidation,
    KillAtStep(usize),
}

/// A part of a training.
#[derive(Debug, Clone)]
struct Part {
    epochs: usize,
    /// Checkpoint to resume from; the newest for `None`.
    from: Option<usize>,
    rollback: Option<usize>,
    end: End,
}

fn part() -> impl Strategy<Value = Part> {
    let steps = 1..=EPOCHS * STEPS;
    let end = prop_oneof![
        Just(End::Finished),
        steps.clone().prop_map(End::StopAtStep),
        (1..=EPOCHS * BATCHES).prop_map(End::StopAtBatch),
        Just(End::StopInValidation),
        steps.clone().prop_map(End::KillAtStep),
    ];
    let from = prop::option::weighted(0.3, 0..8usize);
    let rollback = prop::option::weighted(0.4, steps);
    (1..=EPOCHS, from, rollback, end).prop_map(|(epochs, from, rollback, end)| Part {
        epochs,
        from,
        rollback,
        end,
    })
}

/// Executes the events of a part, and counts its batches.
struct Script {
    rollbacks: Vec<usize>,
    checkpoints: Vec<usize>,
    end: End,
    batches: usize,
}

impl Callback<Net> for Script {
    fn name(&self) -> &str {
        "script"
    }

    fn after_backward(
        &mut self,
        run: &mut TrainingRun<Net>,
        _pass: &mut BackwardPass<'_, Net>,
    ) -> CallbackResult {
        self.batches += 1;
        if self.end == End::StopAtBatch(self.batches) {
            run.stop("script", "enough");
        }
        Ok(())
    }

    fn after_optimizer_step(&mut self, run: &mut TrainingRun<Net>) -> CallbackResult {
        let step = run.position().step;
        if self.checkpoints.contains(&step) {
            run.request_checkpoint();
        }
        if self.rollbacks.contains(&step) {
            run.request_rollback("script", "astray");
        }
        if self.end == End::StopAtStep(step) {
            run.stop("script", "enough");
        }
        match self.end == End::KillAtStep(step) {
            true => Err("killed".into()),
            false => Ok(()),
        }
    }
}

/// Validation data, during which the training is stopped.
struct Stopping {
    loader: Arc<dyn DataLoader<Batch>>,
    interrupter: Interrupter,
}

impl DataLoader<Batch> for Stopping {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(StoppingIterator {
            batches: self.loader.iter(),
            interrupter: &self.interrupter,
            count: 0,
        })
    }

    fn num_items(&self) -> usize {
        self.loader.num_items()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            loader: self.loader.to_device(device),
            interrupter: self.interrupter.clone(),
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        self.loader.slice(start, end)
    }
}

struct StoppingIterator<'a> {
    batches: Box<dyn DataLoaderIterator<Batch> + 'a>,
    interrupter: &'a Interrupter,
    count: usize,
}

impl Iterator for StoppingIterator<'_> {
    type Item = Result<Batch, burn::data::dataset::DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.count += 1;
        if self.count == 3 {
            self.interrupter.stop(Some("enough"));
        }
        self.batches.next()
    }
}

impl DataLoaderIterator<Batch> for StoppingIterator<'_> {
    fn progress(&self) -> burn::data::dataloader::Progress {
        self.batches.progress()
    }
}

/// Final state of a training.
#[derive(Debug, Clone)]
struct Outcome {
    weights: Vec<f32>,
    controls: String,
    /// State of its callbacks.
    states: BTreeMap<String, serde_json::Value>,
    /// Steps and validations of its log.
    log: Vec<serde_json::Value>,
}

/// Trains with all features that have state or depend on the step. Returns the model, or the error.
fn train(
    folder: &Folder,
    part: &Part,
    script: Script,
    policy: CheckpointPolicy,
) -> Result<Net, String> {
    let scheme = QatScheme::b1_58()
        .with_activation(Some(ActivationQuantizer::Static {
            bits: 8,
            symmetric: true,
        }))
        .with_noise(Some(NoiseConfig::Quant {
            fraction: 0.5,
            seed: 3,
        }));
    let interrupter = Interrupter::new();
    let valid = loader(2, false);
    let valid: Arc<dyn DataLoader<Batch>> = match script.end {
        End::StopInValidation => Arc::new(Stopping {
            loader: valid,
            interrupter: interrupter.clone(),
        }),
        _ => valid,
    };
    let run = Run {
        epochs: part.epochs,
        grad_accumulation: Some(ACCUMULATION),
        scheme,
        interrupter: Some(interrupter),
        valid,
        ..Run::new(&folder.0)
    };
    let model = run.learner().model();
    let controls = QuantControls::of(&model);
    let decay = DecoupledWeightDecay::new(0.0);
    let optimizer = QatOptimizerConfig::new()
        .build(AdamWConfig::new().build())
        .with_weight_decay(&decay);
    let learner = Learner::new(
        model,
        ModuleOptimizer::from(optimizer),
        ConstantLr::new(0.02),
    );
    let scaler = LossScalerConfig::new()
        .with_initial_scale(4.0)
        .with_growth_interval(3);
    let monitor = ErrorMonitor::new(controls.clone()).every(2);
    // The second and the fourth measurement give each channel its own scale, and 8 bits.
    let rules = [(2, Remedy::PerChannel), (4, Remedy::Bits { bits: 8 })];
    let rules = rules.map(|(patience, remedy)| MitigationRule {
        symptom: Symptom::SqnrBelow { db: 1000.0 },
        patience,
        remedy,
    });
    let mitigation = Mitigation::new(rules.to_vec(), controls.clone(), monitor.history());
    let lambda = ProgressiveSchedule::new(ProgressiveShape::Linear, 1, 9).unwrap();
    let widths = [
        (0, BitWidth::Bits(8)),
        (5, BitWidth::Bits(4)),
        (8, BitWidth::Ternary),
    ];
    let widths = BitWidthSchedule::new(widths).unwrap();
    let calibration = Calibration::new(controls.clone(), ObserverConfig::min_max(), 2, 7);
    let strategy = strategy()
        .with_callback(ProgressiveQuantization::new(controls.clone(), lambda))
        .with_callback(BitWidthAnnealing::new(controls.clone(), widths))
        .with_callback(QuantizationNoise::new(controls.clone()))
        .with_callback(calibration)
        .with_callback(LossScaling::new(&SharedLossScaler::new(&scaler)))
        .with_callback(GradientClipping::new(0.5))
        .with_callback(GradientStatistics::every(2))
        .with_callback(NanGuard::stop())
        .with_callback(ScheduledWeightDecay::new(
            &decay,
            WeightDecaySchedule::until_midpoint(0.1, EPOCHS * STEPS),
        ))
        .with_callback(EarlyStopping::new(BestMetric::loss(), 50))
        .with_callback(monitor)
        .with_callback(mitigation)
        .with_callback(JsonLogger::new(folder.0.join("log.jsonl")).every(1))
        .with_callback(PlainProgress::new().every(1000))
        .with_callback(Interruption::new())
        .with_callback(script)
        .with_checkpoints(policy);
    let result = run.launch_learner(learner, strategy);
    match result.error {
        Some(error) => Err(error.to_string()),
        None => Ok(result.model),
    }
}

fn outcome(folder: &Folder, model: &Net, checkpoints: &CheckpointFolder) -> Outcome {
    let log = std::fs::read_to_string(folder.0.join("log.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str(line).unwrap());
    let newest = checkpoints.newest().unwrap().manifest.unwrap();
    Outcome {
        weights: model.weights(),
        controls: QuantControls::of(model).to_string(),
        states: newest.callbacks,
        log: lines
            .filter(|line: &serde_json::Value| line["kind"] != "event")
            .collect(),
    }
}

/// Runs the uninterrupted training, with the same rollbacks.
fn straight(history: &History) -> Outcome {
    static KNOWN: Mutex<Option<HashMap<History, Outcome>>> = Mutex::new(None);
    let known = |outcomes: &Mutex<Option<HashMap<History, Outcome>>>| {
        let outcomes = outcomes.lock().unwrap();
        outcomes
            .as_ref()
            .and_then(|outcomes| outcomes.get(history).cloned())
    };
    if let Some(outcome) = known(&KNOWN) {
        return outcome;
    }
    let folder = Folder::new("straight");
    let checkpoints = CheckpointFolder::new(folder.0.join("checkpoints"));
    let mut policy = CheckpointPolicy::new(checkpoints.path()).keep_last(99);
    policy.every_epoch = false;
    let part = Part {
        epochs: EPOCHS,
        from: None,
        rollback: None,
        end: End::Finished,
    };
    let script = Script {
        rollbacks: history.iter().map(|(at, _)| *at).collect(),
        checkpoints: history.iter().map(|(_, to)| *to).collect(),
        end: End::Finished,
        batches: 0,
    };
    let model = train(&folder, &part, script, policy).unwrap();
    let outcome = outcome(&folder, &model, &checkpoints);
    let mut outcomes = KNOWN.lock().unwrap();
    outcomes
        .get_or_insert_default()
        .insert(history.clone(), outcome.clone());
    outcome
}

/// Expected state of a checkpoint.
struct Saved {
    /// Rollbacks before it.
    history: History,
    /// `true` if the validation after it is still to come.
    validates: bool,
}

/// Expected checkpoints of a training, by their steps.
#[derive(Default)]
struct Expected {
    checkpoints: BTreeMap<usize, Saved>,
}

impl Expected {
    fn save(&mut self, step: usize, history: &History, validates: bool) {
        let history = history.clone();
        self.checkpoints.insert(step, Saved { history, validates });
        while self.checkpoints.len() > KEPT {
            self.checkpoints.pop_first();
        }
    }

    /// Simulates the loop for a part. Returns the rollbacks before its end; `None` if it ends with an
    /// error.
    fn go(&mut self, part: &Part, from: Option<usize>) -> Option<History> {
        let (mut step, mut history) = (0, History::new());
        if let Some(from) = from {
            self.checkpoints.retain(|step, _| *step <= from);
            step = from;
            let saved = &self.checkpoints[&from];
            history = saved.history.clone();
            if saved.validates && step <= part.epochs * STEPS {
                if part.end == End::StopInValidation {
                    return Some(history);
                }
                self.save(step, &history, false);
            }
        }
        let mut batches = 0;
        while step < part.epochs * STEPS {
            step += 1;
            let at_end = step.is_multiple_of(STEPS);
            let size = match at_end {
                true => BATCHES - (STEPS - 1) * ACCUMULATION,
                false => ACCUMULATION,
            };
            let stops_in_it =
                matches!(part.end, End::StopAtBatch(at) if batches < at && at <= batches + size);
            batches += size;
            if part.end == End::KillAtStep(step) {
                return None;
            }
            if part.rollback == Some(step) {
                let newest = *self.checkpoints.keys().next_back()?;
                history.push((step, newest));
            }
            if step.is_multiple_of(EVERY) && !at_end {
                self.save(step, &history, false);
            }
            let stops = stops_in_it || part.end == End::StopAtStep(step);
            let stops = stops || at_end && part.end == End::StopInValidation;
            if stops || at_end {
                self.save(step, &history, stops && at_end);
            }
            if stops {
                break;
            }
        }
        Some(history)
    }
}

fn check(parts: &[Part]) -> Result<(), TestCaseError> {
    let folder = Folder::new("sequence");
    let checkpoints = CheckpointFolder::new(folder.0.join("checkpoints"));
    let mut expected = Expected::default();
    let last = Part {
        epochs: EPOCHS,
        from: None,
        rollback: None,
        end: End::Finished,
    };
    for part in parts.iter().chain([&last]) {
        let steps: Vec<usize> = expected.checkpoints.keys().copied().collect();
        let chosen = part.from.and_then(|index| steps.get(index).copied());
        let resume = chosen.map_or(Resume::Latest, Resume::Step);
        let from = chosen.or(steps.last().copied());
        let policy = CheckpointPolicy::new(checkpoints.path())
            .every_steps(EVERY)
            .keep_last(KEPT)
            .resume(resume);
        let script = Script {
            rollbacks: part.rollback.into_iter().collect(),
            checkpoints: Vec::new(),
            end: part.end,
            batches: 0,
        };
        let model = train(&folder, part, script, policy);
        let history = expected.go(part, from);
        prop_assert_eq!(model.is_ok(), history.is_some(), "{:?}", model.err());
        let steps: Vec<usize> = expected.checkpoints.keys().copied().collect();
        prop_assert_eq!(checkpoints.steps().unwrap(), steps);
        if std::ptr::eq(part, &last) {
            let actual = outcome(&folder, &model.unwrap(), &checkpoints);
            let expected = straight(&history.unwrap());
            prop_assert_eq!(actual.controls, expected.controls);
            prop_assert_eq!(actual.states, expected.states);
            prop_assert_eq!(actual.log, expected.log);
            prop_assert_eq!(actual.weights, expected.weights);
        }
    }
    Ok(())
}

#[test]
fn every_sequence_of_breaks_gives_the_straight_training() {
    if !on_flex() {
        return;
    }
    let cases = std::env::var("BITNET_BURN_SEQUENCES").ok();
    let config = Config {
        cases: cases.map_or(1000, |cases| cases.parse().unwrap()),
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new(config);
    let sequences = prop::collection::vec(part(), 1..=4);
    if let Err(error) = runner.run(&sequences, |parts| check(&parts)) {
        panic!("{error}");
    }
}
