//! Floats of a file as the values of a tensor.

use std::{any::TypeId, ops::Range};

use burn::tensor::{DType, Element, FloatDType, TensorData};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// A float type of files and tensors.
trait Float: Element + Default + Send + Sync {
    const SIZE: usize;
    fn read(bytes: &[u8]) -> Self;
    fn write(self, bytes: &mut Vec<u8>);
    fn to_f32(self) -> f32;
    fn from_f32(value: f32) -> Self;
}

macro_rules! float {
    ($type:ty, $to_f32:expr, $from_f32:expr) => {
        impl Float for $type {
            const SIZE: usize = size_of::<$type>();

            #[inline(always)]
            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("a chunk of its size"))
            }

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            #[inline(always)]
            fn to_f32(self) -> f32 {
                $to_f32(self)
            }

            #[inline(always)]
            fn from_f32(value: f32) -> Self {
                $from_f32(value)
            }
        }
    };
}

float!(f32, |value| value, |value| value);
float!(f16, f16::to_f32, f16::from_f32);
float!(bf16, bf16::to_f32, bf16::from_f32);

/// Columns of the file that a thread transposes at a time.
const COLUMNS: usize = 64;

/// Rows and columns of a tile, which is transposed within the cache: as many floats as a line holds.
const TILE: usize = 16;

/// Values that are read before their pages are let go of.
const PART: usize = 1 << 20;

/// Names of the float types, for an error.
pub(super) const FLOAT_TYPES: &str = "F32, F16 or BF16";

/// The type of a tensor that holds what a file of this type does; `None` for types that are none.
pub(super) fn float_dtype(dtype: Dtype) -> Option<FloatDType> {
    match dtype {
        Dtype::F32 => Some(FloatDType::F32),
        Dtype::F16 => Some(FloatDType::F16),
        Dtype::BF16 => Some(FloatDType::BF16),
        _ => None,
    }
}

/// The type of a file that holds what a tensor of this type does.
pub(super) fn file_dtype(dtype: FloatDType) -> Dtype {
    match dtype {
        FloatDType::F16 => Dtype::F16,
        FloatDType::BF16 => Dtype::BF16,
        _ => Dtype::F32,
    }
}

/// How the values of a file are put into a tensor.
#[derive(Clone, Copy)]
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
        FloatDType::F16 => TensorData::new(ordered::<S, f16>(bytes, order, release), shape),
        FloatDType::BF16 => TensorData::new(ordered::<S, bf16>(bytes, order, release), shape),
        _ => TensorData::new(ordered::<S, f32>(bytes, order, release), shape),
    }
}

fn ordered<S: Float, T: Float>(
    bytes: &[u8],
    order: Order,
    release: &dyn Fn(Range<usize>),
) -> Vec<T> {
    let mut values = vec![T::default(); bytes.len() / S::SIZE];
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
fn convert<S: Float, T: Float>(bytes: &[u8]) -> T {
    match TypeId::of::<S>() == TypeId::of::<T>() {
        true => T::read(bytes),
        false => T::from_f32(S::read(bytes).to_f32()),
    }
}

fn converted<S: Float, T: Float>(bytes: &[u8], values: &mut [T]) {
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

/// The columns from `first` on of a matrix, one after the other.
fn transpose<S: Float, T: Float>(
    bytes: &[u8],
    [rows, columns]: [usize; 2],
    first: usize,
    values: &mut [T],
) {
    let width = values.len() / rows;
    let mut tile = [[T::default(); TILE]; TILE];
    for row in (0..rows).step_by(TILE) {
        let height = TILE.min(rows - row);
        for column in (0..width).step_by(TILE) {
            let source = &bytes[(row * columns + first + column) * S::SIZE..];
            let target = &mut values[column * rows + row..];
            // Sizes that the compiler knows make a loop of a few instructions.
            match (height, TILE.min(width - column)) {
                (TILE, TILE) => turn::<S, T>(source, target, [columns, rows], [TILE; 2], &mut tile),
                size => turn::<S, T>(source, target, [columns, rows], size.into(), &mut tile),
            }
        }
    }
}

/// Reads a tile by the rows of the file and writes it by those of the tensor, so that memory sees whole
/// lines.
#[inline(always)]
fn turn<S: Float, T: Float>(
    source: &[u8],
    target: &mut [T],
    [source_stride, target_stride]: [usize; 2],
    [height, width]: [usize; 2],
    tile: &mut [[T; TILE]; TILE],
) {
    for y in 0..height {
        let start = y * source_stride * S::SIZE;
        let line = source[start..start + width * S::SIZE].chunks_exact(S::SIZE);
        for (lane, bytes) in tile.iter_mut().zip(line) {
            lane[y] = convert::<S, T>(bytes);
        }
    }
    for (x, lane) in tile[..width].iter().enumerate() {
        let start = x * target_stride;
        target[start..start + height].copy_from_slice(&lane[..height]);
    }
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
        T::from_f32(value).write(&mut bytes);
    }
    bytes
}

/// The single float of a tensor.
pub(super) fn scalar(bytes: &[u8], dtype: FloatDType) -> Option<f32> {
    let types = [dtype, FloatDType::F32];
    let data = read(bytes, types, Order::Kept, &[1], &|_| {});
    debug_assert_eq!(data.dtype(), DType::F32);
    data.try_to_vec::<f32>().ok()?.first().copied()
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
