//! Trains a full-precision teacher and a BitNet student, alone and distilled, on text:
//! `cargo run --release --example distill -- --help`.

mod lessons;
mod logits_cache;
mod options;

use std::{fs, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use bitnet_burn::{
    loss::{DistillationLossConfig, LogitsDistillationLoss},
    nn::{BitLinear, BitNetLm, BitNetLmConfig},
    train::{Distiller, LanguageModel, TokenLoss, Trainer},
};
use bitnet_burn_examples::{
    Error, STEPS_PER_EPOCH, Text, run_example, training_config, warm_up_steps,
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::Device,
    train::{
        InferenceStep, LearnerModel, TrainLoader, TrainStep, ValidLoader,
        metric::{Adaptor, LossInput},
    },
};
use serde_json::json;

use lessons::{Answers, Lessons, Pupil};
use options::Options;

fn main() -> ExitCode {
    run_example(run)
}

fn run(options: Options) -> Result<(), Error> {
    let start = Instant::now();
    let text = Text::load(options.text.as_deref())?;
    let folder = |error| format!("cannot use {}: {error}", options.out.display());
    fs::create_dir_all(&options.out).map_err(folder)?;
    let (teacher, teacher_file) = teacher(&options, &text)?;
    let teacher_loss = text.valid_loss(&teacher)?;
    println!("teacher: validation loss {teacher_loss:.4}");

    // Other windows than those of the teacher's training.
    let steps = options.steps.min(STEPS_PER_EPOCH);
    let windows = text.train_windows(!options.seed, steps, steps)?;
    let mut lessons = Lessons::new(&*windows, Device::default().autodiff())?;
    let text_alone = DistillationLossConfig::new().with_logits(None);
    let student = self::student("student", &options, &text, &lessons, text_alone)?;
    let student_loss = text.valid_loss(&student)?;

    let path = options.out.join("teacher_logits");
    let format = logits_cache::format(&options, text.lm_config().vocab_size, &teacher_file)?;
    let logits = logits_cache::open_or_write(&path, &format, &teacher, &lessons)?;
    let logits_bytes = fs::metadata(&path)?.len();
    println!("the teacher's logits take {logits_bytes} bytes");
    lessons.logits = Some(Arc::new(logits));
    let logits = LogitsDistillationLoss::new().with_temperature(options.temperature);
    let distillation = DistillationLossConfig::new()
        .with_task_weight(1.0 - options.alpha)
        .with_logits_weight(options.alpha)
        .with_logits(Some(logits));
    let distilled = self::student("distilled", &options, &text, &lessons, distillation)?;
    let distilled_loss = text.valid_loss(&distilled)?;
    LanguageModel::new(distilled).save_file(options.out.join("student.bpk"))?;

    println!("student alone: validation loss {student_loss:.4}");
    println!("student distilled: validation loss {distilled_loss:.4}");
    let line = json!({
        "steps": options.steps,
        "temperature": options.temperature,
        "alpha": options.alpha,
        "top_k": options.top_k,
        "teacher_valid_loss": teacher_loss,
        "student_valid_loss": student_loss,
        "distilled_valid_loss": distilled_loss,
        "logits_bytes": logits_bytes,
        "seconds": start.elapsed().as_secs_f64(),
    });
    println!("{line}");
    Ok(())
}

/// Loads or trains the teacher; returns it for inference, with its file.
fn teacher(options: &Options, text: &Text) -> Result<(BitNetLm<Linear>, PathBuf), Error> {
    let device = Device::default();
    device.seed(options.seed);
    if let Some(path) = &options.teacher {
        let model = LanguageModel::new(text.lm_config().init(&device));
        let cannot = |error| format!("cannot load the teacher {}: {error}", path.display());
        let model = model.try_load_file(path).map_err(cannot)?;
        return Ok((model.lm, path.clone()));
    }
    let model = LanguageModel::new(text.lm_config().init::<Linear>(&device.autodiff()));
    let windows = text.train_windows(options.seed, options.steps, STEPS_PER_EPOCH)?;
    let model = train("teacher", model, options, windows, text.valid_windows()?)?;
    let path = options.out.join("teacher.bpk");
    model.clone().save_file(&path)?;
    Ok((model.lm, path))
}

/// Trains a student with a quarter of the teacher's parameters; returns it for inference.
fn student(
    name: &str,
    options: &Options,
    text: &Text,
    lessons: &Lessons,
    loss: DistillationLossConfig,
) -> Result<BitNetLm<BitLinear>, Error> {
    let device = Device::default();
    // Both students start from the same weights.
    device.seed(options.seed.wrapping_add(1));
    let device = device.autodiff();
    let config = BitNetLmConfig {
        d_model: 64,
        d_ff: 192,
        ..text.lm_config()
    };
    let model = LanguageModel::new(config.init(&device));
    let distiller = Distiller::new(Pupil { model }, Answers, loss.init(&device));
    let valid = Lessons::new(&*text.valid_windows()?, device.inner())?;
    let distiller = train(name, distiller, options, lessons.loader(), valid.loader())?;
    Ok(distiller.student.model.lm)
}

/// Trains a model, teacher or student; returns it for inference.
fn train<M: LearnerModel>(
    name: &str,
    model: M,
    options: &Options,
    train: TrainLoader<M>,
    valid: ValidLoader<M>,
) -> Result<M, Error>
where
    <M as TrainStep>::Output: Adaptor<LossInput> + Adaptor<TokenLoss>,
    <M as InferenceStep>::Output: Adaptor<LossInput> + Adaptor<TokenLoss>,
{
    println!("{name}: {} parameters", model.num_params());
    let (steps, peak) = (options.steps, options.learning_rate);
    let config = training_config(steps, peak, warm_up_steps(steps), options.seed);
    let trainer = Trainer::new(model, config)?
        .with_token_losses()
        .with_metrics_folder(options.out.join(name));
    Ok(trainer.train(train, valid)?.model)
}
