//! AdaLoRA against a training of peft: budgets, kept directions, importance, factors and deltas.

use bitnet_burn::peft::{AdaLoraConfig, PeftError, RankAllocator};
use burn::{
    module::Module,
    nn::LinearConfig,
    optim::{GradientsParams, SgdConfig},
    tensor::{Device, Tensor, TensorData},
};

use crate::support::{
    ada_lora::{LAYERS, Toy, config, pattern},
    oracle::{Case, Oracle},
    values::*,
};

const STEPS: usize = 20;
/// Learning rate of the training of peft.
const LEARNING_RATE: f64 = 0.1;

fn device() -> Device {
    Device::default().autodiff()
}

/// A step rounds sums of at most 16 products in three layers and back, 64 roundings of the largest value at most, and
/// each of the steps adds those of its own to the values.
fn assert_close(actual: &[f32], expected: &[f32], steps: usize, what: &str) {
    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let bound = 64.0 * (steps + 1) as f64 * ROUNDING * f64::from(largest);
    assert_within(actual, expected, |_| bound, what);
}

/// Returns the averages of a factor of a layer, in the layout of PyTorch.
fn average(allocator: &RankAllocator, layer: &str, part: &str) -> Vec<f32> {
    let averages = allocator.to_record().unwrap().averages;
    let begins = format!("{layer}.");
    let found = |(path, _): &(&String, &TensorData)| {
        path.starts_with(&begins) && path.ends_with(&format!(".{part}"))
    };
    let (_, data) = averages.iter().find(found).unwrap();
    let device = Device::default();
    match data.shape().len() {
        1 => floats(Tensor::<1>::from_data(data.clone(), &device)),
        _ => floats(Tensor::<2>::from_data(data.clone(), &device).transpose()),
    }
}

/// Compares importance and score with those of peft.
fn assert_importance(allocator: &RankAllocator, case: &Case<'_>, step: usize) {
    for layer in LAYERS {
        for (part, name) in [("a", "A"), ("e", "E"), ("b", "B")] {
            let expected = |what: &str| case.floats(&format!("{what}.{layer}.lora_{name}"));
            let mean = average(allocator, layer, &format!("{part}.mean"));
            assert_close(&mean, &expected("exp_avg_ipt"), step, "exp_avg_ipt");
            let uncertainty = average(allocator, layer, &format!("{part}.uncertainty"));
            assert_close(&uncertainty, &expected("exp_avg_unc"), step, "exp_avg_unc");
            let score: Vec<f32> = mean.iter().zip(&uncertainty).map(|(m, u)| m * u).collect();
            // The errors of two factors.
            assert_close(&score, &expected("score"), 2 * step + 1, "score");
        }
    }
}

fn assert_factors(model: &Toy, case: &Case<'_>, step: usize) {
    for (layer, factors) in LAYERS.iter().zip(model.factors()) {
        for (name, values) in ["A", "E", "B"].iter().zip(factors) {
            let name = format!("{layer}.lora_{name}");
            assert_close(&values, &case.floats(&name), step, &name);
        }
    }
}

#[test]
fn a_training_is_that_of_peft_in_every_recorded_step() {
    let oracle = Oracle::open("h_adalora");
    let (device, config, init) = (device(), config(&oracle), oracle.case("init"));
    let (x, target) = (
        init.tensor::<2>("x", &device),
        init.tensor::<2>("target", &device),
    );
    let mut model = Toy::new(&oracle, &device);
    let mut allocator = RankAllocator::new(&config, &model).unwrap();
    let mut optimizer = SgdConfig::new().init();
    let losses = oracle.case("final").floats("losses");
    for step in 0..STEPS {
        let loss = (model.forward(x.clone()) - target.clone()).square().mean();
        let task = floats(loss.clone())[0];
        let mut grads = GradientsParams::from_grads(loss.backward(), &model);
        let orthogonality = allocator.regularize(&model, &mut grads, 1.0).unwrap();
        let total = task + floats(orthogonality)[0];
        let expected = &losses[2 * step..][..2];
        assert_close(&[total, task], expected, step, "losses");

        let gradients = allocator.gradients(&grads);
        model = optimizer.step(LEARNING_RATE, model, grads);
        let stage = allocator.step(&model, step, Some(gradients)).unwrap();
        model = allocator.prune(model, step);

        let about = &oracle.about["steps"][step];
        assert_eq!(allocator.schedule().budget(step), about["budget"], "{step}");
        let prunes = step == 16 || about["mask"] == true;
        assert_eq!(stage.prunes(), prunes, "{step}");
        let kept: Vec<Vec<bool>> = allocator.kept().map(|(_, kept)| kept.to_vec()).collect();
        let expected = pattern(&oracle, step).unwrap_or_else(|| vec![vec![true; 6]; 3]);
        assert_eq!(kept, expected, "{step}");
        if [0, 3, 4, 8, 15, 16, 19].contains(&step) {
            let case = oracle.case(&format!("after_step_{step}"));
            assert_factors(&model, &case, step);
            // Importance is reset when ranks are frozen.
            match step < 16 {
                true => assert_importance(&allocator, &case, step),
                false => assert!(allocator.to_record().unwrap().averages.is_empty()),
            }
        }
    }
    let case = oracle.case("final");
    for (layer, adapter) in LAYERS.iter().zip(model.adapters()) {
        assert_eq!(
            case.floats(&format!("ranknum.{layer}")),
            [adapter.rank() as f32]
        );
        let delta = floats(adapter.delta().transpose());
        assert_close(
            &delta,
            &case.floats(&format!("delta.{layer}")),
            STEPS,
            layer,
        );
    }
    assert_close(&floats(model.forward(x)), &case.floats("y"), STEPS, "y");
    let ranks: Vec<usize> = allocator.ranks().into_values().collect();
    assert_eq!(ranks, [1, 2, 3]);
}

#[test]
fn the_merged_weight_gives_the_same_outputs() {
    let oracle = Oracle::open("h_adalora");
    let device = device();
    let model = Toy::new(&oracle, &device).map(&mut Drawn::new(900, 0.3));
    let x = oracle.case("init").tensor::<2>("x", &device);
    let layer = &model.fc1;
    let bias = layer.base.bias.as_ref().unwrap().val();
    let merged = x.clone().matmul(layer.dense_weight()) + bias.unsqueeze();
    let y = bitnet_burn::nn::Projection::forward(layer, x);
    assert_close(&floats(y), &floats(merged), 0, "merged");
}

#[test]
fn the_gradient_of_the_orthogonality_is_that_of_autodiff() {
    let oracle = Oracle::open("h_adalora");
    let model = Toy::new(&oracle, &device()).map(&mut Drawn::new(910, 0.3));
    let config = config(&oracle);
    let allocator = RankAllocator::new(&config, &model).unwrap();
    let mut grads = GradientsParams::new();
    // Twice the value: a scale of the loss.
    let value = allocator.regularize(&model, &mut grads, 2.0).unwrap();

    let distance = |matrix: Tensor<2>| {
        let gram = matrix.clone().transpose().matmul(matrix);
        let identity = Tensor::<2>::eye(gram.dims()[0], &Device::default());
        (gram - identity).square().sum().sqrt()
    };
    let distances = model
        .adapters()
        .map(|adapter| distance(adapter.a.val()) + distance(adapter.b.val().transpose()));
    let loss = distances.into_iter().reduce(|a, b| a + b).unwrap() * (0.5 / 6.0);
    assert_close(&floats(value), &floats(loss.clone()), 0, "value");
    let expected = (loss * 2.0).backward();
    for adapter in model.adapters() {
        for param in [&adapter.a, &adapter.b] {
            let found = floats(grads.get::<2>(param.id).unwrap());
            let expected = floats(param.val().grad(&expected).unwrap());
            assert_close(&found, &expected, 0, "gradient");
        }
        assert!(grads.get::<1>(adapter.e.id).is_none());
    }
}

#[test]
fn a_target_of_all_directions_prunes_none() {
    let oracle = Oracle::open("h_adalora");
    let device = device();
    let model = Toy::new(&oracle, &device).map(&mut Drawn::new(920, 0.3));
    let config = AdaLoraConfig::new(4).with_ranks(6, 6);
    let mut allocator = RankAllocator::new(&config, &model).unwrap();
    let x = oracle.case("init").tensor::<2>("x", &device);
    for step in 0..6 {
        let loss = model.forward(x.clone()).square().mean();
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        let grads = allocator.gradients(&grads);
        let stage = allocator.step(&model, step, Some(grads)).unwrap();
        let expected = ["Measure", "Prune", "Prune", "Prune", "Freeze", "Frozen"];
        assert_eq!(format!("{stage:?}"), expected[step]);
        let pruned = allocator.prune(model.clone(), step);
        assert_eq!(pruned.factors(), model.factors());
    }
}

#[test]
fn a_state_belongs_to_its_adapters() {
    let oracle = Oracle::open("h_adalora");
    let device = device();
    let model = Toy::new(&oracle, &device);
    let allocator = RankAllocator::new(&config(&oracle), &model).unwrap();
    let mut record = allocator.to_record().unwrap();
    let loaded = allocator.clone().load_record(record.clone(), &device);
    assert_eq!(loaded.unwrap().to_record().unwrap(), record);
    let path = record.kept.keys().next().unwrap().clone();
    record.kept.get_mut(&path).unwrap().pop();
    let error = allocator.load_record(record, &device).unwrap_err();
    assert!(error.to_string().ends_with(&path), "{error}");
}

#[test]
fn a_model_without_adapters_that_train_is_an_error() {
    let oracle = Oracle::open("h_adalora");
    let config = config(&oracle);
    let linear = LinearConfig::new(2, 2).init(&device());
    let error = RankAllocator::new(&config, &linear).unwrap_err();
    assert!(matches!(error, PeftError::NoDirections), "{error}");
    let frozen = Toy::new(&oracle, &device()).freeze();
    assert!(RankAllocator::new(&config, &frozen).is_err());
}
