//! Files of texts and records.

use std::{fs, path::Path};

use crate::program::{Ran, event, program, run, text, train, trained};

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
