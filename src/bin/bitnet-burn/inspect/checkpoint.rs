//! Run folders and their checkpoints.

use std::{fmt::Write, path::Path};

use bitnet_burn::train::checkpoint::{CheckpointFolder, CheckpointManifest};
use serde_json::{Value, json};

use super::Found;
use crate::{adapter_file::PEFT_CONFIG, error::Failure, output};

/// Inspects the folder of one checkpoint.
pub fn one(path: &Path) -> Result<Found, Failure> {
    let whole = path.canonicalize().map_err(Failure::io(path))?;
    let name = whole.file_name().unwrap_or_default().to_string_lossy();
    let step = name
        .strip_prefix("step-")
        .and_then(|step| step.parse().ok());
    let (Some(step), Some(parent)) = (step, whole.parent()) else {
        return Err(Failure::failed(format!(
            "{}: expected a checkpoint folder named step-N",
            path.display()
        )));
    };
    let manifest = CheckpointFolder::new(parent).verify(step)?;
    Ok(Found {
        kind: "checkpoint",
        json: json!({"manifest": manifest}),
        text: text(&manifest),
    })
}

/// Inspects all checkpoints of a folder, complete or not.
pub fn folder(path: &Path) -> Result<Found, Failure> {
    let folder = CheckpointFolder::new(path);
    let steps = folder.steps()?;
    if steps.is_empty() {
        return Err(Failure::failed(format!(
            "{}: expected a model, a tokenizer, a run or checkpoints, found none of them",
            path.display()
        )));
    }
    let (mut checkpoints, mut lines) = (Vec::new(), String::new());
    for step in steps {
        match folder.verify(step) {
            Ok(manifest) => {
                checkpoints.push(json!({"step": step, "whole": true, "manifest": manifest}));
                lines += &text(&manifest);
            }
            Err(error) => {
                let error = error.to_string();
                let _ = writeln!(lines, "step {step} cannot be used: {error}");
                checkpoints.push(json!({"step": step, "whole": false, "error": error}));
            }
        }
    }
    Ok(Found {
        kind: "checkpoints",
        json: json!({"checkpoints": checkpoints}),
        text: lines,
    })
}

/// Inspects a folder that `train` or `finetune` wrote.
pub fn run(path: &Path) -> Result<Found, Failure> {
    let mut found = folder(&path.join("checkpoints"))?;
    found.kind = "run";
    let results = [("model", "config.json"), ("adapter", PEFT_CONFIG)];
    let written = |(folder, file): &(_, _)| path.join(folder).join(file).is_file();
    let result = results.into_iter().find(written);
    found.text += &match result {
        Some((folder, _)) => format!("complete: `inspect` the folder `{folder}` for the weights\n"),
        None => "not complete: continue with --resume\n".to_string(),
    };
    if let Value::Object(json) = &mut found.json {
        json.insert("complete".to_string(), result.is_some().into());
    }
    Ok(found)
}

fn text(manifest: &CheckpointManifest) -> String {
    let position = manifest.position;
    let bytes: u64 = manifest.files.iter().map(|file| file.bytes).sum();
    let mut text = format!(
        "step {}, epoch {}, {} parameter tensors, {}, verified",
        position.step,
        position.epoch,
        manifest.tensors.len(),
        output::bytes(bytes)
    );
    if let Some(found) = &manifest.metric {
        let _ = write!(text, ", {} {:.5}", found.metric.name, found.value);
    }
    if let Some(over) = &manifest.over {
        let _ = write!(text, ", training ended: {}", over.reason);
    }
    text + "\n"
}
