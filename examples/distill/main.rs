//! Trains a full-precision teacher and a BitNet student, alone and distilled, on text:
//! `cargo run --release --example distill -- --help`.

#[allow(dead_code)] // The prompt is for samples of text, of which there are none here.
#[path = "../train_lm/data.rs"]
mod data;
mod lesson;
mod logits_cache;
#[path = "../train_lm/model.rs"]
mod model;
mod options;
mod training;
mod windows;

use std::{error::Error, fs, path::PathBuf, process::ExitCode, sync::Arc, time::Instant};

use bitnet_burn::{
    loss::{DistillationLossConfig, LogitsDistillationLossConfig},
    nn::{BitLinear, BitNetLmConfig, Projection},
    train::{Distiller, Teacher},
};
use burn::{
    data::dataloader::DataLoader,
    module::{Module, ModuleDisplay},
    nn::Linear,
    tensor::Device,
    train::InferenceStep,
};
use serde_json::json;

use data::{Corpus, STEPS_PER_EPOCH};
use lesson::{Answers, Lesson, Pupil};
use model::LanguageModel;
use options::{Command, HELP, Options};
use windows::{Windows, WithoutLogits};

/// Training on a CPU allocates and frees activations of a megabyte at every operation, which the
/// system allocator is slow at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let result = options::parse()
        .map_err(Into::into)
        .and_then(|command| match command {
            Command::Help => {
                print!("{HELP}");
                Ok(())
            }
            Command::Distill(options) => run(&options),
        });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("distill: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(options: &Options) -> Result<(), Box<dyn Error>> {
    let start = Instant::now();
    let corpus = Corpus::load(options.text.as_deref())?;
    let folder = |error| format!("cannot use {}: {error}", options.out.display());
    fs::create_dir_all(&options.out).map_err(folder)?;
    println!(
        "{} characters to train on, {} to validate, {} different ones",
        corpus.train_len(),
        corpus.valid_len(),
        corpus.vocabulary.len()
    );
    let (teacher, teacher_file) = teacher(options, &corpus)?;
    let teacher_loss = valid_loss(&teacher, &corpus);
    println!("teacher: validation loss {teacher_loss:.4}");

    // Other windows than those that the teacher trained on.
    let windows = Windows::new(&corpus, !options.seed, options.steps, &Device::default());
    let text_alone = DistillationLossConfig::new().with_logits(None);
    let student = student("student", options, &corpus, &windows, Answers, text_alone)?;
    let student_loss = valid_loss(&student, &corpus);

    let logits = LogitsDistillationLossConfig::new().with_temperature(options.temperature);
    let distillation = DistillationLossConfig::new()
        .with_task_weight(1.0 - options.alpha)
        .with_logits_weight(options.alpha)
        .with_logits(Some(logits));
    // Logits on disk help from the second epoch on.
    let (distilled, logits_bytes) = if options.steps > STEPS_PER_EPOCH {
        let path = options.out.join("teacher_logits");
        let format = logits_cache::format(options, corpus.vocabulary.len(), &teacher_file)?;
        let reader = logits_cache::open_or_write(&path, &format, &teacher, &windows)?;
        let bytes = fs::metadata(&path)?.len();
        println!("the teacher's logits take {bytes} bytes");
        let windows = windows.with_logits(reader);
        let model = self::student(
            "distilled",
            options,
            &corpus,
            &windows,
            Answers,
            distillation,
        );
        (model?, bytes)
    } else {
        let model = self::student(
            "distilled",
            options,
            &corpus,
            &windows,
            teacher,
            distillation,
        );
        (model?, 0)
    };
    let distilled_loss = valid_loss(&distilled, &corpus);
    distilled.save_file(options.out.join("student.bpk"))?;

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

/// The teacher for inference, and its file.
fn teacher(
    options: &Options,
    corpus: &Corpus,
) -> Result<(LanguageModel<Linear>, PathBuf), Box<dyn Error>> {
    let device = Device::default();
    device.seed(options.seed);
    let config = model::config(corpus.vocabulary.len());
    if let Some(path) = &options.teacher {
        let model = LanguageModel {
            lm: config.init(&device),
        };
        let cannot = |error| format!("cannot load the teacher {}: {error}", path.display());
        return Ok((model.try_load_file(path).map_err(cannot)?, path.clone()));
    }
    let model = LanguageModel {
        lm: config.init(&device.clone().autodiff()),
    };
    let train = Arc::new(corpus.train_loader(options.seed, options.steps));
    let valid = Arc::new(corpus.valid_loader(&device));
    let model = training::train("teacher", model, options, train, valid)?;
    let path = options.out.join("teacher.bpk");
    model.clone().save_file(&path)?;
    Ok((model, path))
}

/// A student of a quarter of the teacher's parameters, trained, for inference.
fn student<T: Teacher<Lesson> + ModuleDisplay + 'static>(
    name: &str,
    options: &Options,
    corpus: &Corpus,
    windows: &Windows,
    teacher: T,
    loss: DistillationLossConfig,
) -> Result<LanguageModel<BitLinear>, Box<dyn Error>> {
    let device = Device::default();
    // Both students start from the same weights.
    device.seed(options.seed.wrapping_add(1));
    let config = BitNetLmConfig {
        d_model: 64,
        d_ff: 192,
        ..model::config(corpus.vocabulary.len())
    };
    let device = device.autodiff();
    let pupil = Pupil {
        model: LanguageModel {
            lm: config.init(&device),
        },
    };
    let distiller = Distiller::new(pupil, teacher, loss.init(&device)).with_max_grad_norm(1.0);
    let valid = corpus.valid_loader(&device.clone().inner());
    let valid = Arc::new(WithoutLogits(Arc::new(valid)));
    let distiller = training::train(name, distiller, options, Arc::new(windows.clone()), valid)?;
    Ok(distiller.student.model)
}

/// Mean loss over the windows of the validation text, in nats per character.
fn valid_loss<P: Projection>(model: &LanguageModel<P>, corpus: &Corpus) -> f64 {
    let loader = corpus.valid_loader(&Device::default());
    let mut sum = 0.0;
    for batch in loader.iter() {
        let batch = batch.expect("windows of a text in memory");
        let windows = batch.inputs.dims()[0];
        let loss = model.step(batch).loss.into_scalar::<f32>();
        sum += f64::from(loss) * windows as f64;
    }
    sum / loader.num_items() as f64
}
