use std::{
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use safetensors::SafeTensors;

/// Runs a script of this folder and returns its output.
pub fn run(script: &str, arguments: &[impl AsRef<OsStr>]) -> String {
    let python = std::env::var_os("BITNET_BURN_PYTHON")
        .expect("BITNET_BURN_PYTHON is a Python with tests/interop/requirements.txt");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop");
    let output = Command::new(python)
        .arg(folder.join(script))
        .args(arguments)
        .output()
        .expect("Python runs");
    assert!(
        output.status.success(),
        "{script}: {}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).expect("Python prints UTF-8")
}

/// Returns a tensor of floats in a safetensors file.
pub fn floats(file: impl Into<PathBuf>, name: &str) -> Vec<f32> {
    let file = file.into();
    let bytes = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = tensors.tensor(name).unwrap();
    assert_eq!(tensor.dtype(), safetensors::Dtype::F32);
    let values = tensor.data().chunks_exact(4);
    values
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()))
        .collect()
}
