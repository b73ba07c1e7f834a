use std::fs;

use bitnet_burn::train::checkpoint::CheckpointFolder;

use super::folder::{folder, has};

const MANIFEST: &str = "manifest.json";
const MANIFEST_SUM: &str = "manifest.crc32";
const NAMES: [&str; 5] = [
    MANIFEST,
    MANIFEST_SUM,
    "model.bpk",
    "optimizer.bpk",
    "scheduler.bpk",
];

/// Reads the folder of a checkpoint. A manifest without a checksum gets the right one, so that the content
/// behind it is read, too.
pub fn checkpoint(data: &[u8]) {
    let whole = tempfile::tempdir().expect("a temporary folder");
    let files = folder(data, &NAMES);
    if !has(&files, MANIFEST_SUM) {
        let manifest = fs::read(files.path().join(MANIFEST)).unwrap_or_default();
        let sum = format!("{:08x}\n", crc32fast::hash(&manifest));
        fs::write(files.path().join(MANIFEST_SUM), sum).expect("a file");
    }
    fs::rename(files.path(), whole.path().join("step-00000002")).expect("its new name");
    let checkpoints = CheckpointFolder::new(whole.path());
    let verified = checkpoints.verify(2);
    let newest = checkpoints.newest().expect("a folder");
    assert_eq!(verified.ok(), newest.manifest);
}
