//! Exit codes, help and errors of arguments.

use std::fs;

use crate::program::{Ran, program, run, text, train};

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
