//! Biases, which are saved as parts of a model.

use std::fs;

use super::{SIZES, finetune, loss};
use crate::program::{Ran, event, run, text, train, trained};

#[test]
fn trained_biases_are_those_of_the_saved_model() {
    let (folder, model) = trained();
    let out = folder.path().join("out");
    let tuned = |more: &[&str]| {
        let flags = [&SIZES[..], &["--peft", "bitfit", "--json"], more].concat();
        Ran::from(finetune(&model, &out, &flags).output().unwrap())
    };
    tuned(&["--target", "gate_proj"])
        .failed(2, &["BitFit on", "BitNetForCausalLM has not the biases"]);
    assert!(!out.exists());
    let ran = tuned(&[]).succeeded();
    assert!(
        ran.stderr.contains("BitFit on [\"q_proj\""),
        "{}",
        ran.stderr
    );
    let saved = out.join("model");
    assert_eq!(event(&ran.json_lines(), "done")["model"], text(&saved));
    assert!(!out.join("adapter").exists());
    let config = fs::read_to_string(saved.join("config.json")).unwrap();
    assert!(config.contains("\"attention_bias\": true"), "{config}");
    let eval = run(&["eval", text(&saved), "--windows", "4", "--json"]);
    // Latent weights, which train on.
    assert_eq!(eval.succeeded().json()["form"], "latent weights");
    assert_ne!(loss(&saved, &[]), loss(&model, &[]));
    // Only biases are others.
    let weights = |model: &std::path::Path| {
        let json = run(&["inspect", text(model), "--json"]).succeeded().json();
        let mut tensors = json["tensors"].as_array().unwrap().clone();
        tensors.retain(|tensor| !tensor["name"].as_str().unwrap().ends_with(".bias"));
        tensors
    };
    assert_eq!(weights(&saved), weights(&model));
}

#[test]
fn biases_of_all_projections_are_kept_where_the_architecture_has_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    train(
        &path("run"),
        &["--steps", "4", "--precision", "fp", "--no-sub-norm"],
    )
    .succeeded();
    let model = path("run").join("model");
    for (base, form) in [("float", "full precision"), ("nf4", "4 bits")] {
        let out = path(base);
        let flags = [
            "--peft", "bitfit", "--target", "q_proj", "up_proj", "--base", base, "--json",
        ];
        let mut ran = finetune(&model, &out, &[&SIZES[..], &flags].concat());
        let ran = Ran::from(ran.output().unwrap()).succeeded();
        let trained = event(&ran.json_lines(), "done")["validation_loss"]
            .as_f64()
            .unwrap();
        assert!(trained > 0.0);
        let saved = out.join("model");
        let eval = run(&["eval", text(&saved), "--windows", "4", "--json"]);
        assert_eq!(eval.succeeded().json()["form"], form);
        let json = run(&["inspect", text(&saved), "--json"]).succeeded().json();
        assert_eq!(
            (
                &json["config"]["mlp_bias"],
                &json["config"]["attention_bias"]
            ),
            (&true.into(), &true.into())
        );
        let tensors = json["tensors"].as_array().unwrap();
        let largest = |name: &str| {
            let name = format!("model.layers.0.{name}.bias");
            let bias = tensors
                .iter()
                .find(|tensor| tensor["name"] == name.as_str());
            bias.unwrap()["absmean"].as_f64().unwrap()
        };
        assert!(largest("self_attn.q_proj") > 0.0 && largest("mlp.up_proj") > 0.0);
        assert_eq!(
            (largest("self_attn.o_proj"), largest("mlp.down_proj")),
            (0.0, 0.0)
        );
    }
}
