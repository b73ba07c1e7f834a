//! Resuming: one timeline of checkpoints, and mismatched models and checkpoints.

use bitnet_burn::{
    nn::BitLinear,
    optim::QatOptimizerConfig,
    qat::cast_latent_weights,
    quant::{QatScheme, Ste, WeightQuantizer},
    train::{
        callback::*,
        checkpoint::{BestMetric, CheckpointFolder, CheckpointPolicy, Resume},
    },
};
use burn::{
    lr_scheduler::constant::ConstantLr,
    optim::{AdamWConfig, ModuleOptimizer},
    tensor::{DType, Device, FloatDType},
    train::{Learner, LearningResult},
};

use crate::support::{
    callbacks::{At, Events, stop_at},
    training::{BATCHES, Folder, Net, Run, strategy},
    values::*,
};

fn policy(folder: &Folder) -> CheckpointPolicy {
    CheckpointPolicy::new(folder.0.join("checkpoints"))
        .every_steps(2)
        .keep_last(2)
        .keep_best(BestMetric::loss())
}

/// Three epochs, the first of which is the best.
fn run(folder: &Folder) -> Run<'_> {
    Run {
        losses: vec![1.0, 2.0, 3.0],
        ..Run::new(&folder.0)
    }
}

/// Simulates a crash after a step.
fn power_cut(step: usize) -> impl Callback<Net> {
    At(step, |_: &mut TrainingRun<Net>| Err("power cut".into()))
}

#[test]
fn abandoned_checkpoints_are_ignored() {
    let folder = Folder::new("abandoned");
    let checkpoints = CheckpointFolder::new(folder.0.join("checkpoints"));
    let first = run(&folder).launch(strategy().with_checkpoints(policy(&folder)));
    assert!(first.error.is_none(), "{:?}", first.error);
    assert_eq!(checkpoints.steps().unwrap(), [7, 20, 21]);

    let back = policy(&folder).resume(Resume::Step(7));
    let events = Events::default();
    let second = strategy()
        .with_callback(power_cut(13))
        .with_callback(events.clone())
        .with_checkpoints(back.clone());
    assert!(run(&folder).launch(second).error.is_some());
    assert_eq!(checkpoints.steps().unwrap(), [7, 10, 12]);
    assert_eq!(checkpoints.abandoned_steps().unwrap(), [20, 21]);
    let said = events.0.lock().unwrap().iter().any(|event| {
        event
            .message
            .contains("the checkpoint of step 21 is set aside")
    });
    assert!(said);

    // A rollback returns to the checkpoint before it, not to one of the abandoned part.
    let (rollback, events) = (
        At(9, |run: &mut TrainingRun<Net>| {
            run.request_rollback("watch", "astray");
            Ok(())
        }),
        Events::default(),
    );
    let third = strategy()
        .with_callback(rollback)
        .with_callback(events.clone())
        .with_checkpoints(back);
    let third = run(&folder).launch(third);
    assert!(third.error.is_none(), "{:?}", third.error);
    let to = events.0.lock().unwrap().iter().find_map(|event| {
        let rest = event
            .message
            .strip_prefix("astray: rolled back to the checkpoint of step ")?;
        Some(rest.to_string())
    });
    assert_eq!(to.as_deref(), Some("8"));
    // The new training has passed all of them.
    assert!(checkpoints.abandoned_steps().unwrap().is_empty());
    assert_eq!(checkpoints.steps().unwrap(), [7, 20, 21]);
}

#[test]
fn an_abandoned_checkpoint_is_named_when_it_is_asked_for() {
    let folder = Folder::new("abandoned-named");
    let first = run(&folder).launch(strategy().with_checkpoints(policy(&folder)));
    assert!(first.error.is_none());
    let cut = strategy()
        .with_callback(power_cut(9))
        .with_checkpoints(policy(&folder).resume(Resume::Step(7)));
    assert!(run(&folder).launch(cut).error.is_some());
    let asked = strategy().with_checkpoints(policy(&folder).resume(Resume::Step(21)));
    let error = run(&folder).launch(asked).error.unwrap().to_string();
    assert!(
        error.contains("abandoned-00000021 was set aside")
            && error.contains("rename it to step-00000021"),
        "{error}"
    );
}

#[test]
fn burn_s_checkpoints_are_refused_where_steps_count() {
    let folder = Folder::new("burn-checkpoints");
    let train = |epochs, from: Option<usize>, counts: bool| {
        let run = Run {
            epochs,
            burn_checkpoint: Some(from),
            ..Run::new(&folder.0)
        };
        let learner = learner(&run, FloatDType::F32, false);
        match counts {
            true => run.launch_learner(learner, strategy().with_callback(Events::default())),
            false => run.launch_learner(learner, strategy()),
        }
    };
    assert!(train(2, None, true).error.is_none());
    let error = train(3, Some(2), true).error.unwrap().to_string();
    assert!(
        error.contains("Burn's checkpoint of epoch 2 holds neither the step"),
        "{error}"
    );
    // Without callbacks, it resumes as in Burn.
    let resumed = train(3, Some(2), false);
    assert!(resumed.error.is_none(), "{:?}", resumed.error);
    let whole = Folder::new("burn-whole");
    let run = Run::new(&whole.0);
    let straight = run.launch_learner(learner(&run, FloatDType::F32, false), strategy());
    assert_equal(
        &resumed.model.weights(),
        &straight.model.weights(),
        "weights",
    );
}

/// Creates a learner whose latent weights have a float type.
fn learner(run: &Run<'_>, dtype: FloatDType, rounds: bool) -> Learner<Net> {
    let model = cast_latent_weights(run.learner().model(), dtype);
    let adamw = AdamWConfig::new().build();
    let optimizer = match rounds {
        true => {
            let config = QatOptimizerConfig::new().with_stochastic_rounding(Some(0));
            ModuleOptimizer::from(config.build(adamw))
        }
        false => adamw.into(),
    };
    Learner::new(model, optimizer, ConstantLr::new(0.01))
}

fn dtype(layer: &BitLinear) -> DType {
    layer.weight.base().dtype()
}

#[test]
fn another_float_type_is_refused_or_cast() {
    if !computes_in(&Device::default(), DType::BF16) {
        return;
    }
    let types = [
        (FloatDType::F32, FloatDType::BF16),
        (FloatDType::BF16, FloatDType::F32),
    ];
    for ((from, to), rounds) in types.into_iter().flat_map(|t| [(t, false), (t, true)]) {
        let folder = Folder::new("dtype");
        let policy = || CheckpointPolicy::new(folder.0.join("checkpoints"));
        let train = |dtype, policy: CheckpointPolicy, stop| -> LearningResult<Net> {
            let run = Run::new(&folder.0);
            let strategy = strategy()
                .with_callback(stop_at(stop))
                .with_checkpoints(policy);
            run.launch_learner(learner(&run, dtype, rounds), strategy)
        };
        assert!(train(from, policy(), 10).error.is_none());
        let latest = policy().resume(Resume::Latest);
        let error = train(to, latest.clone(), 99).error.unwrap().to_string();
        let expected = format!(
            "it has {from:?} [8, 16] at `first.weight`, this one {to:?} [8, 16] (2 parameters differ)"
        );
        assert!(error.contains(&expected), "{error}");

        let cast = train(to, latest.cast_on_load(true), 99);
        assert!(cast.error.is_none(), "{:?}", cast.error);
        assert_eq!(dtype(&cast.model.first), DType::from(to));
        let folder = CheckpointFolder::new(folder.0.join("checkpoints"));
        let newest = folder.newest().unwrap().manifest.unwrap();
        assert_eq!(newest.position.step, 3 * BATCHES);
        assert_eq!(newest.tensors[0].dtype, DType::from(to));
    }
}

#[test]
fn an_optimizer_whose_states_burn_cannot_load_is_refused() {
    if !computes_in(&Device::default(), DType::BF16) {
        return;
    }
    let folder = Folder::new("states");
    let run = Run::new(&folder.0);
    let policy = || CheckpointPolicy::new(folder.0.join("checkpoints"));
    let train = |policy, stop, rounds| {
        let strategy = strategy()
            .with_callback(stop_at(stop))
            .with_checkpoints(policy);
        run.launch_learner(learner(&run, FloatDType::BF16, rounds), strategy)
    };
    // Burn's own AdamW has its moments in bf16, too.
    assert!(train(policy(), 10, false).error.is_none());
    let latest = policy().resume(Resume::Latest);
    let error = train(latest, 99, false).error.unwrap().to_string();
    assert!(
        error.contains("state of `first.weight` in BF16, which Burn loads as F32"),
        "{error}"
    );
}

#[test]
fn a_checkpoint_of_another_scheme_is_refused_with_both() {
    let folder = Folder::new("scheme");
    let policy = || CheckpointPolicy::new(folder.0.join("checkpoints"));
    let train = |scheme: QatScheme, policy: CheckpointPolicy| {
        let run = Run {
            scheme,
            ..Run::new(&folder.0)
        };
        let stop = stop_at(5);
        run.launch(strategy().with_callback(stop).with_checkpoints(policy))
    };
    assert!(train(QatScheme::b1_58(), policy()).error.is_none());
    let latest = || policy().resume(Resume::Latest);
    let clipped = QatScheme::b1_58().with_ste(Ste::clipped(1.0));
    let symmetric = QatScheme::b1_58().with_weight(WeightQuantizer::symmetric(3));
    let expected = [
        (clipped, "Clipped", "at `first.input_quant`"),
        (
            symmetric,
            "expected symmetric 3 bits",
            "at `first.weight_quant`",
        ),
    ];
    for (scheme, named, place) in expected {
        let error = train(scheme, latest()).error.unwrap().to_string();
        for part in ["another scheme", named, place] {
            assert!(error.contains(part), "{error}");
        }
    }
    assert!(train(QatScheme::b1_58(), latest()).error.is_none());
}

#[test]
fn an_epoch_that_goes_on_with_other_steps_says_so() {
    let folder = Folder::new("steps");
    let policy = || CheckpointPolicy::new(folder.0.join("checkpoints"));
    let train = |batches, policy: CheckpointPolicy, stop| {
        let events = Events::default();
        let run = Run {
            grad_accumulation: Some(batches),
            ..Run::new(&folder.0)
        };
        let strategy = strategy()
            .with_callback(events.clone())
            .with_callback(stop_at(stop))
            .with_checkpoints(policy);
        assert!(run.launch(strategy).error.is_none());
        let events = events.0.lock().unwrap();
        let of_steps = |event: &&TrainingEvent| event.message.contains("batches of a step");
        events.iter().filter(of_steps).count()
    };
    assert_eq!(train(1, policy(), BATCHES / 2), 0);
    assert_eq!(
        train(2, policy().resume(Resume::Latest), BATCHES / 2 + 1),
        1
    );
}
