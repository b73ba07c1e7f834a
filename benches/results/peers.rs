//! Training steps of PyTorch, if `BITNET_BURN_PYTHON` is the path of a Python that has it.

use std::{env, process::Command};

use crate::training::Model;

/// Variant of a training in PyTorch: its name in the script, and its title.
pub type Peer = (&'static str, &'static str);

/// Returns the titles and commands of variants of a model.
pub fn commands(model: Model, peers: &[Peer]) -> Vec<(&'static str, Command)> {
    let Ok(python) = env::var("BITNET_BURN_PYTHON") else {
        return Vec::new();
    };
    let command = |name| {
        let mut command = Command::new(&python);
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/peers/training.py");
        command.args([script, model.name(), name]);
        command
    };
    let peers = peers.iter();
    peers.map(|&(name, title)| (title, command(name))).collect()
}
