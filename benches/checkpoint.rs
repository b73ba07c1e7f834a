//! Loading time of a 500 MB model from a Hugging Face folder, compared with reading the bytes of
//! its file.
//!
//! `cargo bench --bench checkpoint`; `BURN_DEVICE` selects the backend.

use std::{
    env, fs,
    hint::black_box,
    path::{Path, PathBuf},
    process::{Command, exit},
    time::Instant,
};

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm,
        hf::{LoadOptions, SaveOptions, ScaleConvention, WeightForm, load, save},
    },
    nn::{BitNetLm, BitNetLmConfig},
};
use burn::tensor::{Device, FloatDType};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const ROUNDS: usize = 7;
const MIB: f64 = 1_048_576.0;

fn main() {
    let arguments: Vec<String> = env::args()
        .filter(|argument| argument != "--bench")
        .collect();
    let arguments: Vec<&str> = arguments.iter().skip(1).map(String::as_str).collect();
    match arguments[..] {
        [] => run(),
        ["bytes", folder] => print_time(|| fs::read(file(Path::new(folder)))),
        ["model", folder] => print_time(|| load_model(Path::new(folder))),
        _ => {
            eprintln!("unknown arguments {arguments:?}: there are none");
            exit(2)
        }
    }
}

fn run() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    // 125 million parameters.
    let config = BitNetLmConfig::new(8192, 1280, 6, 20, 3456).with_max_positions(512);
    let lm: BitNetLm = config.init(&Device::default());
    let model = PretrainedLm::new(config, CausalLm::Qat(lm));
    println!("| file | MiB | bytes, ms | model, ms | ratio | peak MiB | of the file |");
    println!("|---|---|---|---|---|---|---|");
    for (name, form) in [
        ("f32", WeightForm::Float(FloatDType::F32)),
        ("bf16", WeightForm::Float(FloatDType::BF16)),
        ("packed", WeightForm::Packed(ScaleConvention::Multiply)),
    ] {
        let path = folder.path().join(name);
        save(&path, &model, &SaveOptions::new(form)).expect("a folder is written");
        measure(name, &path);
    }
}

fn file(folder: &Path) -> PathBuf {
    folder.join("model.safetensors")
}

fn load_model(folder: &Path) -> PretrainedLm {
    load(folder, &LoadOptions::new(), &Device::default()).expect("our own folder")
}

/// Alternates between reading and loading, each in a new process. The file is cached by the
/// operating system in both cases.
fn measure(name: &str, folder: &Path) {
    let size = fs::metadata(file(folder)).expect("it was written").len() as f64 / MIB;
    let (mut bytes, mut models, mut peaks) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        bytes.push(in_own_process("bytes", folder)[0]);
        let [time, peak] = in_own_process("model", folder);
        models.push(time);
        peaks.push(peak);
    }
    let (bytes, models, peak) = (median(bytes), median(models), median(peaks));
    println!(
        "| {name} | {size:.0} | {bytes:.0} | {models:.0} | {:.2} | {peak:.0} | {:.2} |",
        models / bytes,
        peak / size
    );
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// Returns milliseconds, and the peak of resident memory in MiB.
fn in_own_process(what: &str, folder: &Path) -> [f64; 2] {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program).arg(what).arg(folder).output();
    let text = String::from_utf8(output.expect("this program runs").stdout).expect("numbers");
    let numbers = text.split_whitespace();
    let numbers: Vec<f64> = numbers
        .map(|number| number.parse().expect("a number"))
        .collect();
    numbers.try_into().expect("two numbers")
}

fn print_time<T>(work: impl FnOnce() -> T) {
    let before = status_mib("VmRSS:");
    let start = Instant::now();
    black_box(work());
    let time = start.elapsed().as_secs_f64() * 1e3;
    println!("{time} {}", status_mib("VmHWM:") - before);
}

/// Returns a size of this process, where the system reports it (Linux).
fn status_mib(key: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<f64>().ok()).expect("a size") / 1024.0
}
