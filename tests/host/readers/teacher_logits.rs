use bitnet_burn::train::teacher_logits::{TeacherLogitsFormat, TeacherLogitsReader};
use burn::tensor::Device;

use super::folder::one_file;

/// Formats of the files that are read: all logits, and the top k.
pub fn format(top_k: bool) -> TeacherLogitsFormat {
    let format = TeacherLogitsFormat::new(5, 2, "a teacher");
    match top_k {
        true => format.with_top_k(3, 2.0),
        false => format,
    }
}

/// Reads a file of teacher logits.
pub fn teacher_logits(data: &[u8]) {
    let folder = one_file("logits.bin", data);
    for top_k in [false, true] {
        let path = folder.path().join("logits.bin");
        let Ok(reader) = TeacherLogitsReader::open(path, &format(top_k)) else {
            continue;
        };
        for example in 0..reader.len().min(4) + 1 {
            let _ = reader.read(&[example], &Device::default());
        }
    }
}
