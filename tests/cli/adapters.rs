//! Adapters: trained, evaluated, merged, and resumed after a kill.

mod bit_fit;
mod files;

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::program::{Ran, event, program, run, text, train, trained};

/// Sizes of a training of the tiny model.
const SIZES: [&str; 8] = [
    "--context",
    "12",
    "--batch",
    "2",
    "--steps",
    "6",
    "--learning-rate",
    "0.02",
];

fn finetune(model: &Path, out: &Path, more: &[&str]) -> Command {
    let mut command = program();
    command.arg("finetune").arg(model).arg("--out").arg(out);
    command.args(more);
    command
}

/// Trains an adapter on a short text; returns its folder, and the validation loss.
fn adapter(model: &Path, out: &Path, more: &[&str]) -> (PathBuf, f64) {
    let book = out.with_extension("txt");
    fs::write(
        &book,
        "To be, or not to be, that is the question.\n".repeat(60),
    )
    .unwrap();
    let data = ["--text", text(&book), "--json"];
    let mut command = finetune(model, out, &[&SIZES, more, &data].concat());
    let ran = Ran::from(command.output().unwrap()).succeeded();
    let lines = ran.json_lines();
    let done = event(&lines, "done");
    assert_eq!(done["adapter"], text(&out.join("adapter")));
    assert!(!out.join("model").exists());
    let loss = done["validation_loss"].as_f64().unwrap();
    (out.join("adapter"), loss)
}

fn loss(model: &Path, more: &[&str]) -> f64 {
    let options = ["--context", "12", "--windows", "32", "--json"];
    let ran = run(&[&["eval", text(model)], &options[..], more].concat());
    ran.succeeded().json()["loss"].as_f64().unwrap()
}

#[test]
fn every_method_trains_beside_packed_weights() {
    let (folder, model) = trained();
    let before = loss(&model, &[]);
    for (method, more) in [
        ("lora", &["--rank", "4"][..]),
        ("rslora", &[]),
        ("dora", &["--target", "q_proj", "v_proj"]),
        ("adalora", &["--rank", "2"]),
        ("ia3", &[]),
        ("prefix", &["--virtual-tokens", "3"]),
        ("p-tuning", &["--virtual-tokens", "3"]),
        ("prompt", &["--virtual-tokens", "3"]),
    ] {
        let out = folder.path().join(method);
        let (adapter, _) = adapter(&model, &out, &[&["--peft", method], more].concat());
        let after = loss(&model, &["--adapter", text(&adapter)]);
        assert_ne!(after, before, "{method}");
        let generated = run(&[
            "generate",
            text(&model),
            "--adapter",
            text(&adapter),
            "-p",
            "To",
            "-n",
            "3",
        ]);
        generated.succeeded();
    }
}

#[test]
fn adapters_of_floats_are_merged_and_of_4_bit_weights_stay_beside_them() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = folder.path().join("run");
    train(&run_folder, &["--steps", "4", "--precision", "fp"]).succeeded();
    let model = run_folder.join("model");
    let (lora, _) = adapter(&model, &folder.path().join("lora"), &["--peft", "lora"]);
    let beside = loss(&model, &["--adapter", text(&lora)]);
    let merged = folder.path().join("merged");
    let arguments = [
        "merge",
        text(&model),
        text(&merged),
        "--adapter",
        text(&lora),
    ];
    let report = run(&arguments).succeeded();
    assert!(
        report.stdout.contains("modules merged"),
        "{}",
        report.stdout
    );
    // Rounding of the merged weights.
    assert!((loss(&merged, &[]) - beside).abs() < 1e-5);

    let nf4 = ["--peft", "lora", "--base", "nf4"];
    let (nf4, _) = adapter(&model, &folder.path().join("nf4"), &nf4);
    let of_nf4 = loss(&model, &["--adapter", text(&nf4), "--base", "nf4"]);
    assert_ne!(of_nf4, loss(&model, &["--adapter", text(&nf4)]));
    let both = loss(&model, &["--adapter", text(&lora), "--adapter", text(&nf4)]);
    assert_ne!(both, beside);
}

#[test]
fn a_base_in_bf16_is_the_rounded_one() {
    let folder = tempfile::tempdir().unwrap();
    let run_folder = folder.path().join("run");
    train(&run_folder, &["--steps", "4", "--precision", "fp"]).succeeded();
    let model = run_folder.join("model");
    let rounded = loss(&model, &["--base", "bf16"]);
    let exact = loss(&model, &[]);
    assert_ne!(rounded, exact);
    assert!((rounded - exact).abs() < 0.01 * exact, "{rounded} {exact}");
    // Trained beside it, an adapter comes near the one beside the exact base.
    let trained = |base: &str| {
        let options = ["--peft", "lora", "--base", base];
        let (_, loss) = adapter(&model, &folder.path().join(base), &options);
        loss
    };
    let (beside_rounded, beside_exact) = (trained("bf16"), trained("float"));
    assert_ne!(beside_rounded, beside_exact);
    let difference = (beside_rounded - beside_exact).abs();
    assert!(
        difference < 0.02 * beside_exact,
        "{beside_rounded} {beside_exact}"
    );
}

#[test]
fn merging_into_packed_weights_says_what_it_loses() {
    let (folder, model) = trained();
    let packed = folder.path().join("packed");
    run(&["convert", text(&model), text(&packed)]).succeeded();
    let (lora, _) = adapter(&packed, &folder.path().join("lora"), &["--peft", "lora"]);
    let merged = folder.path().join("merged");
    let arguments = [
        "merge",
        text(&packed),
        text(&merged),
        "--adapter",
        text(&lora),
        "--json",
    ];
    let report = run(&arguments).succeeded().json();
    assert_eq!(report["form"], "packed");
    assert!(report["error"].as_f64().unwrap() > 0.1, "{report}");
    loss(&merged, &[]);
}

#[cfg(unix)]
#[test]
fn a_killed_training_of_adapters_resumes_with_the_same_bits() {
    let (folder, model) = trained();
    let flags = [
        "--peft",
        "lora",
        "--context",
        "12",
        "--batch",
        "2",
        "--steps",
        "60",
        "--checkpoint-every",
        "3",
        "--log-every",
        "1",
        "--json",
    ];
    let straight = folder.path().join("straight");
    let whole = finetune(&model, &straight, &flags).output().unwrap();
    Ran::from(whole).succeeded();

    let killed = folder.path().join("killed");
    let mut command = finetune(&model, &killed, &flags);
    let command = command.stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let saved = |line: &String| line.contains("is saved");
    lines.map(Result::unwrap).find(saved).unwrap();
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!killed.join("adapter").exists());
    let resumed = finetune(&model, &killed, &["--resume"]).output().unwrap();
    Ran::from(resumed).succeeded();
    let bytes = |run: &Path| fs::read(run.join("adapter/adapter_model.safetensors")).unwrap();
    assert!(bytes(&killed) == bytes(&straight));
}

#[test]
fn flags_that_do_not_fit_are_named() {
    let (folder, model) = trained();
    let out = folder.path().join("out");
    let refused = |more: &[&str], part: &str| {
        let ran = finetune(&model, &out, more).output().unwrap();
        Ran::from(ran).failed(2, &[part]);
    };
    refused(&["--rank", "4"], "--rank is for adapters: add --peft lora");
    refused(
        &["--peft", "ia3", "--rank", "4"],
        "--rank is not of the method",
    );
    refused(
        &["--peft", "prefix", "--target", "q_proj"],
        "--target is not of the method",
    );
    refused(
        &["--peft", "lora", "--base", "nf4", "--context", "12"],
        "--base nf4 does not fit a model with latent weights",
    );
    refused(
        &["--peft", "lora", "--insert-sub-norm"],
        "--insert-sub-norm changes",
    );
}
