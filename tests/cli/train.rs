//! Runs and their settings.

use std::{fs, path::Path};

use serde_json::Value;

use crate::program::{Ran, event, program, run, text, train};

#[test]
fn a_run_is_events_files_and_a_model() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let more = [
        "--steps",
        "6",
        "--validate-every",
        "3",
        "--monitor-every",
        "2",
        "--json",
    ];
    let lines = train(&out, &more).succeeded().json_lines();
    let steps: Vec<&Value> = lines.iter().filter(|line| line["kind"] == "step").collect();
    assert_eq!(steps.len(), 3);
    assert!(
        steps
            .iter()
            .all(|line| line["loss"].as_f64().unwrap() > 0.0)
    );
    assert_eq!(
        lines
            .iter()
            .filter(|line| line["kind"] == "validation")
            .count(),
        2
    );
    assert_eq!(event(&lines, "done")["step"], 6);
    for file in [
        "config.toml",
        "log.jsonl",
        "errors.jsonl",
        "report.html",
        "model/config.json",
        "model/model.safetensors",
        "model/tokenizer.json",
    ] {
        assert!(out.join(file).is_file(), "{file}");
    }
    // The validation loss of the run is close to that of `eval`, whose windows differ.
    let loss = event(&lines, "done")["validation_loss"].as_f64().unwrap();
    let evaluation = run(&["eval", text(&out), "--windows", "64", "--json"])
        .succeeded()
        .json();
    assert!(
        (evaluation["loss"].as_f64().unwrap() - loss).abs() < 0.5,
        "{evaluation}"
    );

    train(&out, &[]).failed(1, &["belongs to an earlier run", "--resume", "--overwrite"]);
    let report = run(&["report", text(&out), "--json"]).succeeded().json();
    assert_eq!(report["reports"], 3);
    let inspected = run(&["inspect", text(&out), "--json"]).succeeded().json();
    assert_eq!(inspected["complete"], true);
}

#[test]
fn settings_come_from_a_file_and_flags_win() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let settings = "[training]\nsteps = 9\nseed = 3\n[model]\nd_ff = 96\nd_model = 64\n\
                    [run]\nprecision = \"fp\"\n";
    fs::write(&config, settings).unwrap();
    let out = folder.path().join("run");
    let mut command = program();
    command.args([
        "train",
        "--quiet",
        "--d-model",
        "32",
        "--heads",
        "2",
        "--steps",
        "2",
        "--out",
    ]);
    command
        .arg(&out)
        .args(["--context", "16", "--batch", "2", "--config"])
        .arg(&config);
    let ran = Ran::from(command.output().unwrap()).succeeded();
    assert_eq!(ran.stderr, "");
    let written = fs::read_to_string(out.join("config.toml")).unwrap();
    for line in [
        "steps = 2",
        "seed = 3",
        "d_ff = 96",
        "d_model = 32",
        "precision = \"fp\"",
    ] {
        assert!(written.contains(line), "no {line} in {written}");
    }
    // A full-precision model is fine-tuned into a BitNet model.
    let tuned = folder.path().join("tuned");
    let mut command = program();
    command
        .arg("finetune")
        .arg(&out)
        .args(["--steps", "2", "--progressive", "1", "--json"]);
    command
        .args([
            "--context",
            "16",
            "--batch",
            "2",
            "--memory",
            "small",
            "--out",
        ])
        .arg(&tuned);
    let lines = Ran::from(command.output().unwrap())
        .succeeded()
        .json_lines();
    assert_eq!(event(&lines, "done")["step"], 2);
    // The saved settings are those of the trained model.
    let config = fs::read_to_string(tuned.join("config.toml")).unwrap();
    let config: toml::Table = config.parse().unwrap();
    let model = &config["model"];
    assert_eq!(model["source"].as_str(), Some(text(&out)));
    assert_eq!(model["d_model"].as_integer(), Some(32));
    assert_eq!(model["d_ff"].as_integer(), Some(96));
    let settings = tuned.join("config.toml");
    let again = folder.path().join("again");
    run(&["train", "--config", text(&settings), "--out", text(&again)])
        .failed(2, &["model.source", "bitnet-burn finetune"]);
    let inspected = run(&["inspect", text(&tuned.join("model")), "--json"])
        .succeeded()
        .json();
    assert_eq!(
        inspected["config"]["quantization_config"]["quant_method"],
        "bitnet"
    );
}

#[test]
fn a_count_of_steps_is_kept_whatever_divides_it() {
    let smallest = "--d-model 8 --layers 1 --heads 2 --d-ff 8 --context 4 --batch 1 --text";
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("text.txt");
    fs::write(
        &path,
        "to be or not to be, that is the question. ".repeat(10),
    )
    .unwrap();
    for (name, every) in [("a", vec![]), ("b", vec!["--validate-every", "3"])] {
        let out = folder.path().join(name);
        let mut command = program();
        command.arg("train").arg("--out").arg(&out);
        command.args(smallest.split(' ')).arg(&path);
        command
            .args(["--steps", "101", "--monitor-every", "0", "--json"])
            .args(every);
        let lines = Ran::from(command.output().unwrap())
            .succeeded()
            .json_lines();
        assert_eq!(event(&lines, "done")["step"], 101);
    }
}

#[test]
fn a_model_is_fine_tuned_in_full_precision() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    train(&out, &["--steps", "4", "--precision", "fp"]).succeeded();
    let model = out.join("model");
    let tuned = folder.path().join("tuned");
    let finetune = |model: &Path, more: &[&str]| {
        let flags = [
            "finetune",
            text(model),
            "--out",
            text(&tuned),
            "--precision",
            "fp",
            "--steps",
            "6",
            "--context",
            "16",
            "--batch",
            "2",
        ];
        run(&[&flags[..], more].concat())
    };
    finetune(&model, &["--learning-rate", "0.01"]).succeeded();
    let inspected = run(&["inspect", text(&tuned.join("model")), "--json"])
        .succeeded()
        .json();
    assert_eq!(inspected["config"]["quantization_config"], Value::Null);
    let loss = |model: &Path| {
        let flags = ["eval", text(model), "--context", "16", "--json"];
        let ran = run(&flags).succeeded();
        ran.json()["loss"].as_f64().unwrap()
    };
    assert!(loss(&tuned.join("model")) < loss(&model));

    finetune(&model, &["--overwrite", "--peft", "lora"]).failed(2, &["--precision", "--peft"]);
    let quantized = folder.path().join("quantized");
    train(&quantized, &["--steps", "2"]).succeeded();
    finetune(&quantized.join("model"), &["--overwrite"]).failed(
        2,
        &["--precision fp does not fit a model with latent weights"],
    );
}

#[test]
fn gradient_checkpointing_trains_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let weights = |name: &str, more: &[&str]| {
        let out = folder.path().join(name);
        train(&out, &[&["--steps", "3"], more].concat()).succeeded();
        let config = fs::read_to_string(out.join("config.toml")).unwrap();
        assert!(
            config.contains(&format!("gradient_checkpointing = {}", !more.is_empty())),
            "{config}"
        );
        fs::read(out.join("model/model.safetensors")).unwrap()
    };
    let plain = weights("plain", &[]);
    assert!(plain == weights("parts", &["--gradient-checkpointing"]));
}
