//! Gzipped files in the IDX format: a magic number, the dimensions, then the bytes.

use std::io::{self, Read};

use flate2::read::GzDecoder;

/// Reads the dimensions and the bytes of a file of `D` dimensions that starts with `magic`. The error
/// message follows the name of the file.
pub fn read<const D: usize>(reader: impl Read, magic: u32) -> Result<([u32; D], Vec<u8>), String> {
    let mut decoder = GzDecoder::new(reader);
    let found = read_word(&mut decoder)?;
    if found != magic {
        return Err(format!(
            "is another kind of file: its first word is {found:#010x}, expected {magic:#010x}"
        ));
    }
    let mut dims = [0; D];
    for dim in &mut dims {
        *dim = read_word(&mut decoder)?;
    }
    let product = |n: u64, &dim: &u32| n.saturating_mul(dim.into());
    let expected = dims.iter().fold(1, product);
    // One extra byte is enough to detect a file that is too long. The vector grows with the content: a
    // header alone must not make the program reserve memory.
    let mut values = Vec::new();
    decoder
        .take(expected.saturating_add(1))
        .read_to_end(&mut values)
        .map_err(incomplete)?;
    let found = values.len() as u64;
    if found == expected {
        return Ok((dims, values));
    }
    let at_least = if found > expected { "at least " } else { "" };
    Err(format!(
        "holds {at_least}{found} bytes of data, expected the {expected} that its header announces"
    ))
}

fn read_word(reader: &mut impl Read) -> Result<u32, String> {
    let mut bytes = [0; 4];
    reader.read_exact(&mut bytes).map_err(incomplete)?;
    Ok(u32::from_be_bytes(bytes))
}

fn incomplete(error: io::Error) -> String {
    format!("is not a complete gzip file: {error}")
}
