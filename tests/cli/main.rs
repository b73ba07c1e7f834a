//! End-to-end tests of the program `bitnet-burn`: exit codes, help, errors, and a small model in all
//! commands.

mod program;

use std::{fs, path::Path, process::Command};

use serde_json::Value;

use program::{Ran, TINY, event, program, run, text, train, trained};

#[test]
fn every_command_has_help_with_examples() {
    let commands = [
        "train",
        "finetune",
        "eval",
        "generate",
        "convert",
        "inspect",
        "sensitivity",
        "report",
    ];
    let main = run(&["--help"]).succeeded().stdout;
    for command in commands {
        assert!(main.contains(command));
        let help = run(&[command, "--help"]).succeeded().stdout;
        assert!(help.contains(&format!("bitnet-burn {command} ")), "{help}");
    }
    assert!(
        run(&["--version"])
            .succeeded()
            .stdout
            .starts_with("bitnet-burn ")
    );
}

#[test]
fn wrong_usage_exits_with_2_and_a_hint() {
    run(&[]).failed(2, &["Usage"]);
    run(&["tarin"]).failed(2, &["train"]);
    run(&["eval", "model", "--windos", "3"]).failed(2, &["--windows"]);
    let out = tempfile::tempdir().unwrap();
    for (arguments, part) in [
        (
            &["--heads", "3"][..],
            "--d-model is a multiple of twice --heads, got 32 and 3",
        ),
        (&["--steps", "0"], "--steps is 1 or more, got 0"),
        (
            &["--progressive", "9", "--steps", "8"],
            "--progressive is less than the 8 steps",
        ),
        (&["--device", "gpu"], "--device is one of flex"),
        (
            &["--precision", "fp", "--memory", "small"],
            "--memory small is for --precision qat",
        ),
        (&["--tied", "--untied"], "cannot be used with"),
    ] {
        let mut command = program();
        command.args(["train", "--out"]).arg(out.path());
        // Flags cannot be repeated: the tiny sizes without the heads.
        command.args(["--d-model", "32", "--context", "16"]);
        Ran::from(command.args(arguments).output().unwrap()).failed(2, &[part]);
    }
    assert_eq!(fs::read_dir(out.path()).unwrap().count(), 0);
}

#[test]
fn missing_files_exit_with_1_and_are_named() {
    run(&["eval", "no-such-model"]).failed(1, &["no-such-model: expected", "check the path"]);
    run(&["inspect", "no-such-file.gguf"]).failed(1, &["no-such-file.gguf"]);
    run(&["report", "no-such-run"]).failed(1, &["no-such-run"]);
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("x.gguf");
    fs::write(&gguf, b"GGUF").unwrap();
    run(&["inspect", text(&gguf)]).failed(1, &["x.gguf"]);
    run(&["eval", text(folder.path())]).failed(1, &["expected a folder with config.json"]);
    let missing = folder.path().join("text.txt");
    train(&folder.path().join("run"), &["--text", text(&missing)]).failed(1, &["text.txt"]);
    let config = folder.path().join("config.toml");
    fs::write(&config, "[model]\nd_modl = 3\n").unwrap();
    let out = folder.path().join("run");
    train(&out, &["--config", text(&config)]).failed(1, &["config.toml", "model", "d_modl"]);
}

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

#[cfg(unix)]
#[test]
fn a_run_that_is_interrupted_goes_on() {
    use std::{
        io::{BufRead, BufReader},
        process::Stdio,
    };
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run");
    let steps = ["--steps", "2000", "--monitor-every", "0", "--json"];
    let mut command = program();
    command
        .arg("train")
        .arg("--out")
        .arg(&out)
        .args(TINY)
        .args(steps);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    lines.next().unwrap().unwrap();
    let killed = Command::new("kill")
        .args(["-INT", &child.id().to_string()])
        .status();
    assert!(killed.unwrap().success());
    let lines: Vec<Value> = lines
        .map(|line| serde_json::from_str(&line.unwrap()).unwrap())
        .collect();
    assert_eq!(child.wait().unwrap().code(), Some(0));
    let interrupted = event(&lines, "interrupted");
    let step = interrupted["step"].as_u64().unwrap();
    assert!((1..2000).contains(&step), "{step}");
    assert!(interrupted["resume"].as_str().unwrap().contains("--resume"));
    assert!(!out.join("model").exists());

    // Only unchanged settings can be resumed.
    run(&["train", "--out", text(&out), "--resume", "--steps", "3000"])
        .failed(2, &["training.steps was 2000 and is 3000"]);
    run(&[
        "train",
        "--out",
        text(&folder.path().join("other")),
        "--resume",
    ])
    .failed(1, &["expected a complete checkpoint"]);
    let mut command = program();
    command
        .args(["train", "--resume", "--json", "--out"])
        .arg(&out);
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first: Value = serde_json::from_str(&lines.next().unwrap().unwrap()).unwrap();
    assert_eq!(first["message"], format!("going on after step {step}"));
    child.kill().unwrap();
    child.wait().unwrap();

    // A user's folder in place of the log: it stays, and the error names it.
    let log = out.join("log.jsonl");
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let resumed = run(&["train", "--out", text(&out), "--resume"]);
    assert!(
        !resumed.stderr.contains("Dataset error"),
        "{}",
        resumed.stderr
    );
    let sentence = "log.jsonl: expected a file or nothing, found a folder";
    resumed.failed(1, &["callback `json_logger`", sentence]);
    assert!(log.is_dir());
}

#[test]
fn convert_round_trips_all_formats() {
    let (folder, model) = trained();
    let path = |name: &str| folder.path().join(name);
    let convert = |from: &Path, to: &Path, more: &[&str]| {
        let arguments = [&["convert", text(from), text(to), "--json"], more].concat();
        run(&arguments)
    };
    let (packed, gguf, back) = (path("packed"), path("model.gguf"), path("back"));
    let done = convert(&model, &packed, &["--scale", "divide"])
        .succeeded()
        .json();
    assert_eq!(done["form"], "packed");
    convert(&model, &gguf, &["--type", "f16"]).succeeded();
    convert(&gguf, &back, &[]).succeeded();
    convert(
        &model,
        &path("half"),
        &[
            "--to",
            "float",
            "--dtype",
            "bf16",
            "--max-shard-size",
            "10KB",
        ],
    )
    .succeeded();
    assert!(path("half").join("model.safetensors.index.json").is_file());

    let generate = |model: &Path| {
        let ran = run(&[
            "generate",
            text(model),
            "-p",
            "To be",
            "-n",
            "9",
            "--temperature",
            "0",
            "--json",
        ]);
        let json = ran.succeeded().json();
        assert_eq!(json["finish"], "length");
        json["text"].as_str().unwrap().to_string()
    };
    let expected = generate(&model);
    assert_eq!(generate(&packed), expected);
    for model in [&gguf, &back] {
        generate(model);
    }

    let tensor = |path: &Path, name: &str| {
        let json = run(&["inspect", text(path), "--json"]).succeeded().json();
        let tensors = json["tensors"].as_array().unwrap().clone();
        let found = tensors.into_iter().find(|tensor| tensor["name"] == name);
        found.unwrap_or_else(|| panic!("no {name} in {json}"))
    };
    let name = "model.layers.0.mlp.down_proj.weight";
    let (first, last) = (tensor(&packed, name), tensor(&back, name));
    assert_eq!(first["codes"], last["codes"]);
    let scale = |tensor: &Value| tensor["scale"].as_f64().unwrap();
    assert!((scale(&first) / scale(&last) - 1.0).abs() < 1e-6);
    assert!(tensor(&model, name)["absmean"].as_f64().unwrap() > 0.0);
    assert_eq!(
        tensor(&gguf, "blk.0.ffn_down.weight")["codes"],
        first["codes"]
    );

    convert(&model, &packed, &[]).failed(1, &["packed"]);
    convert(&model, &gguf, &[]).failed(1, &["--overwrite"]);
    convert(&model, &path("i2s.gguf"), &["--type", "I2_S"]).failed(2, &["--allow-i2-s"]);
    convert(&model, &path("x.gguf"), &["--scale", "divide"]).failed(2, &["--scale is for folders"]);
    convert(&packed, &path("float"), &["--to", "float"]).failed(1, &["packed"]);
}

#[test]
fn text_has_several_forms() {
    let (folder, model) = trained();
    let path = |name: &str| folder.path().join(name);
    let line = "To be, or not to be, that is the question:\n";
    fs::write(path("a.txt"), line.repeat(20)).unwrap();
    let record = serde_json::json!({"text": line}).to_string() + "\n";
    fs::write(path("a.jsonl"), record.repeat(20)).unwrap();
    for file in ["a.txt", "a.jsonl"] {
        let json = run(&["eval", text(&model), "--text", text(&path(file)), "--json"]);
        assert!(json.succeeded().json()["tokens"].as_u64().unwrap() > 500);
    }
    fs::write(path("bad.jsonl"), "{\"text\": 3}\n").unwrap();
    run(&["eval", text(&model), "--text", text(&path("bad.jsonl"))]).failed(1, &["bad.jsonl"]);
    fs::write(path("greek.txt"), "αβγ").unwrap();
    run(&["eval", text(&model), "--text", text(&path("greek.txt"))]).failed(1, &["'α'"]);
    run(&["generate", text(&model), "-p", "hi", "--chat"]).failed(1, &["chat template"]);

    let record =
        serde_json::json!({"prompt": "Is it so? ", "completion": "It is."}).to_string() + "\n";
    fs::write(path("pairs.jsonl"), record.repeat(40)).unwrap();
    let mut command = program();
    command
        .arg("finetune")
        .arg(&model)
        .arg("--out")
        .arg(path("tuned"));
    command
        .args(["--records", "prompt-completion", "--text"])
        .arg(path("pairs.jsonl"));
    command.args(["--steps", "3", "--context", "16", "--batch", "2", "--json"]);
    let lines = Ran::from(command.output().unwrap())
        .succeeded()
        .json_lines();
    assert!(event(&lines, "done")["validation_loss"].as_f64().unwrap() > 0.0);
}

/// Fine-tunes for one step on records.
fn learn(model: &Path, records: &str, files: &[&Path], more: &[&str]) -> Ran {
    let out = tempfile::tempdir().unwrap();
    let mut command = program();
    command
        .arg("finetune")
        .arg(model)
        .args(["--records", records]);
    command.args([
        "--steps",
        "1",
        "--context",
        "16",
        "--batch",
        "2",
        "--json",
        "--out",
    ]);
    command
        .arg(out.path().join("run"))
        .arg("--text")
        .args(files);
    Ran::from(command.args(more).output().unwrap())
}

#[test]
fn data_without_tokens_that_count_is_an_error() {
    let (folder, model) = trained();
    let path = |name: &str| folder.path().join(name);
    let masked = "{\"prompt\": \"a long question\", \"completion\": \"\"}\n";
    let pair = "{\"prompt\": \"q\", \"completion\": \"a\"}\n";
    for (name, content, part) in [
        (
            "empty.jsonl",
            "",
            "empty.jsonl: expected records, found an empty file",
        ),
        (
            "blank.jsonl",
            " \n",
            "blank.jsonl: expected records, found none",
        ),
        ("list.json", "[]", "list.json: expected records, found none"),
        ("one.jsonl", pair, "at least 2 records"),
        (
            "masked.ndjson",
            &masked.repeat(9),
            "masked.ndjson\"]: every completion is empty",
        ),
        (
            "tail.jsonl",
            &(pair.repeat(9) + masked),
            "the last tenth of --text",
        ),
        ("cut.json", "[{\"prompt\": \"q\"", "cut.json: expected `]`"),
    ] {
        fs::write(path(name), content).unwrap();
        learn(&model, "prompt-completion", &[&path(name)], &[]).failed(1, &[part]);
    }
    fs::write(path("good.JSONL"), pair.repeat(4)).unwrap();
    let validation = path("masked.ndjson");
    let more = ["--validation", text(&validation)];
    learn(&model, "prompt-completion", &[&path("good.JSONL")], &more)
        .failed(1, &["masked.ndjson", "every completion is empty"]);
    learn(&model, "prompt-completion", &[&path("good.JSONL")], &[]).succeeded();
    fs::write(path("text.txt"), "text").unwrap();
    let validation = path("text.txt");
    let more = ["--validation", text(&validation)];
    learn(&model, "prompt-completion", &[&path("good.JSONL")], &more)
        .failed(2, &["--validation", "text.txt"]);
    for (name, part) in [
        ("empty.txt", "an empty file"),
        ("blank.txt", "a blank file"),
    ] {
        fs::write(path(name), if name == "empty.txt" { "" } else { "\n \n" }).unwrap();
        train(&path("run"), &["--text", text(&path(name))]).failed(1, &[name, part]);
    }
    fs::write(path("utf16.txt"), b"\xff\xfea\0b\0").unwrap();
    train(&path("run"), &["--text", text(&path("utf16.txt"))]).failed(
        1,
        &["utf16.txt: expected text in UTF-8, found text in UTF-16"],
    );
}

#[test]
fn unsupported_generation_settings_are_refused() {
    let (_folder, model) = trained();
    let generate = || run(&["generate", text(&model), "-p", "To be", "-n", "2"]);
    let settings = model.join("generation_config.json");
    fs::write(&settings, "{\"suppress_tokens\": [1]}").unwrap();
    generate().failed(1, &["generation_config.json", "`suppress_tokens`", "[1]"]);
    fs::write(&settings, "{\"temprature\": 0.5, \"top_p\": 0.9}").unwrap();
    let ran = generate().succeeded();
    assert!(
        ran.stderr
            .contains("ignored unknown keys: generation_config.json: temprature = 0.5\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_gguf_file_is_fine_tuned_with_its_tokenizer() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let mut command = program();
    command
        .arg("train")
        .arg("--out")
        .arg(path("run"))
        .args(TINY);
    command.args(["--steps", "2", "--precision", "fp"]);
    Ran::from(command.output().unwrap()).succeeded();
    let (model, gguf) = (path("run").join("model"), path("float.gguf"));
    run(&["convert", text(&model), text(&gguf), "--type", "F32"]).succeeded();
    let mut command = program();
    command
        .arg("finetune")
        .arg(&gguf)
        .arg("--out")
        .arg(path("tuned"));
    command.args(["--steps", "2", "--context", "16", "--batch", "2", "--json"]);
    Ran::from(command.output().unwrap()).succeeded();
    let tuned = path("tuned").join("model");
    let json = run(&["eval", text(&tuned), "--windows", "2", "--json"]);
    assert!(json.succeeded().json()["loss"].as_f64().unwrap() > 0.0);
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
fn sensitivities_are_of_every_layer() {
    let (folder, model) = trained();
    let html = folder.path().join("page.html");
    let arguments = [
        "sensitivity",
        text(&model),
        "--windows",
        "2",
        "--bits",
        "4",
        "--plan-bits",
        "3",
        "--html",
        text(&html),
        "--json",
    ];
    let json = run(&arguments).succeeded().json();
    assert_eq!(json["sensitivity"]["layers"].as_array().unwrap().len(), 7);
    assert!(fs::read_to_string(html).unwrap().contains("down_proj"));
}
