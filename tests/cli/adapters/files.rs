//! Adapters in folders of peft and in GGUF: converted, inspected, and used.

use std::{
    fs,
    path::{Path, PathBuf},
};

use serde_json::{Value, json};

use super::{adapter, loss};
use crate::program::{Ran, run, text, train, trained};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data")
        .join(name)
}

/// Converts an adapter of a model.
fn convert(adapter: &Path, to: &Path, model: &Path, more: &[&str]) -> Ran {
    let arguments = ["convert", text(adapter), text(to), "--model", text(model)];
    run(&[&arguments, more].concat())
}

fn inspect(path: &Path) -> Value {
    run(&["inspect", text(path), "--json"]).succeeded().json()
}

#[test]
fn an_adapter_is_the_same_in_gguf_and_back() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(&path("run"), &["--steps", "4", "--precision", "fp"]).succeeded();
    let model = path("run").join("model");
    let (lora, _) = adapter(
        &model,
        &path("lora"),
        &[
            "--peft",
            "rslora",
            "--rank",
            "4",
            "--target",
            "q_proj",
            "down_proj",
        ],
    );
    let (gguf, back, base) = (path("adapter.gguf"), path("back"), path("base.gguf"));
    let done = convert(&lora, &gguf, &model, &["--json"])
        .succeeded()
        .json();
    assert_eq!(
        (&done["kind"], &done["form"]),
        (&json!("adapter"), &json!("gguf"))
    );
    run(&["convert", text(&model), text(&base), "--type", "F32"]).succeeded();
    // The model may also be the file that the adapter is used with.
    convert(&gguf, &back, &base, &[]).succeeded();
    let with = |model: &Path, paths: &[&Path]| {
        let flags = paths.iter().flat_map(|path| ["--adapter", text(path)]);
        loss(model, &flags.collect::<Vec<_>>())
    };
    let expected = with(&model, &[&lora]);
    assert_ne!(expected, with(&model, &[]));
    // rsLoRA becomes an alpha that is rounded to f32.
    for (model, adapter) in [
        (&model, &gguf),
        (&model, &back),
        (&base, &gguf),
        (&base, &lora),
    ] {
        let found = with(model, &[adapter]);
        assert!(
            (found - expected).abs() < 1e-5,
            "{found} against {expected}"
        );
    }
    let twice = with(&model, &[&lora, &gguf]);
    assert!((twice - with(&model, &[&gguf, &lora])).abs() < 1e-5);
    assert_ne!(twice, expected);

    // A run folder stands for the adapter in it.
    assert_eq!(with(&model, &[&path("lora")]), expected);
    convert(&path("lora"), &gguf, &model, &[]).failed(1, &["--overwrite"]);
    convert(&path("lora"), &gguf, &model, &["--overwrite"]).succeeded();
    let merged = path("merged");
    let arguments = [
        "merge",
        text(&model),
        text(&merged),
        "--adapter",
        text(&gguf),
    ];
    run(&arguments).succeeded();
    assert!((with(&merged, &[]) - expected).abs() < 1e-5);
}

#[test]
fn inspect_tells_method_scale_and_targets() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("adapter.gguf");
    let (lora, llama) = (data("g_adapter_lora"), data("g_tiny_llama"));
    convert(&lora, &gguf, &llama, &["--name", "Test"]).succeeded();
    for (path, kind, names) in [
        (
            &lora,
            "adapter folder of peft",
            ["down_proj", "q_proj", "v_proj"],
        ),
        (&gguf, "GGUF adapter", ["attn_q", "attn_v", "ffn_down"]),
    ] {
        let found = inspect(path);
        assert_eq!(found["kind"], kind);
        let adapter = json!({
            "method": "lora",
            "rank": 4,
            "ranks": [4, 4],
            "alpha": 8.0,
            "scaling": 2.0,
            "targets": names,
            "modules": 6,
            "parameters": 2 * 4 * (32 + 32 + 32 + 16 + 48 + 32),
        });
        assert_eq!(found["adapter"], adapter);
        let tensors = found["tensors"].as_array().unwrap();
        assert_eq!(tensors.len(), 12);
        assert_eq!(tensors[0]["dtype"], "F32");
        let printed = run(&["inspect", text(path)]).succeeded().stdout;
        for part in [
            "LoRA of rank 4, alpha 8",
            "scale 2, ",
            "6 modules",
            names[2],
        ] {
            assert!(printed.contains(part), "no {part:?} in {printed}");
        }
    }
    assert_eq!(inspect(&lora)["config"]["peft_version"], "0.21.2");
    assert_eq!(inspect(&gguf)["metadata"]["general.name"], "Test");
    for (name, method, parameters) in [
        ("g_adapter_dora", "dora", 2 * 4 * 192 + 2 * 80),
        ("g_adapter_rslora", "rslora", 2 * 4 * 192),
        ("g_adapter_ia3", "ia3", 2 * (16 + 16 + 48)),
        ("prompt_prefix", "prefix", 3 * 64),
    ] {
        let found = inspect(&data(name));
        assert_eq!(found["adapter"]["method"], method);
        assert_eq!(found["adapter"]["parameters"], parameters, "{name}");
    }
}

#[test]
fn what_llama_cpp_does_not_have_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let gguf = folder.path().join("adapter.gguf");
    let llama = data("g_tiny_llama");
    for (name, parts) in [
        ("g_adapter_dora", ["is DoRA", "bitnet-burn merge"]),
        ("g_adapter_ia3", ["is (IA)³", "bitnet-burn merge"]),
        ("prompt_prefix", ["is a prompt", "keep the folder of peft"]),
    ] {
        convert(&data(name), &gguf, &llama, &[]).failed(1, &parts);
    }
    assert!(!gguf.exists());
}

#[test]
fn models_and_adapters_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (lora, llama, gguf) = (data("g_adapter_lora"), data("g_tiny_llama"), path("a.gguf"));
    let alone = run(&["convert", text(&lora), text(&gguf)]);
    alone.failed(2, &["is an adapter: name the model", "--model"]);
    convert(&lora, &path("copy"), &llama, &[]).failed(2, &["in a folder of peft already"]);
    convert(&lora, &gguf, &llama, &["--type", "F16"]).failed(2, &["--type is for models"]);
    convert(&lora, &gguf, &llama, &["--to", "packed"]).failed(2, &["--to is gguf or peft"]);
    convert(&lora, &gguf, &lora, &[]).failed(1, &["expected a model, found an adapter"]);
    convert(&llama, &path("m"), &llama, &[]).failed(2, &["--model is for adapters"]);
    convert(&lora, &gguf, &llama, &[]).succeeded();
    convert(&gguf, &path("b.gguf"), &llama, &[]).failed(2, &["in GGUF already"]);
    let eval = |more: &[&str]| run(&[&["eval"], more].concat());
    eval(&[text(&gguf)]).failed(1, &["expected a model, found an adapter"]);
    let (_folder, model) = trained();
    eval(&[text(&model), "--adapter", text(&llama)]).failed(1, &["expected an adapter"]);
    // An adapter of a model of another size.
    let wrong = eval(&[text(&model), "--adapter", text(&gguf)]);
    wrong.failed(1, &["a.gguf: general.architecture is llama"]);
    fs::write(path("no.gguf"), "GGUF").unwrap();
    let wrong = eval(&[text(&model), "--adapter", text(&path("no.gguf"))]);
    wrong.failed(1, &["no.gguf: expected an adapter"]);
}

#[test]
fn an_adapter_of_bitnet_is_for_a_base_with_scales_in_its_weights() {
    let (folder, model) = trained();
    let path = |name: &str| folder.path().join(name);
    let (lora, _) = adapter(&model, &path("lora"), &["--peft", "lora", "--rank", "2"]);
    let (beside, inside, gguf) = (path("beside.gguf"), path("inside.gguf"), path("a.gguf"));
    for (to, more) in [(&beside, &[][..]), (&inside, &["--scales-in-weights"])] {
        run(&[&["convert", text(&model), text(to)], more].concat()).succeeded();
    }
    for base in [&model, &beside] {
        convert(&lora, &gguf, base, &[]).failed(1, &["--scales-in-weights"]);
    }
    convert(&lora, &gguf, &model, &["--scales-in-weights"]).succeeded();
    let bytes = fs::read(&gguf).unwrap();
    convert(&lora, &gguf, &inside, &["--overwrite"]).succeeded();
    assert_eq!(fs::read(&gguf).unwrap(), bytes);
    let of_peft = loss(&model, &["--adapter", text(&lora)]);
    assert_eq!(loss(&model, &["--adapter", text(&gguf)]), of_peft);
}
