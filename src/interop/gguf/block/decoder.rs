//! Decoding of many blocks, which are independent of each other, on all processors.

use half::f16;
use rayon::prelude::*;

use super::{iq4, q2_k, q4, q4_k, q6_k};
use crate::interop::gguf::GgmlType;

/// Blocks that a thread decodes at a time.
const PART: usize = 1 << 10;

/// The number of half precision at a place of a block.
pub fn half(block: &[u8], place: usize) -> f32 {
    f16::from_le_bytes([block[place], block[place + 1]]).to_f32()
}

/// Decodes the blocks of a type that only this module decodes; `None` for other types.
pub fn decode(ggml_type: GgmlType, bytes: &[u8]) -> Option<Vec<f32>> {
    Some(match ggml_type {
        GgmlType::Q4_0 => blocks(bytes, q4::LEN, q4::decode_q4_0),
        GgmlType::Q4_1 => blocks(bytes, q4::LEN, q4::decode_q4_1),
        GgmlType::Q5_0 => blocks(bytes, q4::LEN, q4::decode_q5_0),
        GgmlType::Q5_1 => blocks(bytes, q4::LEN, q4::decode_q5_1),
        GgmlType::Q2_K => blocks(bytes, 256, q2_k::decode_q2_k),
        GgmlType::Q3_K => blocks(bytes, 256, q2_k::decode_q3_k),
        GgmlType::Q4_K => blocks(bytes, 256, q4_k::decode_q4_k),
        GgmlType::Q5_K => blocks(bytes, 256, q4_k::decode_q5_k),
        GgmlType::Q6_K => blocks(bytes, 256, q6_k::decode_q6_k),
        GgmlType::IQ4_NL => blocks(bytes, q4::LEN, iq4::decode_nl),
        GgmlType::IQ4_XS => blocks(bytes, 256, iq4::decode_xs),
        _ => return None,
    })
}

/// Decodes blocks of `N` bytes and `len` elements.
fn blocks<const N: usize>(
    bytes: &[u8],
    len: usize,
    decode: impl Fn(&[u8; N], &mut [f32]) + Sync,
) -> Vec<f32> {
    let blocks = bytes.as_chunks::<N>().0;
    let mut values = vec![0.0; blocks.len() * len];
    values
        .par_chunks_mut(PART * len)
        .zip(blocks.par_chunks(PART))
        .for_each(|(values, blocks)| {
            for (block, values) in blocks.iter().zip(values.chunks_exact_mut(len)) {
                decode(block, values);
            }
        });
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_have_the_bytes_and_elements_of_their_type() {
        for ggml_type in GgmlType::ALL {
            let (len, bytes) = (ggml_type.block_len(), ggml_type.block_bytes());
            let parts = PART as u64 + 3;
            let values = decode(ggml_type, &vec![0; (parts * bytes) as usize]);
            if let Some(values) = values {
                assert!(ggml_type.is_decoded());
                assert_eq!(values.len() as u64, parts * len, "{ggml_type}");
            }
        }
    }
}
