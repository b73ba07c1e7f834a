//! Distillation with Burn's `Learner`: the trained parameters, the frozen ones, and the saved model.

use std::sync::Arc;

use bitnet_burn::{
    loss::{
        DistillationLossConfig, HiddenDistillationLossConfig, LogitsDistillationLoss,
        StudentStates, TeacherStates,
    },
    nn::{BitLinear, BitLinearConfig},
    train::{DistillationMetric, Distiller, Frozen, Student, StudentStep, Teacher},
};
use burn::{
    data::{
        dataloader::{DataLoader, DataLoaderIterator, Progress},
        dataset::DatasetError,
    },
    module::Module,
    nn::{Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{GradientsParams, SgdConfig},
    store::ModuleRecord,
    tensor::{DType, Device, Int, Tensor, activation::relu},
    train::{
        ClassificationOutput, ExecutionStrategy, InferenceStep, Learner, SupervisedTraining,
        TrainStep, metric::LossMetric,
    },
};

use crate::support::values::*;

const INPUTS: usize = 6;
const CLASSES: usize = 3;

#[derive(Clone)]
struct Batch {
    inputs: Tensor<2>,
    targets: Tensor<1, Int>,
}

fn batch(seed: u64, device: &Device) -> Batch {
    let inputs = tensor(&normal(8 * INPUTS, seed), [8, INPUTS], DType::F32, device);
    let targets = Tensor::from_ints([0, 1, 2, 0, 1, 2, 0, 1], device);
    Batch {
        inputs: inputs.mul_scalar(10.0),
        targets,
    }
}

/// One quantized layer.
#[derive(Module, Debug)]
struct Small {
    layer: BitLinear,
}

/// Two layers in full precision.
#[derive(Module, Debug)]
struct Large {
    first: Linear,
    second: Linear,
}

impl Small {
    fn init(device: &Device) -> Self {
        let layer = BitLinearConfig::new(INPUTS, CLASSES).init(device);
        Self { layer }
    }
}

impl InferenceStep for Small {
    type Input = Batch;
    type Output = ClassificationOutput;

    fn step(&self, batch: Batch) -> ClassificationOutput {
        let logits = self.layer.forward(batch.inputs);
        let loss = CrossEntropyLossConfig::new().init(&logits.device());
        let loss = loss.forward(logits.clone(), batch.targets.clone());
        ClassificationOutput::new(loss, logits, batch.targets)
    }
}

impl Student for Small {
    fn student_forward(&self, batch: Batch) -> StudentStep<ClassificationOutput> {
        let hidden = batch.inputs.clone();
        let output = self.step(batch);
        let mut states = StudentStates::new(output.output.clone().unsqueeze());
        states.hidden = Some(hidden.unsqueeze());
        StudentStep {
            loss: output.loss.clone(),
            states,
            output,
        }
    }
}

impl Large {
    fn init(device: &Device) -> Self {
        Self {
            first: LinearConfig::new(INPUTS, 16).init(device),
            second: LinearConfig::new(16, CLASSES).init(device),
        }
    }
}

impl Teacher<Batch> for Large {
    fn teacher_forward(&self, batch: Batch) -> TeacherStates {
        let hidden = relu(self.first.forward(batch.inputs));
        let logits = self.second.forward(hidden.clone()).mul_scalar(4.0);
        TeacherStates {
            hidden: Some(hidden.unsqueeze()),
            ..TeacherStates::new(logits.unsqueeze())
        }
    }
}

type SmallAndLarge = Distiller<Small, Large>;

/// With a projection of the hidden states, so that the loss has a parameter.
fn distiller(device: &Device) -> SmallAndLarge {
    let hidden = HiddenDistillationLossConfig::new(INPUTS, 16).with_projection(true);
    let loss = DistillationLossConfig::new()
        .with_task_weight(0.0)
        .with_logits(Some(LogitsDistillationLoss::new().with_temperature(2.0)))
        .with_hidden_weight(0.1)
        .with_hidden(Some(hidden));
    Distiller::new(
        Small::init(device).map(&mut Drawn::new(100, 0.4)),
        Large::init(device).map(&mut Drawn::new(200, 0.4)),
        loss.init(device).map(&mut Drawn::new(300, 0.4)),
    )
}

fn weights(teacher: &Large) -> Vec<f32> {
    let [first, second] = [&teacher.first, &teacher.second];
    [floats(first.weight.val()), floats(second.weight.val())].concat()
}

#[test]
fn student_and_projection_get_gradients_and_the_teacher_does_not_track() {
    let device = Device::default().autodiff();
    let distiller = distiller(&device);
    let batch = batch(80, &device);
    let grads: GradientsParams = TrainStep::step(&distiller, batch.clone()).grads;
    let student = &distiller.student.layer;
    assert!(grads.get::<2>(student.weight.id).is_some());
    let projection = &distiller.loss.hidden.as_ref().unwrap().projection;
    assert!(
        grads
            .get::<2>(projection.as_ref().unwrap().weight.id)
            .is_some()
    );
    let bias = usize::from(student.bias.is_some());
    assert_eq!(grads.len(), 2 + bias);

    let teacher = distiller.teacher.module();
    assert!(!teacher.first.weight.val().is_autodiff());
    let states = teacher.teacher_forward(batch);
    assert!(!states.hidden.unwrap().is_tracked());
}

#[test]
fn a_step_minimizes_the_loss_of_both_on_the_batch() {
    let device = Device::default().autodiff();
    let distiller = distiller(&device);
    let batch = batch(81, &device);
    let output = TrainStep::step(&distiller, batch.clone()).item;
    let study = distiller.student.student_forward(batch.clone());
    let teacher = distiller.teacher.module().teacher_forward(batch);
    let expected = distiller.loss.forward(study.loss, &study.states, &teacher);
    let losses = output.losses;
    assert_equal(&floats(losses.total), &floats(expected.total), "total");
    assert_equal(&floats(losses.task), &floats(expected.task), "task");
}

#[test]
fn the_teacher_is_in_no_record_and_keeps_its_weights_when_one_is_loaded() {
    let device = Device::default();
    let first = distiller(&device);
    let parameters = first.student.num_params() + INPUTS * 16;
    assert_eq!(first.num_params(), parameters);

    let mut second = distiller(&device);
    second.student = second.student.map(&mut Drawn::new(400, 0.4));
    second.teacher = Frozen::new(Large::init(&device));
    let before = weights(second.teacher.module());
    let second = second.load_record(first.clone().into_record());
    assert_equal(&weights(second.teacher.module()), &before, "teacher");
    let weight = |distiller: &SmallAndLarge| floats(distiller.student.layer.weight.val());
    assert_equal(&weight(&second), &weight(&first), "student");
}

#[test]
fn the_teacher_stays_in_inference_when_the_student_trains() {
    let device = Device::default();
    let distiller = distiller(&device.clone().autodiff());
    let distiller = distiller.valid().train().fork(&device.autodiff());
    assert!(distiller.student.layer.weight.val().is_autodiff());
    assert!(!distiller.teacher.module().second.weight.val().is_autodiff());
    assert_eq!(distiller.teacher.devices().len(), 1);
}

#[test]
fn gradients_are_clipped_over_student_and_projection_together() {
    let device = Device::default().autodiff();
    let before = distiller(&device).with_max_grad_norm(1e-2);
    let grads = TrainStep::step(&before, batch(82, &device)).grads;
    let mut optimizer = SgdConfig::new().init();
    let after = before.clone().optimize(&mut optimizer, 1.0.into(), grads);
    let parameters = |distiller: &SmallAndLarge| {
        let projection = distiller.loss.hidden.as_ref().unwrap().projection.as_ref();
        let layer = &distiller.student.layer;
        let mut all = floats(layer.weight.val());
        all.extend(floats(projection.unwrap().weight.val()));
        all.extend(layer.bias.iter().flat_map(|bias| floats(bias.val())));
        all
    };
    let moved = parameters(&after).into_iter().zip(parameters(&before));
    let moved = moved
        .map(|(a, b)| (a as f64 - b as f64).powi(2))
        .sum::<f64>();
    // A weight near 1 keeps a move of 1e-3 to half a unit in its last place, 6e-8.
    assert!((moved.sqrt() - 1e-2).abs() < 1e-5, "{}", moved.sqrt());
}

/// Batches of inference, recreated on the device of the training.
#[derive(Clone)]
struct Loader {
    seeds: Vec<u64>,
    device: Device,
}

struct Batches<'a> {
    loader: &'a Loader,
    next: usize,
}

impl Iterator for Batches<'_> {
    type Item = Result<Batch, DatasetError>;

    fn next(&mut self) -> Option<Self::Item> {
        let seed = self.loader.seeds.get(self.next)?;
        self.next += 1;
        Some(Ok(batch(*seed, &self.loader.device)))
    }
}

impl DataLoaderIterator<Batch> for Batches<'_> {
    fn progress(&self) -> Progress {
        Progress::new(self.next, self.loader.seeds.len(), None)
    }
}

impl DataLoader<Batch> for Loader {
    fn iter<'a>(&'a self) -> Box<dyn DataLoaderIterator<Batch> + 'a> {
        Box::new(Batches {
            loader: self,
            next: 0,
        })
    }

    fn num_items(&self) -> usize {
        self.seeds.len()
    }

    fn to_device(&self, device: &Device) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            device: device.clone(),
            ..self.clone()
        })
    }

    fn slice(&self, start: usize, end: usize) -> Arc<dyn DataLoader<Batch>> {
        Arc::new(Self {
            seeds: self.seeds[start..end].to_vec(),
            ..self.clone()
        })
    }
}

#[test]
fn a_run_of_the_learner_brings_the_student_to_the_teacher_and_saves_it_alone() {
    let device = Device::default().autodiff();
    let before = distiller(&device);
    let teacher = weights(before.teacher.module());
    let loader = |seeds: std::ops::Range<u64>| {
        Arc::new(Loader {
            seeds: seeds.collect(),
            device: Device::default(),
        })
    };
    let folder = std::env::temp_dir().join(format!("distiller-{}", std::process::id()));
    let training = SupervisedTraining::new(&folder, loader(90..94), loader(94..95))
        .metric_train_numeric(LossMetric::new())
        .metric_train_numeric(DistillationMetric::task())
        .metric_train_numeric(DistillationMetric::logits())
        .metric_train_numeric(DistillationMetric::hidden())
        .metric_train_numeric(DistillationMetric::attention())
        .metric_valid_numeric(LossMetric::new())
        .with_training_strategy(ExecutionStrategy::SingleDevice(device.clone()).into())
        .with_application_logger(None)
        .with_default_checkpointers()
        .num_epochs(2);
    let learner = Learner::new(before.clone(), SgdConfig::new().init(), 0.5);
    let result = training.launch(learner);
    assert!(result.error.is_none());
    let after = result.model;

    assert_equal(&weights(after.teacher.module()), &teacher, "teacher");
    let held_out = batch(95, &Device::default());
    let total = |distiller: &SmallAndLarge| {
        let study = distiller.student.student_forward(held_out.clone());
        let states = distiller.teacher.module().teacher_forward(held_out.clone());
        let losses = distiller.loss.forward(study.loss, &study.states, &states);
        floats(losses.total)[0]
    };
    let (first, last) = (total(&before.valid()), total(&after));
    assert!(last < 0.9 * first, "from {first} to {last}");

    // Validation is the student's own.
    let alone = after.student.step(held_out.clone()).loss;
    let validation = InferenceStep::step(&after, held_out).loss;
    assert_equal(&floats(validation), &floats(alone), "validation");

    let record = ModuleRecord::load(folder.join("checkpoint/model-2.bpk")).unwrap();
    let bias = usize::from(after.student.layer.bias.is_some());
    let names = "weight, controls of its quantizer and that of its input, projection, bias";
    assert_eq!(record.len(), 4 + bias, "{names}");
    let loaded = before.load_record(record);
    assert_equal(
        &floats(loaded.student.layer.weight.val()),
        &floats(after.student.layer.weight.val()),
        "student of the checkpoint",
    );
    std::fs::remove_dir_all(&folder).unwrap();
}
