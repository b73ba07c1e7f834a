//! Loading a model of 500 MB from a folder of Hugging Face, against reading the bytes of its file.
//!
//! `cargo bench --bench checkpoint`; `BURN_DEVICE` picks the backend.

use std::{
    env, fs,
    hint::black_box,
    path::Path,
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
    let arguments: Vec<String> = env::args().filter(|argument| argument != "--bench").collect();
    match arguments.get(1).map(String::as_str) {
        Some("peak") => return print_peak(Path::new(&arguments[2])),
        Some(other) => {
            eprintln!("unknown argument {other}: there are none");
            exit(2)
        }
        None => {}
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    // 125 million parameters.
    let config = BitNetLmConfig::new(8192, 1280, 6, 20, 3456).with_max_positions(512);
    let lm: BitNetLm = config.init(&Device::default());
    let model = PretrainedLm::new(config, CausalLm::Qat(lm));
    println!("| file | MiB | bytes, ms | model, ms | ratio | peak MiB | of the model |");
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

/// Reads and loads in turn; what was written is in the memory of the system either way.
fn measure(name: &str, folder: &Path) {
    let file = folder.join("model.safetensors");
    let size = fs::metadata(&file).expect("it was written").len() as f64;
    let (mut bytes, mut models) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        black_box(fs::read(&file).expect("it was written"));
        bytes.push(start.elapsed().as_secs_f64() * 1e3);
        let start = Instant::now();
        black_box(load_model(folder));
        models.push(start.elapsed().as_secs_f64() * 1e3);
    }
    let (bytes, models) = (median(bytes), median(models));
    let (before, peak) = peak_of(folder);
    let (size, peak) = (size / MIB, peak - before);
    println!(
        "| {name} | {size:.0} | {bytes:.0} | {models:.0} | {:.2} | {peak:.0} | {:.2} |",
        models / bytes,
        peak / size
    );
}

fn load_model(folder: &Path) -> PretrainedLm {
    load(folder, &LoadOptions::new(), &Device::default()).expect("our own folder")
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Resident memory of a process of its own before it loads the model, and at most.
fn peak_of(folder: &Path) -> (f64, f64) {
    let program = env::current_exe().expect("this program");
    let output = Command::new(program).arg("peak").arg(folder).output();
    let text = String::from_utf8(output.expect("this program runs").stdout).expect("numbers");
    let mut numbers = text.split_whitespace().map(|number| number.parse().expect("a number"));
    (numbers.next().expect("two"), numbers.next().expect("two"))
}

fn print_peak(folder: &Path) {
    let before = status_mib("VmRSS:");
    black_box(load_model(folder));
    println!("{before} {}", status_mib("VmHWM:"));
}

/// A size of this process, where the system tells (Linux).
fn status_mib(key: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status.lines().find(|line| line.starts_with(key));
    let kib = line.and_then(|line| line.split_whitespace().nth(1));
    kib.and_then(|kib| kib.parse::<f64>().ok()).expect("a size") / 1024.0
}
