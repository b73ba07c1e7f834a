//! Common first mistakes, and their messages as documented in docs/troubleshooting.md.
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{path::PathBuf, sync::Arc, sync::Mutex};

use bitnet_burn::{
    nn::BitLinearConfig,
    qat::{Prepare, QuantControls, convert},
    quant::{QatScheme, WeightGranularity, WeightQuantizer},
    train::{CallbackStrategy, SilentRenderer, TrainingFailure, callback::*, checkpoint::*},
};
use burn::data::dataloader::{DataLoader, DataLoaderBuilder, batcher::Batcher};
use burn::data::dataset::InMemDataset;
use burn::nn::{Linear, LinearConfig, loss::MseLoss, loss::Reduction};
use burn::train::{
    InferenceStep, Learner, RegressionOutput, SupervisedTraining, TrainOutput, TrainStep, TrainingError,
};
use burn::{lr_scheduler::constant::ConstantLr, module::Module, module::ParamGroup, optim::AdamWConfig, tensor::*};

#[derive(Module, Debug)]
struct Mlp {
    hidden: Linear,
    out: Linear,
}

impl Mlp {
    fn new(device: &Device) -> Self {
        let linear = |d_input, d_output| LinearConfig::new(d_input, d_output).init(device);
        Self { hidden: linear(8, 16), out: linear(16, 1) }
    }
    fn prepared(scheme: &QatScheme) -> Self {
        let model = Self::new(&Device::default().autodiff());
        Prepare::new(scheme.clone()).apply(model).unwrap().model
    }
}

impl InferenceStep for Mlp {
    type Input = Tensor<2>;
    type Output = RegressionOutput;
    fn step(&self, x: Tensor<2>) -> RegressionOutput {
        let y = self.out.forward(self.hidden.forward(x.clone()));
        let target = x.sum_dim(1);
        RegressionOutput::new(MseLoss::new().forward(y.clone(), target.clone(), Reduction::Mean), y, target)
    }
}

impl TrainStep for Mlp {
    type Input = Tensor<2>;
    type Output = RegressionOutput;
    fn step(&self, x: Tensor<2>) -> TrainOutput<RegressionOutput> {
        let output = InferenceStep::step(self, x);
        TrainOutput::new(self, output.loss.backward(), output)
    }
}

#[derive(Clone)]
struct Numbers;

impl Batcher<f32, Tensor<2>> for Numbers {
    fn batch(&self, items: Vec<f32>, device: &Device) -> Tensor<2> {
        Tensor::<1>::from_data(&items[..], device).unsqueeze_dim::<2>(1).repeat_dim(1, 8)
    }
}

fn loader(items: usize) -> Arc<dyn DataLoader<Tensor<2>>> {
    let items = (0..items).map(|i| i as f32 / 10.0).collect();
    DataLoaderBuilder::new(Numbers).batch_size(4).build(InMemDataset::new(items))
}

/// Trains for an epoch.
fn train(model: Mlp, items: usize, strategy: CallbackStrategy<Mlp>) -> Option<Arc<TrainingError>> {
    let folder = tempfolder("log");
    let training = SupervisedTraining::new(folder, loader(items), loader(8)).num_epochs(1);
    let training = training.renderer(Box::new(SilentRenderer)).with_training_strategy(strategy.into());
    training.launch(Learner::new(model, AdamWConfig::new().init(), ConstantLr::new(1e-3))).error
}

fn tempfolder(name: &str) -> PathBuf {
    static NUMBER: Mutex<usize> = Mutex::new(0);
    let mut number = NUMBER.lock().unwrap();
    *number += 1;
    let folder = std::env::temp_dir().join(format!("outside-{}-{name}-{number}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

/// Checks that a text has a message, and that the documentation has it, too.
#[track_caller]
fn promised(text: &str, message: &str) {
    let file = std::env::var("TROUBLESHOOTING").expect("TROUBLESHOOTING: docs/troubleshooting.md");
    let docs = std::fs::read_to_string(file).unwrap();
    let docs = docs.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(text.contains(message), "{text}");
    assert!(docs.contains(message), "the documentation lacks: {message}");
}

/// Returns the message of a panic, and whether its location is in this file.
fn panic_of<T>(mistake: impl FnOnce() -> T) -> (String, bool) {
    static ONE: Mutex<()> = Mutex::new(());
    let _one = ONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let line = Arc::new(Mutex::new(String::new()));
    let seen = line.clone();
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        *seen.lock().unwrap() = info.location().unwrap().file().to_string();
    }));
    let error = catch_unwind(AssertUnwindSafe(mistake)).err();
    std::panic::set_hook(hook);
    let error = error.expect("a panic");
    let text = error.downcast_ref::<String>().cloned();
    let text = text.or_else(|| error.downcast_ref::<&str>().map(ToString::to_string));
    let here = line.lock().unwrap().ends_with("mistakes.rs");
    (text.unwrap(), here)
}

#[test]
fn a_number_of_bits_that_there_is_not() {
    let (text, here) = panic_of(|| WeightQuantizer::symmetric(1));
    promised(&text, "bits must be 2 to 8, got 1");
    assert!(here);
}

#[test]
fn inputs_of_another_width() {
    let layer = BitLinearConfig::new(64, 32).init(&Device::default());
    let (text, here) = panic_of(|| layer.forward(Tensor::<2>::zeros([1, 63], &Device::default())));
    promised(&text, "axis 1 expected 64, got 63");
    assert!(here);
}

#[test]
fn a_layer_of_three_bits_is_packed() {
    let scheme = QatScheme::weight_only().with_weight(WeightQuantizer::symmetric(3));
    let layer = BitLinearConfig::new(8, 4).with_scheme(scheme).init(&Device::default());
    let (text, here) = panic_of(|| layer.pack());
    promised(&text, "only codes -1, 0 and 1 are packed");
    assert!(here);
}

#[test]
fn activations_of_a_prepared_model() {
    let error = Prepare::new(QatScheme::b1_58()).apply(Mlp::new(&Device::default())).unwrap_err();
    promised(&error.to_string(), "activations stay in float in a prepared model");
}

#[test]
fn a_group_that_matches_nothing() {
    let prepare = Prepare::new(QatScheme::weight_only()).with_group(ParamGroup::from_path("hiden.weight"));
    let error = prepare.apply(Mlp::new(&Device::default())).unwrap_err();
    promised(&error.to_string(), "no parameter of the model is in the group");
}

#[derive(Module, Debug)]
struct TwoHeads {
    body: Linear,
    policy: Linear,
    value: Linear,
}

#[test]
fn two_heads_without_a_name() {
    let linear = |d_output| LinearConfig::new(8, d_output).init(&Device::default());
    let model = TwoHeads { body: linear(8), policy: linear(4), value: linear(1) };
    let error = Prepare::new(QatScheme::weight_only()).apply(model).unwrap_err();
    promised(&error.to_string(), "name it by `with_output_head`");
}

#[test]
fn a_conversion_before_all_is_quantized() {
    let model = Mlp::prepared(&QatScheme::weight_only());
    QuantControls::of(&model).set_lambda(0.5);
    let error = convert(&model).unwrap_err();
    promised(&error.to_string(), "is not quantized in full: its lambda is 0.5, expected 1");
}

#[test]
fn a_packed_model_of_another_model() {
    let packed = convert(&Mlp::prepared(&QatScheme::weight_only())).unwrap();
    let error = packed.load_into(LinearConfig::new(8, 16).init(&Device::default())).unwrap_err();
    promised(&error.to_string(), "the packed model is of another model");
}

#[test]
fn a_record_of_another_scheme() {
    let record = Mlp::prepared(&QatScheme::weight_only()).into_record();
    let other = QatScheme::weight_only()
        .with_weight(WeightQuantizer::symmetric(3).with_granularity(WeightGranularity::PerTensor));
    let error = Mlp::prepared(&other).try_load_record(record).unwrap_err().to_string();
    promised(&error, "Missing tensors");
    promised(&error, "control.state.symmetric_3_bits_per_tensor");
}

#[test]
fn controls_of_another_model() {
    let controls = QuantControls::of(&Mlp::prepared(&QatScheme::weight_only()));
    let schedule = ProgressiveQuantization::new(controls, Default::default());
    let strategy = CallbackStrategy::default().with_callback(schedule);
    let error = train(Mlp::prepared(&QatScheme::weight_only()), 8, strategy).unwrap();
    assert_eq!(error.callback_error().unwrap().callback, "progressive_quantization");
    promised(&error.reason(), "expected controls of the model that trains, found those of another model");
}

#[test]
fn a_training_that_is_resumed_under_another_scheme() {
    let policy = CheckpointPolicy::new(tempfolder("checkpoints"));
    let resume = |scheme: QatScheme| {
        let strategy = CallbackStrategy::default().with_checkpoints(policy.clone().resume(Resume::Latest));
        train(Mlp::prepared(&scheme), 8, strategy)
    };
    assert!(resume(QatScheme::weight_only()).is_none());
    let error = resume(QatScheme::weight_only().with_weight(WeightQuantizer::symmetric(3))).unwrap();
    assert!(matches!(error.checkpoint_error(), Some(CheckpointError::OtherQuantizer { .. })));
    promised(&error.reason(), "is of a training with another scheme: expected symmetric 3 bits");
}

#[test]
fn the_best_by_a_metric_that_there_is_not() {
    let best = BestMetric { name: "Accuracy".into(), higher_is_better: true };
    let policy = CheckpointPolicy::new(tempfolder("best")).keep_best(best);
    let error =
        train(Mlp::prepared(&QatScheme::weight_only()), 8, CallbackStrategy::default().with_checkpoints(policy));
    promised(&error.unwrap().reason(), "the validation has no numeric metric \"Accuracy\"");
}

#[test]
fn a_training_without_data() {
    let error = train(Mlp::prepared(&QatScheme::weight_only()), 0, CallbackStrategy::default()).unwrap();
    promised(&error.reason(), "expected data to train on, found no batch");
}
