use half::f16;

use super::{
    TernaryTensor,
    codec::{check_length, check_shape, no_codec},
    i2_s, tq1_0, tq2_0,
};
use crate::interop::gguf::{GgmlType, GgufError, GgufShape};

/// Elements of a block of TQ1_0 and TQ2_0.
pub const LEN: usize = 256;

/// How a ternary type with a scale in each block writes its codes.
#[derive(Clone, Copy)]
pub struct TernaryBlocks {
    /// Bytes of the codes; the scale is behind them.
    pub digits: usize,
    pack: fn(&[i8; LEN], &mut Vec<u8>),
    unpack: fn(&[u8]) -> [i8; LEN],
}

impl TernaryBlocks {
    pub fn of(ggml_type: GgmlType) -> Option<Self> {
        match ggml_type {
            GgmlType::TQ1_0 => Some(Self {
                digits: tq1_0::DIGITS,
                pack: tq1_0::pack,
                unpack: tq1_0::unpack,
            }),
            GgmlType::TQ2_0 => Some(Self {
                digits: tq2_0::DIGITS,
                pack: tq2_0::pack,
                unpack: tq2_0::unpack,
            }),
            _ => None,
        }
    }

    pub fn push(&self, codes: &[i8; LEN], scale: f16, bytes: &mut Vec<u8>) {
        (self.pack)(codes, bytes);
        bytes.extend(scale.to_le_bytes());
    }

    pub fn split<'a>(&self, bytes: &'a [u8]) -> core::slice::ChunksExact<'a, u8> {
        bytes.chunks_exact(self.digits + size_of::<f16>())
    }

    /// Codes and scale of one block.
    pub fn read(&self, block: &[u8]) -> ([i8; LEN], f16) {
        let (digits, scale) = block.split_at(self.digits);
        let scale = f16::from_le_bytes([scale[0], scale[1]]);
        ((self.unpack)(digits), scale)
    }
}

/// Scales of a ternary tensor, `w = scale code`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum TernaryScales<'a> {
    /// One for the tensor.
    Tensor(f32),
    /// One for each row.
    Rows(&'a [f32]),
}

/// Encodes the codes of a tensor, row after row, with scales as they are.
///
/// Each block of TQ1_0 and TQ2_0 gets the scale of its row, rounded to half precision; a tensor of
/// I2_S has one, of single precision. `name` is for errors.
///
/// # Errors
///
/// If the type is not [ternary](GgmlType::is_ternary), the shape cannot be cut into its blocks or
/// does not fit codes and scales, a code is not -1, 0 or 1, or a scale is not finite, or too large
/// or too small for half precision.
pub fn encode_ternary(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    codes: &[i8],
    scales: TernaryScales<'_>,
) -> Result<Vec<u8>, GgufError> {
    if !ggml_type.is_ternary() {
        return Err(no_codec(name, ggml_type));
    }
    let num_bytes = check_shape(name, ggml_type, shape)?;
    check_length(name, "codes", shape.num_elements(), codes.len())?;
    check_codes(name, codes)?;
    check_scales(name, ggml_type, shape, scales)?;
    let Some(blocks) = TernaryBlocks::of(ggml_type) else {
        let scale = match scales {
            TernaryScales::Tensor(scale) => scale,
            TernaryScales::Rows(scales) => scales[0],
        };
        return Ok(i2_s::encode_codes(codes, scale));
    };
    let row_len = shape.row_len() as usize;
    let mut bytes = Vec::with_capacity(num_bytes as usize);
    for (row, codes) in codes.chunks_exact(row_len).enumerate() {
        let scale = match scales {
            TernaryScales::Tensor(scale) => scale,
            TernaryScales::Rows(scales) => scales[row],
        };
        for codes in codes.as_chunks().0 {
            blocks.push(codes, f16::from_f32(scale), &mut bytes);
        }
    }
    Ok(bytes)
}

/// Decodes the bytes of a ternary tensor to codes and scales, without rounding.
///
/// `name` is for errors.
///
/// # Errors
///
/// If the type is not [ternary](GgmlType::is_ternary), there are not as many bytes as the shape
/// takes, a code is not -1, 0 or 1, or a scale is not finite.
pub fn decode_ternary(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    bytes: &[u8],
) -> Result<TernaryTensor, GgufError> {
    if !ggml_type.is_ternary() {
        return Err(no_codec(name, ggml_type));
    }
    check_length(
        name,
        "bytes",
        check_shape(name, ggml_type, shape)?,
        bytes.len(),
    )?;
    let tensor = match TernaryBlocks::of(ggml_type) {
        None => i2_s::decode_codes(bytes),
        Some(blocks) => {
            let mut tensor = TernaryTensor::with_capacity(shape.num_elements() as usize, LEN);
            for block in blocks.split(bytes) {
                let (codes, scale) = blocks.read(block);
                tensor.push(&codes, scale.to_f32());
            }
            tensor
        }
    };
    check_codes(name, tensor.codes())?;
    match tensor.scales().iter().position(|scale| !scale.is_finite()) {
        None => Ok(tensor),
        Some(index) => Err(unstorable(name, ggml_type, index, tensor.scales()[index])),
    }
}

fn check_codes(name: &str, codes: &[i8]) -> Result<(), GgufError> {
    match codes.iter().position(|code| !(-1..=1).contains(code)) {
        None => Ok(()),
        Some(index) => Err(GgufError::Code {
            tensor: name.to_string(),
            index: index as u64,
            found: codes[index],
        }),
    }
}

fn check_scales(
    name: &str,
    ggml_type: GgmlType,
    shape: GgufShape,
    scales: TernaryScales<'_>,
) -> Result<(), GgufError> {
    let scales = match &scales {
        TernaryScales::Tensor(scale) => core::slice::from_ref(scale),
        TernaryScales::Rows(scales) => {
            let one = ggml_type == GgmlType::I2_S;
            let expected = if one { 1 } else { shape.rows() };
            if scales.len() as u64 != expected {
                return Err(GgufError::Scales {
                    tensor: name.to_string(),
                    ggml_type,
                    expected,
                    found: scales.len() as u64,
                });
            }
            scales
        }
    };
    // A scale that becomes infinite or zero would take the weights with it.
    let storable = |scale: &f32| {
        let half = f16::from_f32(*scale);
        let fits = half.is_finite() && (half.to_f32() == 0.0) == (*scale == 0.0);
        scale.is_finite() && (fits || ggml_type == GgmlType::I2_S)
    };
    match scales.iter().position(|scale| !storable(scale)) {
        None => Ok(()),
        Some(index) => Err(unstorable(name, ggml_type, index, scales[index])),
    }
}

fn unstorable(name: &str, ggml_type: GgmlType, index: usize, value: f32) -> GgufError {
    GgufError::Unstorable {
        tensor: name.to_string(),
        ggml_type,
        index: index as u64,
        value,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn codes(n: usize) -> Vec<i8> {
        (0..n).map(|i| ((i * i / 3 + i) % 3) as i8 - 1).collect()
    }

    #[test]
    fn codes_and_scales_come_back() {
        let shape = GgufShape::from_row_major(&[2, 512]).unwrap();
        let codes = codes(1024);
        for ggml_type in [GgmlType::TQ1_0, GgmlType::TQ2_0] {
            let rows = TernaryScales::Rows(&[0.25, -3.0]);
            let bytes = encode_ternary("w", ggml_type, shape, &codes, rows).unwrap();
            let tensor = decode_ternary("w", ggml_type, shape, &bytes).unwrap();
            assert_eq!(tensor.codes(), codes);
            assert_eq!(tensor.scales(), [0.25, 0.25, -3.0, -3.0]);
            assert_eq!(tensor.row_scales(512), Some(vec![0.25, -3.0]));
            assert_eq!(tensor.tensor_scale(), None);
        }
        // 0.1 has no half, and I2_S stores a single.
        for (ggml_type, scale) in [(GgmlType::TQ2_0, 0.099975586), (GgmlType::I2_S, 0.1)] {
            let scales = TernaryScales::Tensor(0.1);
            let bytes = encode_ternary("w", ggml_type, shape, &codes, scales).unwrap();
            let tensor = decode_ternary("w", ggml_type, shape, &bytes).unwrap();
            assert_eq!(tensor.codes(), codes);
            assert_eq!(tensor.tensor_scale(), Some(scale));
        }
    }

    #[test]
    fn what_cannot_be_encoded() {
        let shape = GgufShape::from_row_major(&[2, 256]).unwrap();
        let encode = |ggml_type, codes: &[i8], scales| {
            let result = encode_ternary("w", ggml_type, shape, codes, scales);
            result.unwrap_err().to_string()
        };
        let (mut codes, tensor) = (codes(512), TernaryScales::Tensor);
        assert_eq!(
            encode(GgmlType::TQ1_0, &codes, TernaryScales::Rows(&[1.0])),
            "tensor `w`: TQ1_0 takes 2 scales, found 1"
        );
        for scale in [f32::NAN, 1e5, 1e-9] {
            let expected = format!("tensor `w`, number 0: TQ2_0 cannot hold {scale}");
            assert_eq!(encode(GgmlType::TQ2_0, &codes, tensor(scale)), expected);
        }
        assert!(encode(GgmlType::F16, &codes, tensor(1.0)).contains("F16"));
        codes[300] = 2;
        assert_eq!(
            encode(GgmlType::I2_S, &codes, tensor(1.0)),
            "tensor `w`, element 300: expected a code of -1, 0 or 1, found 2"
        );
    }

    #[test]
    fn a_fourth_digit_is_no_code() {
        let shape = GgufShape::from_row_major(&[256]).unwrap();
        for (ggml_type, bytes) in [(GgmlType::TQ2_0, 66), (GgmlType::I2_S, 96)] {
            let error = decode_ternary("w", ggml_type, shape, &vec![0xff; bytes]).unwrap_err();
            assert!(matches!(
                error,
                GgufError::Code {
                    index: 0,
                    found: 2,
                    ..
                }
            ));
        }
        // Every byte is five digits of TQ1_0; the scale is NaN.
        let error = decode_ternary("w", GgmlType::TQ1_0, shape, &[0xff; 54]).unwrap_err();
        assert!(matches!(error, GgufError::Unstorable { index: 0, .. }));
    }
}
