use std::{
    io::{BufWriter, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use burn::tensor::{DType, Int, Tensor};
use half::f16;

use super::{LogitsType, StoredLogits, TeacherLogitsError, TeacherLogitsFormat, header::Header};
use crate::{
    base::{atomic_file::NewFile, file_error::FileError},
    loss::TopKLogits,
};

/// Writes a file of teacher logits, example by example.
///
/// The file is temporary until it is [finished](Self::finish), and is removed if the writer is
/// dropped before. The final name never refers to an incomplete file, and an existing file is
/// replaced only when the new one is complete.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), bitnet_burn::train::teacher_logits::TeacherLogitsError> {
/// use bitnet_burn::train::teacher_logits::{
///     TeacherLogitsFormat, TeacherLogitsReader, TeacherLogitsWriter,
/// };
/// use burn::tensor::{Device, Distribution, Tensor};
///
/// let device = Device::default();
/// let path = std::env::temp_dir().join(format!("teacher_logits_{}", std::process::id()));
/// let format = TeacherLogitsFormat::new(100, 4, "teacher 1, text 1").with_top_k(8, 2.0);
///
/// let mut writer = TeacherLogitsWriter::create(&path, format.clone())?;
/// // Examples 0 to 5, in two batches.
/// writer.push(Tensor::random([3, 4, 100], Distribution::Default, &device))?;
/// writer.push(Tensor::random([3, 4, 100], Distribution::Default, &device))?;
/// writer.finish()?;
///
/// let reader = TeacherLogitsReader::open(&path, &format)?;
/// assert_eq!(reader.len(), 6);
/// let logits = reader.read(&[5, 0], &device)?;
/// # std::fs::remove_file(&path).unwrap();
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct TeacherLogitsWriter {
    path: PathBuf,
    file: BufWriter<NewFile>,
    format: TeacherLogitsFormat,
    num_examples: u64,
}

impl TeacherLogitsWriter {
    /// Creates a file that is renamed to `path` when finished.
    ///
    /// # Errors
    ///
    /// If no file can be created in the folder of `path`.
    pub fn create(
        path: impl AsRef<Path>,
        format: TeacherLogitsFormat,
    ) -> Result<Self, TeacherLogitsError> {
        let path = path.as_ref().to_path_buf();
        let file = NewFile::create(&path).map_err(FileError::at(&path))?;
        let mut writer = Self {
            path,
            file: BufWriter::new(file),
            format,
            num_examples: 0,
        };
        let header = writer.header();
        writer.write(&header)?;
        Ok(writer)
    }

    /// Appends examples.
    ///
    /// # Shapes
    ///
    /// - logits: `[examples, positions, vocab]`
    ///
    /// # Panics
    ///
    /// If positions and vocabulary differ from those of the format.
    ///
    /// # Errors
    ///
    /// If a logit to be stored is NaN, infinite or too large for the type of the file (minus
    /// infinity can be stored), the logits cannot be read back from the device, or the disk write
    /// fails. The examples before the one with an invalid logit are in the file.
    #[track_caller]
    pub fn push(&mut self, logits: Tensor<3>) -> Result<(), TeacherLogitsError> {
        let [_, positions, vocab] = logits.dims();
        assert_eq!(
            [positions, vocab],
            [self.format.positions, self.format.vocab],
            "positions and vocabulary of the logits must be those of the file"
        );
        let logits = logits.without_autodiff();
        let (logits, rest, tokens) = match self.format.stored {
            StoredLogits::Full => (floats(logits)?, Vec::new(), Vec::new()),
            StoredLogits::TopK { k, temperature } => {
                let top = TopKLogits::from_logits(logits, k, temperature);
                let rest = top.log_rest.expect("k is below the vocabulary");
                (floats(top.logits)?, floats(rest)?, integers(top.indices)?)
            }
        };
        let stored = positions * self.format.num_stored();
        // Without the top k, there are no masses and no tokens.
        let (mut rest, mut tokens) = (rest.chunks(positions), tokens.chunks(stored));
        for logits in logits.chunks(stored) {
            let rest = rest.next().unwrap_or_default();
            let bytes = self.example(logits, rest, tokens.next().unwrap_or_default())?;
            self.write(&bytes)?;
            self.num_examples += 1;
        }
        Ok(())
    }

    /// Completes the file and renames it to its final name, replacing an existing file.
    ///
    /// # Errors
    ///
    /// If the disk write fails, or the name is that of a pipe, to which nothing can be written
    /// afterwards.
    pub fn finish(self) -> Result<(), TeacherLogitsError> {
        let header = self.header();
        let io = FileError::at(&self.path);
        let file = self.file.into_inner();
        let mut file = file.map_err(|error| io(error.into_error()))?;
        file.file().seek(SeekFrom::Start(0)).map_err(&io)?;
        file.write_all(&header).map_err(&io)?;
        Ok(file.finish().map_err(&io)?)
    }

    fn header(&self) -> Vec<u8> {
        let header = Header {
            format: self.format.clone(),
            num_examples: self.num_examples,
        };
        header.to_bytes()
    }

    fn write(&mut self, bytes: &[u8]) -> Result<(), TeacherLogitsError> {
        let written = self.file.write_all(bytes);
        Ok(written.map_err(FileError::at(&self.path))?)
    }

    /// Returns the bytes of the next example.
    fn example(
        &self,
        logits: &[f32],
        rest: &[f32],
        tokens: &[u32],
    ) -> Result<Vec<u8>, TeacherLogitsError> {
        let mut bytes = Vec::with_capacity(self.format.num_bytes_of_example() as usize);
        for (i, &value) in logits.iter().enumerate() {
            let half = f16::from_f32(value);
            let storable = match self.format.logits_type {
                LogitsType::F32 => value < f32::INFINITY,
                // A value that overflows to infinity is lost; minus infinity is exact.
                LogitsType::F16 => half < f16::INFINITY && half.is_finite() == value.is_finite(),
            };
            if !storable {
                return Err(TeacherLogitsError::Unstorable {
                    example: self.num_examples,
                    position: i / self.format.num_stored(),
                    value,
                });
            }
            match self.format.logits_type {
                LogitsType::F32 => bytes.extend(value.to_le_bytes()),
                LogitsType::F16 => bytes.extend(half.to_le_bytes()),
            }
        }
        bytes.extend(rest.iter().flat_map(|value| value.to_le_bytes()));
        for &token in tokens {
            bytes.extend(&token.to_le_bytes()[..self.format.token_size()]);
        }
        let checksum = checksum(self.num_examples, &bytes);
        bytes.extend(checksum.to_le_bytes());
        Ok(bytes)
    }
}

/// Computes the checksum of an example with its number, so that exchanged examples are detected.
pub(super) fn checksum(example: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&example.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

fn floats(tensor: Tensor<3>) -> Result<Vec<f32>, TeacherLogitsError> {
    let data = tensor.try_into_data_dtype(DType::F32)?;
    Ok(data.iter::<f32>().collect())
}

fn integers(tensor: Tensor<3, Int>) -> Result<Vec<u32>, TeacherLogitsError> {
    let data = tensor.try_into_data_dtype(DType::I64)?;
    Ok(data.iter::<i64>().map(|token| token as u32).collect())
}
