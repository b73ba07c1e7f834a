use core::fmt;
use std::{fs::File, path::Path};

use memmap2::Mmap;

use super::{
    GgmlType, GgufError, GgufMetadata, GgufShape, LoadOptions, block,
    head::Head,
    tensor_info::{TensorInfo, check_tensors},
};

/// A GGUF file, of which only those pages are in memory that are looked at.
///
/// Everything that the file says is checked when it is opened: after that, every tensor has its
/// bytes. Nothing is trusted before it is checked, so that a damaged or hostile file is an error and
/// never a panic. What is made of a file takes at most 12 times its bytes (measured, of a file of
/// nothing but the shortest keys; 3.3 times of one of tensors without bytes), and of a model's file
/// almost nothing, as the bytes of the tensors are not copied.
pub struct GgufReader {
    bytes: Bytes,
    version: u32,
    metadata: GgufMetadata,
    tensors: Vec<TensorInfo>,
    /// Where the bytes of the tensors begin.
    data_start: usize,
}

/// A file in memory, or mapped into it.
type Bytes = Box<dyn AsRef<[u8]> + Send + Sync>;

/// A tensor of a file.
#[derive(Clone, Copy)]
pub struct GgufTensor<'a> {
    info: &'a TensorInfo,
    bytes: &'a [u8],
}

impl GgufReader {
    /// Opens a file.
    ///
    /// The file must stay as it is while the reader is there; a program that cuts it off ends this
    /// one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not right.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, GgufError> {
        Self::open_with(path, &LoadOptions::default())
    }

    /// Opens a file; see [`open`](Self::open).
    ///
    /// # Errors
    ///
    /// If the file cannot be read or is not right.
    pub fn open_with(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self, GgufError> {
        let path = path.as_ref();
        let io = GgufError::io(path);
        let file = File::open(path).map_err(&io)?;
        // SAFETY: the bytes are only read; the docs ask that nobody changes the file meanwhile,
        // which no program can check.
        let bytes = unsafe { Mmap::map(&file) }.map_err(&io)?;
        Self::new(Box::new(bytes), options).map_err(|error| error.in_file(path))
    }

    /// Reads a file that is in memory.
    ///
    /// # Errors
    ///
    /// If the file is not right.
    pub fn from_bytes(bytes: impl Into<Vec<u8>>, options: &LoadOptions) -> Result<Self, GgufError> {
        Self::new(Box::new(bytes.into()), options)
    }

    fn new(bytes: Bytes, options: &LoadOptions) -> Result<Self, GgufError> {
        let slice = (*bytes).as_ref();
        let head = Head::parse(slice, options)?;
        // Beyond the end of a file without tensors, which is not padded.
        let data_start = head.end.next_multiple_of(head.alignment);
        let available = (slice.len() as u64).saturating_sub(data_start);
        check_tensors(&head.tensors, head.alignment, available)?;
        Ok(Self {
            version: head.version,
            metadata: head.metadata,
            tensors: head.tensors,
            data_start: data_start.min(slice.len() as u64) as usize,
            bytes,
        })
    }

    /// Version of the format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// Keys and values.
    pub fn metadata(&self) -> &GgufMetadata {
        &self.metadata
    }

    /// The tensors in the file's order.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = GgufTensor<'_>> {
        let data = &(*self.bytes).as_ref()[self.data_start..];
        self.tensors.iter().map(|info| {
            let start = info.offset as usize;
            GgufTensor {
                info,
                // Checked when the file was opened.
                bytes: &data[start..start + info.num_bytes as usize],
            }
        })
    }

    /// The tensor of a name.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn tensor(&self, name: &str) -> Result<GgufTensor<'_>, GgufError> {
        let mut tensors = self.tensors();
        let tensor = tensors.find(|tensor| tensor.name() == name);
        tensor.ok_or_else(|| GgufError::MissingTensor {
            tensor: name.to_string(),
        })
    }
}

impl fmt::Debug for GgufReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GgufReader")
            .field("version", &self.version)
            .field("keys", &self.metadata.len())
            .field("tensors", &self.tensors.len())
            .finish_non_exhaustive()
    }
}

impl<'a> GgufTensor<'a> {
    /// Name of the tensor.
    pub fn name(&self) -> &'a str {
        &self.info.name
    }

    /// Sizes of the tensor.
    pub fn shape(&self) -> GgufShape {
        self.info.shape
    }

    /// How its numbers are stored.
    pub fn ggml_type(&self) -> GgmlType {
        self.info.ggml_type
    }

    /// Where its bytes begin, from the start of the bytes of all tensors.
    pub fn offset(&self) -> u64 {
        self.info.offset
    }

    /// Its bytes as they are in the file.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Its numbers, row after row.
    ///
    /// # Errors
    ///
    /// If the type has no [codec](GgmlType::has_codec).
    pub fn decode(&self) -> Result<Vec<f32>, GgufError> {
        block::decode(self.name(), self.ggml_type(), self.shape(), self.bytes)
    }

    /// Its codes and scales.
    ///
    /// # Errors
    ///
    /// If the type is not [ternary](GgmlType::is_ternary), a code is not -1, 0 or 1, or a scale is
    /// not finite.
    pub fn decode_ternary(&self) -> Result<block::TernaryTensor, GgufError> {
        block::decode_ternary(self.name(), self.ggml_type(), self.shape(), self.bytes)
    }
}

impl fmt::Debug for GgufTensor<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.info.fmt(f)
    }
}
