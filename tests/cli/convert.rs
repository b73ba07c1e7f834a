//! Formats of models.

use std::path::Path;

use serde_json::Value;

use crate::program::{Ran, TINY, program, run, text, trained};

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
