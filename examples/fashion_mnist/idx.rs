//! Gzipped files in the IDX format: a word that names the kind, the dimensions, then the bytes.

use std::{
    fmt,
    io::{self, Read},
    path::{Path, PathBuf},
};

use flate2::read::GzDecoder;

/// Error when a file of the data set cannot be used.
#[derive(Debug)]
pub struct DataError {
    pub file: PathBuf,
    pub kind: DataErrorKind,
}

#[derive(Debug)]
pub enum DataErrorKind {
    /// It does not exist or cannot be opened.
    Open(io::Error),
    /// It is not gzip, ends too early or is damaged.
    Gzip(io::Error),
    /// It does not start as this kind of IDX file does.
    Magic { expected: u32, found: u32 },
    /// It holds less or more data than its header announces.
    Length { expected: u64, found: u64 },
    /// It holds no images.
    Empty,
    /// It holds images of another size.
    ImageSize {
        expected: [usize; 2],
        found: [u32; 2],
    },
    /// It has another number of labels than there are images.
    Count { images: usize, labels: usize },
    /// It has a label that is none of the classes.
    Label {
        index: usize,
        expected_below: usize,
        found: u8,
    },
}

impl DataErrorKind {
    pub fn of(self, file: &Path) -> DataError {
        DataError {
            file: file.to_path_buf(),
            kind: self,
        }
    }
}

/// The dimensions and the bytes of a file of `D` dimensions that starts with `magic`.
pub fn read<const D: usize>(
    reader: impl Read,
    magic: u32,
) -> Result<([u32; D], Vec<u8>), DataErrorKind> {
    let mut decoder = GzDecoder::new(reader);
    let found = read_word(&mut decoder)?;
    if found != magic {
        return Err(DataErrorKind::Magic {
            expected: magic,
            found,
        });
    }
    let mut dims = [0; D];
    for dim in &mut dims {
        *dim = read_word(&mut decoder)?;
    }
    let product = |n: u64, &dim: &u32| n.saturating_mul(dim.into());
    let expected = dims.iter().fold(1, product);
    // One byte more than announced is enough to see that a file is too long. The vector grows
    // with what is there: a header alone must not make the program reserve memory.
    let mut values = Vec::new();
    decoder
        .take(expected.saturating_add(1))
        .read_to_end(&mut values)
        .map_err(DataErrorKind::Gzip)?;
    let found = values.len() as u64;
    match found == expected {
        true => Ok((dims, values)),
        false => Err(DataErrorKind::Length { expected, found }),
    }
}

fn read_word(reader: &mut impl Read) -> Result<u32, DataErrorKind> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).map_err(DataErrorKind::Gzip)?;
    Ok(u32::from_be_bytes(bytes))
}

impl fmt::Display for DataError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.display();
        match &self.kind {
            DataErrorKind::Open(source) => write!(f, "cannot open {file}: {source}"),
            DataErrorKind::Gzip(source) => {
                write!(f, "{file} is not a complete gzip file: {source}")
            }
            DataErrorKind::Magic { expected, found } => write!(
                f,
                "{file} is another kind of file: its first word is {found:#010x}, expected \
                 {expected:#010x}"
            ),
            DataErrorKind::Length { expected, found } => {
                let at_least = if found > expected { "at least " } else { "" };
                write!(
                    f,
                    "{file} holds {at_least}{found} bytes of data, expected the {expected} that \
                     its header announces"
                )
            }
            DataErrorKind::Empty => write!(f, "{file} holds no images"),
            DataErrorKind::ImageSize { expected, found } => write!(
                f,
                "{file} holds images of {found:?} pixels, expected {expected:?}"
            ),
            DataErrorKind::Count { images, labels } => write!(
                f,
                "{file} holds {labels} labels, expected one for each of the {images} images"
            ),
            DataErrorKind::Label {
                index,
                expected_below,
                found,
            } => write!(
                f,
                "{file} has label {found} at index {index}, expected one below {expected_below}"
            ),
        }
    }
}

impl std::error::Error for DataError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.kind {
            DataErrorKind::Open(source) | DataErrorKind::Gzip(source) => Some(source),
            _ => None,
        }
    }
}
