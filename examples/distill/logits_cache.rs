//! Cache of the teacher's logits for all windows, on disk.

use std::{
    fs,
    hash::{DefaultHasher, Hash, Hasher},
    path::Path,
};

use bitnet_burn::{
    nn::BitNetLm,
    text::dataset::TokenBatch,
    train::teacher_logits::{
        TeacherLogitsError, TeacherLogitsFormat, TeacherLogitsReader, TeacherLogitsWriter,
    },
};
use bitnet_burn_examples::CONTEXT;
use burn::nn::Linear;

use crate::{lessons::Lessons, options::Options};

/// Returns the expected format of the file; the fingerprint identifies teacher and windows.
pub fn format(
    options: &Options,
    vocab_size: usize,
    teacher_file: &Path,
) -> Result<TeacherLogitsFormat, String> {
    let read = |path: &Path| {
        let bytes = fs::read(path);
        bytes.map_err(|error| format!("cannot read {}: {error}", path.display()))
    };
    let mut hasher = DefaultHasher::new();
    read(teacher_file)?.hash(&mut hasher);
    let text = options.text.as_deref().map(read).transpose()?;
    text.hash(&mut hasher);
    let fingerprint = format!("{:016x}, windows of seed {}", hasher.finish(), options.seed);
    let format = TeacherLogitsFormat::new(vocab_size, CONTEXT, fingerprint);
    Ok(match options.top_k {
        0 => format,
        k if k >= vocab_size => format,
        k => format.with_top_k(k, options.temperature),
    })
}

/// Opens the logits of an earlier run if they match teacher and windows; writes new ones otherwise.
pub fn open_or_write(
    path: &Path,
    format: &TeacherLogitsFormat,
    teacher: &BitNetLm<Linear>,
    lessons: &Lessons,
) -> Result<TeacherLogitsReader, TeacherLogitsError> {
    let windows = |batch: &TokenBatch| batch.inputs.dims()[0];
    let needed: usize = lessons.batches.iter().map(windows).sum();
    match TeacherLogitsReader::open(path, format) {
        Ok(reader) if reader.len() >= needed => {
            println!(
                "using the teacher's logits of an earlier run in {}",
                path.display()
            );
            return Ok(reader);
        }
        Ok(_) => println!("writing the teacher's logits again: there are too few"),
        Err(_) if !path.exists() => {}
        Err(error) => println!("writing the teacher's logits again: {error}"),
    }
    let mut writer = TeacherLogitsWriter::create(path, format.clone())?;
    for batch in lessons.batches.iter() {
        writer.push(teacher.forward(batch.inputs.clone().without_autodiff()))?;
    }
    writer.finish()?;
    TeacherLogitsReader::open(path, format)
}
