//! Conversion of 16-bit values from and to `f32`, on all threads.

use std::mem::MaybeUninit;

use half::{bf16, f16, slice::HalfFloatSliceExt};

use super::slices::{PARALLEL_CHUNK, map_chunks};

/// Values of f16 at a time: few enough for the compiler to keep their buffer in registers.
const PIECE: usize = 32;

/// A 16-bit float.
pub(super) trait HalfPrecision: Copy + Send + Sync {
    /// Writes the values in `f32`.
    fn widen(input: &[Self], output: &mut [MaybeUninit<f32>]);

    /// Writes the nearest values, ties to even.
    fn narrow(input: &[f32], output: &mut [MaybeUninit<Self>]);
}

impl HalfPrecision for bf16 {
    #[inline(always)]
    fn widen(input: &[Self], output: &mut [MaybeUninit<f32>]) {
        for (wide, value) in output.iter_mut().zip(input) {
            wide.write(f32::from_bits(u32::from(value.to_bits()) << 16));
        }
    }

    #[inline(always)]
    fn narrow(input: &[f32], output: &mut [MaybeUninit<Self>]) {
        for (narrow, &value) in output.iter_mut().zip(input) {
            narrow.write(Self::from_bits(rounded(value)));
        }
    }
}

/// Returns the bits of the nearest number of bf16, ties to even. ([`bf16::from_f32`] gives the same, with
/// branches that prevent SIMD instructions.)
#[inline(always)]
fn rounded(value: f32) -> u16 {
    let bits = value.to_bits();
    let is_odd = (bits >> 16) & 1;
    let nearest = bits.wrapping_add(0x7fff + is_odd) >> 16;
    let quiet_nan = (bits >> 16) | 0x40;
    (if value.is_nan() { quiet_nan } else { nearest }) as u16
}

impl HalfPrecision for f16 {
    #[inline(always)]
    fn widen(input: &[Self], output: &mut [MaybeUninit<f32>]) {
        let (pieces, rest) = input.as_chunks::<PIECE>();
        let (wide_pieces, wide_rest) = output.as_chunks_mut::<PIECE>();
        let mut buffer = [0.0; PIECE];
        for (piece, wide) in pieces.iter().zip(wide_pieces) {
            piece.convert_to_f32_slice(&mut buffer);
            *wide = buffer.map(MaybeUninit::new);
        }
        let buffer = &mut buffer[..rest.len()];
        rest.convert_to_f32_slice(buffer);
        wide_rest.write_copy_of_slice(buffer);
    }

    #[inline(always)]
    fn narrow(input: &[f32], output: &mut [MaybeUninit<Self>]) {
        let mut narrow = [Self::ZERO; PIECE];
        for (input, output) in input.chunks(PIECE).zip(output.chunks_mut(PIECE)) {
            let narrow = &mut narrow[..input.len()];
            narrow.convert_from_f32_slice(input);
            output.write_copy_of_slice(narrow);
        }
    }
}

pub(super) fn widened<E: HalfPrecision>(values: &[E]) -> Vec<f32> {
    // SAFETY: every value of every piece is written.
    unsafe {
        map_chunks(values, PARALLEL_CHUNK, |_, input, output| {
            E::widen(input, output)
        })
    }
}

pub(super) fn narrowed<E: HalfPrecision>(values: &[f32]) -> Vec<E> {
    // SAFETY: every value of every piece is written.
    unsafe {
        map_chunks(values, PARALLEL_CHUNK, |_, input, output| {
            E::narrow(input, output)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns 16-bit numbers, values between them, and non-finite values, in more than one piece.
    fn values() -> Vec<f32> {
        let halves = (0..=u16::MAX).flat_map(|high| {
            let between = [0, 1, 0x1000, 0x7fff, 0x8000, 0x8001, 0xffff];
            between.map(|low| f32::from_bits(u32::from(high) << 16 | low))
        });
        halves.collect()
    }

    #[test]
    fn values_of_16_bits_are_those_of_half() {
        let values = values();
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || (a.is_nan() && b.is_nan());
        let (narrow, wide) = (
            narrowed::<bf16>(&values),
            widened(&narrowed::<bf16>(&values)),
        );
        for (i, &value) in values.iter().enumerate() {
            let expected = bf16::from_f32(value);
            assert_eq!(narrow[i].to_bits(), expected.to_bits(), "{value:e}");
            assert!(same(wide[i], expected.to_f32()), "{value:e}");
        }
        let (narrow, wide) = (narrowed::<f16>(&values), widened(&narrowed::<f16>(&values)));
        for (i, &value) in values.iter().enumerate() {
            let expected = f16::from_f32(value);
            assert!(same(narrow[i].to_f32(), expected.to_f32()), "{value:e}");
            assert!(same(wide[i], expected.to_f32()), "{value:e}");
        }
    }
}
