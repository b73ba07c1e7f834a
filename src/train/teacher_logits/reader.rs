use std::{
    fs::File,
    io::{Read, Seek, SeekFrom},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use burn::tensor::{Device, Int, Tensor, TensorData};
use half::f16;

use super::{
    LogitsType, StoredLogits, TeacherLogitsError, TeacherLogitsFormat,
    format::CHECKSUM_SIZE,
    header::{Header, check_sum},
    writer::checksum,
};
use crate::{
    base::file_error::FileError,
    loss::{TeacherLogits, TopKLogits},
};

/// Reads a file of teacher logits by the numbers of examples. Only the requested examples are in
/// memory. Data loaders on several threads can share a reader.
///
/// Use it in a data loader: an error there ends the training with a
/// [`DatasetError`](burn::data::dataset::DatasetError) that wraps it.
#[derive(Debug)]
pub struct TeacherLogitsReader {
    path: PathBuf,
    file: Mutex<File>,
    format: TeacherLogitsFormat,
    num_examples: usize,
}

/// Values of one example, or of several consecutive ones.
#[derive(Default)]
struct Values {
    logits: Vec<f32>,
    rest: Vec<f32>,
    tokens: Vec<i32>,
}

impl TeacherLogitsReader {
    /// Opens a file, which must be complete and have the expected format and fingerprint.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not a file of teacher logits, has another version, another
    /// content or a damaged header, or is too short or too long.
    pub fn open(
        path: impl AsRef<Path>,
        expected: &TeacherLogitsFormat,
    ) -> Result<Self, TeacherLogitsError> {
        let path = path.as_ref();
        let io = FileError::at(path);
        let mut file = File::open(path).map_err(&io)?;
        let length = file.metadata().map_err(&io)?.len();
        let header = Header::read(&mut file, length, path)?;
        check_content(&header.format, expected, path)?;

        let examples = header
            .num_examples
            .checked_mul(expected.num_bytes_of_example());
        let bytes = examples.and_then(|bytes| bytes.checked_add(Header::num_bytes(expected)));
        // An overflowing size exceeds that of any file.
        let bytes = bytes.unwrap_or(u64::MAX);
        if length != bytes {
            let expected = format!("{bytes} bytes");
            return Err(TeacherLogitsError::of_file(path, expected, length));
        }
        Ok(Self {
            path: path.to_path_buf(),
            file: Mutex::new(file),
            format: header.format,
            num_examples: header.num_examples as usize,
        })
    }

    /// Returns the number of examples.
    pub fn len(&self) -> usize {
        self.num_examples
    }

    /// Returns `true` if there are no examples.
    pub fn is_empty(&self) -> bool {
        self.num_examples == 0
    }

    /// Returns the logits of the examples with these numbers, in this order, as a batch on the
    /// device.
    ///
    /// # Shapes
    ///
    /// - logits: `[examples, positions, vocab]`, or `[examples, positions, k]` of the top k
    ///
    /// # Errors
    ///
    /// If the file has no such example or cannot be read, or if the example is damaged.
    pub fn read(
        &self,
        examples: &[usize],
        device: &Device,
    ) -> Result<TeacherLogits, TeacherLogitsError> {
        let mut values = Values::default();
        let mut bytes = Vec::new();
        for &example in examples {
            self.read_bytes(example, &mut bytes)?;
            self.parse(example, &bytes, &mut values)?;
        }
        let (n, positions) = (examples.len(), self.format.positions);
        let shape = [n, positions, self.format.num_stored()];
        let logits = Tensor::from_data(TensorData::new(values.logits, shape), device);
        Ok(match self.format.stored {
            StoredLogits::Full => TeacherLogits::Full(logits),
            StoredLogits::TopK { temperature, .. } => {
                let rest = TensorData::new(values.rest, [n, positions, 1]);
                let tokens = TensorData::new(values.tokens, shape);
                TeacherLogits::TopK(TopKLogits {
                    indices: Tensor::<3, Int>::from_data(tokens, device),
                    logits,
                    log_rest: Some(Tensor::from_data(rest, device)),
                    temperature,
                })
            }
        })
    }

    /// Reads the bytes of an example, verifies its checksum, and removes it.
    fn read_bytes(&self, example: usize, bytes: &mut Vec<u8>) -> Result<(), TeacherLogitsError> {
        if example >= self.num_examples {
            let expected = format!("example {example}");
            let found = format!("{} examples", self.num_examples);
            return Err(TeacherLogitsError::of_file(&self.path, expected, found));
        }
        let io = FileError::at(&self.path);
        let size = self.format.num_bytes_of_example();
        let start = Header::num_bytes(&self.format) + example as u64 * size;
        bytes.resize(size as usize, 0);
        {
            // A thread that panicked with the file locked left no partial state.
            let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
            file.seek(SeekFrom::Start(start)).map_err(&io)?;
            file.read_exact(bytes).map_err(&io)?;
        }
        let found = bytes.split_off(bytes.len() - CHECKSUM_SIZE);
        let expected = checksum(example as u64, bytes);
        check_sum(&part(example), expected, &found, &self.path)
    }

    /// Appends the values of an example.
    fn parse(
        &self,
        example: usize,
        bytes: &[u8],
        values: &mut Values,
    ) -> Result<(), TeacherLogitsError> {
        let format = &self.format;
        let stored = format.positions * format.num_stored();
        let (logits, bytes) = bytes.split_at(stored * format.logits_type.size());
        let logits: Vec<f32> = match format.logits_type {
            LogitsType::F32 => words(logits).map(f32::from_le_bytes).collect(),
            LogitsType::F16 => words(logits)
                .map(|word| f16::from_le_bytes(word).to_f32())
                .collect(),
        };
        let wrong = |value: &&f32| value.is_nan() || **value == f32::INFINITY;
        if let Some(value) = logits.iter().find(wrong) {
            return Err(self.wrong(example, "a logit below infinity", value.to_string()));
        }
        values.logits.extend(logits);
        if format.stored == StoredLogits::Full {
            return Ok(());
        }

        let (rest, tokens) = bytes.split_at(format.positions * size_of::<f32>());
        let rest: Vec<f32> = words(rest).map(f32::from_le_bytes).collect();
        if let Some(value) = rest.iter().find(|value| !value.is_finite()) {
            return Err(self.wrong(example, "a finite mass of the rest", value.to_string()));
        }
        values.rest.extend(rest);
        let tokens: Vec<u32> = match format.token_size() {
            2 => words(tokens)
                .map(|word| u16::from_le_bytes(word).into())
                .collect(),
            _ => words(tokens).map(u32::from_le_bytes).collect(),
        };
        // Devices may not check the indices of a gather.
        if let Some(token) = tokens.iter().find(|&&token| token as usize >= format.vocab) {
            let expected = format!("a token below {}", format.vocab);
            return Err(self.wrong(example, &expected, token.to_string()));
        }
        values
            .tokens
            .extend(tokens.into_iter().map(|token| token as i32));
        Ok(())
    }

    fn wrong(&self, example: usize, expected: &str, found: String) -> TeacherLogitsError {
        TeacherLogitsError::of_part(&self.path, &part(example), expected, found)
    }
}

fn part(example: usize) -> String {
    format!("example {example}")
}

/// Splits bytes into words of `N` bytes.
fn words<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}

/// Fails unless the file has the expected content.
fn check_content(
    found: &TeacherLogitsFormat,
    expected: &TeacherLogitsFormat,
    path: &Path,
) -> Result<(), TeacherLogitsError> {
    let text = |value: &dyn core::fmt::Debug| format!("{value:?}");
    let fields = |format: &TeacherLogitsFormat| {
        [
            ("fingerprint", text(&format.fingerprint)),
            ("vocabulary", text(&format.vocab)),
            ("positions", text(&format.positions)),
            ("type of logits", text(&format.logits_type)),
            ("stored logits", text(&format.stored)),
        ]
    };
    let fields = fields(expected).into_iter().zip(fields(found));
    for ((field, expected), (_, found)) in fields {
        if expected != found {
            let expected = format!("{field} {expected}");
            let found = format!("{found}: the file is of another teacher, data set or format");
            return Err(TeacherLogitsError::of_file(path, expected, found));
        }
    }
    Ok(())
}
