use std::{
    borrow::Cow,
    collections::HashSet,
    io::{self, BufWriter, Write},
    path::Path,
};

use super::{
    GgmlType, GgufError, GgufMetadata, GgufShape,
    block::check_length,
    error::BoxedError,
    head::{alignment, head_bytes},
    tensor_info::TensorInfo,
};
use crate::base::atomic_file::NewFile;

/// Most bytes of a tensor's name: `GGML_MAX_NAME` is 64 with the zero that ends it.
const MAX_NAME: usize = 63;

/// Makes the bytes of a tensor when they are written.
type Producer<'a> = Box<dyn FnOnce() -> Result<Cow<'a, [u8]>, BoxedError> + 'a>;

/// Writes a GGUF file.
///
/// The bytes of a tensor are made when its turn has come, so that no more than one tensor need be in
/// memory.
///
/// # Example
///
/// ```
/// # fn main() -> Result<(), Box<dyn core::error::Error>> {
/// use bitnet_burn::interop::gguf::{
///     GgmlType, GgufMetadata, GgufReader, GgufShape, GgufWriter, encode,
/// };
///
/// let mut metadata = GgufMetadata::new();
/// metadata.insert("general.architecture", "llama")?;
///
/// let weight = vec![0.5f32; 2 * 256];
/// let shape = GgufShape::from_row_major(&[2, 256]).unwrap();
/// let mut writer = GgufWriter::new(metadata)?;
/// writer.add("output.weight", GgmlType::TQ2_0, shape, || {
///     Ok(encode("output.weight", GgmlType::TQ2_0, shape, &weight)?.into())
/// })?;
/// # let folder = tempfile::tempdir()?;
/// # let path = folder.path().join("model.gguf");
/// writer.write(&path)?;
///
/// let reader = GgufReader::open(&path)?;
/// assert_eq!(reader.tensor("output.weight")?.decode()?, weight);
/// # Ok(())
/// # }
/// ```
pub struct GgufWriter<'a> {
    metadata: GgufMetadata,
    alignment: u64,
    infos: Vec<TensorInfo>,
    producers: Vec<Producer<'a>>,
    names: HashSet<String>,
    /// Bytes of all tensors so far, with what is between them.
    num_bytes: u64,
}

impl<'a> GgufWriter<'a> {
    /// A file with these keys and no tensors; they are aligned to `general.alignment`, or to 32
    /// bytes if there is no such key.
    ///
    /// # Errors
    ///
    /// If the alignment is no power of two from 8.
    pub fn new(metadata: GgufMetadata) -> Result<Self, GgufError> {
        Ok(Self {
            alignment: alignment(&metadata)?,
            metadata,
            infos: Vec::new(),
            producers: Vec::new(),
            names: HashSet::new(),
            num_bytes: 0,
        })
    }

    /// Adds a tensor whose bytes `producer` will make.
    ///
    /// # Errors
    ///
    /// If there is a tensor of the name, the name is empty or has more than 63 bytes, or the shape
    /// cannot be cut into blocks of the type.
    pub fn add(
        &mut self,
        name: impl Into<String>,
        ggml_type: GgmlType,
        shape: GgufShape,
        producer: impl FnOnce() -> Result<Cow<'a, [u8]>, BoxedError> + 'a,
    ) -> Result<(), GgufError> {
        let name = name.into();
        if name.is_empty() || name.len() > MAX_NAME {
            return Err(GgufError::TensorName {
                tensor: name,
                limit: MAX_NAME,
            });
        }
        if self.names.contains(&name) {
            return Err(GgufError::DuplicateTensor { tensor: name });
        }
        let info = TensorInfo::new(name, shape, ggml_type, self.num_bytes)?;
        let end = (self.num_bytes.checked_add(info.num_bytes))
            .and_then(|end| end.checked_next_multiple_of(self.alignment));
        let Some(end) = end else {
            return Err(GgufError::Shape {
                tensor: info.name.clone(),
                found: shape.ggml().to_vec(),
            });
        };
        self.num_bytes = end;
        self.names.insert(info.name.clone());
        self.infos.push(info);
        self.producers.push(Box::new(producer));
        Ok(())
    }

    /// Adds a tensor whose bytes are there.
    ///
    /// # Errors
    ///
    /// As [`add`](Self::add), and if the number of bytes is not that of the shape.
    pub fn add_bytes(
        &mut self,
        name: impl Into<String>,
        ggml_type: GgmlType,
        shape: GgufShape,
        bytes: impl Into<Cow<'a, [u8]>>,
    ) -> Result<(), GgufError> {
        let (name, bytes) = (name.into(), bytes.into());
        if let Some(expected) = ggml_type.num_bytes(shape.row_len(), shape.rows()) {
            check_length(&name, "bytes", expected, bytes.len())?;
        }
        self.add(name, ggml_type, shape, move || Ok(bytes))
    }

    /// Writes the file and gives it its name, replacing one that has it.
    ///
    /// Until it is complete it is a temporary one in the same folder, so that an older file stays
    /// if anything fails.
    ///
    /// # Errors
    ///
    /// If a producer fails or makes another number of bytes than the shape takes, or the disk does
    /// not take the file.
    pub fn write(self, path: impl AsRef<Path>) -> Result<(), GgufError> {
        let path = path.as_ref();
        let io = GgufError::io(path);
        let mut file = NewFile::create(path).map_err(&io)?;
        self.write_to(BufWriter::new(file.file()), path)?;
        file.finish().map_err(&io)
    }

    /// The file in memory.
    ///
    /// # Errors
    ///
    /// As [`write`](Self::write), but for the disk.
    pub fn to_bytes(self) -> Result<Vec<u8>, GgufError> {
        let mut bytes = Vec::new();
        self.write_to(&mut bytes, Path::new("memory"))?;
        Ok(bytes)
    }

    fn write_to(self, mut file: impl Write, path: &Path) -> Result<(), GgufError> {
        let io = GgufError::io(path);
        let head = head_bytes(&self.metadata, &self.infos);
        file.write_all(&head).map_err(&io)?;
        pad(&mut file, head.len() as u64, self.alignment).map_err(&io)?;
        for (info, producer) in self.infos.iter().zip(self.producers) {
            let bytes = producer().map_err(|source| match source.downcast::<GgufError>() {
                // It names the tensor.
                Ok(error) => *error,
                Err(source) => GgufError::Producer {
                    tensor: info.name.clone(),
                    source,
                },
            })?;
            check_length(&info.name, "bytes", info.num_bytes, bytes.len())?;
            file.write_all(&bytes).map_err(&io)?;
            // The last one, too: llama.cpp counts on it.
            pad(&mut file, info.num_bytes, self.alignment).map_err(&io)?;
        }
        file.flush().map_err(&io)
    }
}

/// Writes zeros up to the next multiple of the alignment, behind `written` bytes.
fn pad(file: &mut impl Write, written: u64, alignment: u64) -> io::Result<()> {
    let zeros = written.next_multiple_of(alignment) - written;
    io::copy(&mut io::Read::take(io::repeat(0), zeros), file).map(drop)
}
