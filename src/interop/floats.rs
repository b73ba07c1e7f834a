//! Floats of files as the values of tensors.

use std::{any::TypeId, array::from_fn, ops::Range};

use burn::tensor::{Bytes, DType, FloatDType, TensorData};
use half::{bf16, f16};
use rayon::prelude::*;

/// A float type of files and tensors.
///
/// Values are made as their bits: memory full of zeros of an integer type comes from the system as it is,
/// and that of others is written first.
trait Float: 'static {
    type Bits: Copy + Default + Send + Sync;
    const SIZE: usize = size_of::<Self::Bits>();
    fn read(bytes: &[u8]) -> Self::Bits;
    fn write(bits: Self::Bits, bytes: &mut Vec<u8>);
    fn to_f32(bits: Self::Bits) -> f32;
    fn from_f32(value: f32) -> Self::Bits;
    fn data(bits: Vec<Self::Bits>, shape: &[usize]) -> TensorData;
}

macro_rules! float {
    ($type:ty, $bits:ty, $dtype:expr, $to_f32:expr, $from_f32:expr) => {
        impl Float for $type {
            type Bits = $bits;

            #[inline(always)]
            fn read(bytes: &[u8]) -> $bits {
                <$bits>::from_le_bytes(bytes.try_into().expect("a chunk of its size"))
            }

            fn write(bits: $bits, bytes: &mut Vec<u8>) {
                bytes.extend(bits.to_le_bytes());
            }

            #[inline(always)]
            fn to_f32(bits: $bits) -> f32 {
                $to_f32(<$type>::from_bits(bits))
            }

            #[inline(always)]
            fn from_f32(value: f32) -> $bits {
                $from_f32(value).to_bits()
            }

            fn data(bits: Vec<$bits>, shape: &[usize]) -> TensorData {
                TensorData::from_bytes(Bytes::from_elems(bits), shape, $dtype)
            }
        }
    };
}

float!(f32, u32, DType::F32, |value| value, |value: f32| value);
float!(f16, u16, DType::F16, f16::to_f32, f16::from_f32);
float!(bf16, u16, DType::BF16, bf16::to_f32, bf16::from_f32);

/// Columns of the file that a thread transposes at a time.
const COLUMNS: usize = 64;

/// Values that are read before their pages are let go of.
const PART: usize = 1 << 20;

/// Order of the values of a file in a tensor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// As they are.
    Kept,
    /// A matrix of so many rows and columns in the file, by its columns.
    Transposed([usize; 2]),
}

/// Floats of a file in the type of a tensor. `release` is told which bytes were read.
pub(super) fn read(
    bytes: &[u8],
    [from, to]: [FloatDType; 2],
    order: Order,
    shape: &[usize],
    release: &dyn Fn(Range<usize>),
) -> TensorData {
    match from {
        FloatDType::F16 => read_from::<f16>(bytes, to, order, shape, release),
        FloatDType::BF16 => read_from::<bf16>(bytes, to, order, shape, release),
        _ => read_from::<f32>(bytes, to, order, shape, release),
    }
}

fn read_from<S: Float>(
    bytes: &[u8],
    to: FloatDType,
    order: Order,
    shape: &[usize],
    release: &dyn Fn(Range<usize>),
) -> TensorData {
    match to {
        FloatDType::F16 => f16::data(ordered::<S, f16>(bytes, order, release), shape),
        FloatDType::BF16 => bf16::data(ordered::<S, bf16>(bytes, order, release), shape),
        _ => f32::data(ordered::<S, f32>(bytes, order, release), shape),
    }
}

fn ordered<S: Float, T: Float>(
    bytes: &[u8],
    order: Order,
    release: &dyn Fn(Range<usize>),
) -> Vec<T::Bits> {
    let mut values = vec![T::Bits::default(); bytes.len() / S::SIZE];
    match order {
        Order::Kept => {
            for (i, values) in values.chunks_mut(PART).enumerate() {
                let start = i * PART * S::SIZE;
                let end = start + values.len() * S::SIZE;
                converted::<S, T>(&bytes[start..end], values);
                release(start..end);
            }
        }
        Order::Transposed([rows, columns]) => {
            if !values.is_empty() {
                let parts = values.par_chunks_mut(COLUMNS * rows).enumerate();
                parts.for_each(|(part, values)| {
                    transpose::<S, T>(bytes, [rows, columns], part * COLUMNS, values);
                });
            }
            release(0..bytes.len());
        }
    }
    values
}

/// A value in another type, or its very bits.
#[inline(always)]
fn convert<S: Float, T: Float>(bytes: &[u8]) -> T::Bits {
    match TypeId::of::<S>() == TypeId::of::<T>() {
        true => T::read(bytes),
        false => T::from_f32(S::to_f32(S::read(bytes))),
    }
}

fn converted<S: Float, T: Float>(bytes: &[u8], values: &mut [T::Bits]) {
    let chunk = values.len().div_ceil(rayon::current_num_threads()).max(1);
    let parts = values.par_chunks_mut(chunk);
    parts
        .zip(bytes.par_chunks(chunk * S::SIZE))
        .for_each(|(values, bytes)| {
            let bytes = bytes.chunks_exact(S::SIZE);
            for (value, bytes) in values.iter_mut().zip(bytes) {
                *value = convert::<S, T>(bytes);
            }
        });
}

/// The columns from `first` on of a matrix, one after the other, in tiles of as many rows and columns as
/// the smallest registers hold, which compilers transpose within them.
fn transpose<S: Float, T: Float>(
    bytes: &[u8],
    size: [usize; 2],
    first: usize,
    values: &mut [T::Bits],
) {
    match T::SIZE {
        2 => transpose_tiles::<S, T, 8>(bytes, size, first, values),
        _ => transpose_tiles::<S, T, 4>(bytes, size, first, values),
    }
}

fn transpose_tiles<S: Float, T: Float, const N: usize>(
    bytes: &[u8],
    [rows, columns]: [usize; 2],
    first: usize,
    values: &mut [T::Bits],
) {
    let width = values.len() / rows;
    for row in (0..rows).step_by(N) {
        for column in (0..width).step_by(N) {
            let source = &bytes[(row * columns + first + column) * S::SIZE..];
            let target = &mut values[column * rows + row..];
            let size = [N.min(rows - row), N.min(width - column)];
            match size == [N, N] {
                true => transpose_tile::<S, T, N>(source, columns, target, rows),
                false => transpose_edge::<S, T>(source, columns, target, rows, size),
            }
        }
    }
}

/// A tile of `N` rows and columns.
#[inline(always)]
fn transpose_tile<S: Float, T: Float, const N: usize>(
    source: &[u8],
    columns: usize,
    target: &mut [T::Bits],
    rows: usize,
) {
    let lines: [&[u8]; N] = from_fn(|y| &source[y * columns * S::SIZE..][..N * S::SIZE]);
    for x in 0..N {
        let column: [T::Bits; N] =
            from_fn(|y| convert::<S, T>(&lines[y][x * S::SIZE..][..S::SIZE]));
        target[x * rows..][..N].copy_from_slice(&column);
    }
}

/// A part of a tile, at the edges of a matrix.
fn transpose_edge<S: Float, T: Float>(
    source: &[u8],
    columns: usize,
    target: &mut [T::Bits],
    rows: usize,
    [height, width]: [usize; 2],
) {
    for y in 0..height {
        for x in 0..width {
            let start = (y * columns + x) * S::SIZE;
            target[x * rows + y] = convert::<S, T>(&source[start..start + S::SIZE]);
        }
    }
}

/// The number of the first value that is NaN or infinite.
pub(super) fn first_not_finite(bytes: &[u8], dtype: DType) -> Option<usize> {
    match dtype {
        DType::F16 => {
            first_full_exponent(bytes, |b: [u8; 2]| u16::from_le_bytes(b) & 0x7c00 == 0x7c00)
        }
        DType::BF16 => {
            first_full_exponent(bytes, |b: [u8; 2]| u16::from_le_bytes(b) & 0x7f80 == 0x7f80)
        }
        _ => first_full_exponent(bytes, |b: [u8; 4]| {
            u32::from_le_bytes(b) & 0x7f80_0000 == 0x7f80_0000
        }),
    }
}

fn first_full_exponent<const N: usize>(
    bytes: &[u8],
    is_full: impl Fn([u8; N]) -> bool + Sync,
) -> Option<usize> {
    const BLOCK: usize = 1 << 16;
    let (values, _) = bytes.as_chunks::<N>();
    let blocks = values.par_chunks(BLOCK).enumerate();
    // Without an end in the middle, a block is looked at many values at a time.
    let any = |block: &[[u8; N]]| block.iter().fold(false, |any, value| any | is_full(*value));
    let (i, block) = blocks.find_first(|(_, block)| any(block))?;
    Some(i * BLOCK + block.iter().position(|value| is_full(*value))?)
}

/// The values of a tensor as a file of this type holds them.
pub(super) fn write(values: &[f32], dtype: FloatDType) -> Vec<u8> {
    match dtype {
        FloatDType::F16 => write_as::<f16>(values),
        FloatDType::BF16 => write_as::<bf16>(values),
        _ => write_as::<f32>(values),
    }
}

fn write_as<T: Float>(values: &[f32]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(values.len() * T::SIZE);
    for &value in values {
        T::write(T::from_f32(value), &mut bytes);
    }
    bytes
}

/// The values of a tensor of a file.
pub(super) fn values(bytes: &[u8], dtype: FloatDType) -> Vec<f32> {
    let bits = match dtype {
        FloatDType::F16 => ordered::<f16, f32>(bytes, Order::Kept, &|_| {}),
        FloatDType::BF16 => ordered::<bf16, f32>(bytes, Order::Kept, &|_| {}),
        _ => ordered::<f32, f32>(bytes, Order::Kept, &|_| {}),
    };
    bits.into_iter().map(f32::from_bits).collect()
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn a_matrix_is_transposed_and_converted() {
        for (rows, columns) in [(5, 37), (16, 64), (33, 130), (1, 1), (0, 3)] {
            let values: Vec<f32> = (0..rows * columns)
                .map(|i| (i % 251) as f32 - 90.0)
                .collect();
            let transposed: Vec<f32> = (0..rows * columns)
                .map(|i| values[i % rows * columns + i / rows])
                .collect();
            for dtype in [FloatDType::F32, FloatDType::F16, FloatDType::BF16] {
                let bytes = write(&values, dtype);
                let order = Order::Transposed([rows, columns]);
                let types = [dtype, FloatDType::F32];
                let data = read(&bytes, types, order, &[columns, rows], &|_| {});
                assert_eq!(data.try_to_vec::<f32>().unwrap(), transposed);
                let kept = read(&bytes, [dtype; 2], Order::Kept, &[rows, columns], &|_| {});
                assert_eq!(kept.dtype(), DType::from(dtype));
                assert_eq!(kept.as_bytes(), bytes);
            }
        }
    }

    #[test]
    fn every_byte_is_let_go_of_once() {
        let bytes = vec![0; 2 * PART + 4];
        for order in [Order::Kept, Order::Transposed([2, PART / 4 + 1])] {
            let end = Cell::new(0);
            let release = |range: Range<usize>| {
                assert_eq!(range.start, end.get());
                end.set(range.end);
            };
            let types = [FloatDType::F16, FloatDType::F32];
            read(&bytes[..PART + 4], types, order, &[PART / 2 + 2], &release);
            assert_eq!(end.get(), PART + 4);
        }
    }
}
