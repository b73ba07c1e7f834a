//! Floats of a file as the values of a tensor.

use burn::tensor::{DType, Element, FloatDType, TensorData};
use half::{bf16, f16};
use rayon::prelude::*;
use safetensors::Dtype;

/// A float type of files and tensors.
trait Float: Element + Send + Sync {
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

            fn read(bytes: &[u8]) -> Self {
                Self::from_le_bytes(bytes.try_into().expect("a chunk of its size"))
            }

            fn write(self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_le_bytes());
            }

            fn to_f32(self) -> f32 {
                $to_f32(self)
            }

            fn from_f32(value: f32) -> Self {
                $from_f32(value)
            }
        }
    };
}

float!(f32, |value| value, |value| value);
float!(f16, f16::to_f32, f16::from_f32);
float!(bf16, bf16::to_f32, bf16::from_f32);

/// Columns of the file that a thread transposes at a time: as many floats as a cache line holds.
const COLUMNS: usize = 16;

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

/// Floats of a file in the type of a tensor.
pub(super) fn read(
    bytes: &[u8],
    from: FloatDType,
    to: FloatDType,
    order: Order,
    shape: &[usize],
) -> TensorData {
    match from {
        FloatDType::F16 => read_from::<f16>(bytes, to, order, shape),
        FloatDType::BF16 => read_from::<bf16>(bytes, to, order, shape),
        _ => read_from::<f32>(bytes, to, order, shape),
    }
}

fn read_from<S: Float>(bytes: &[u8], to: FloatDType, order: Order, shape: &[usize]) -> TensorData {
    match to {
        FloatDType::F16 => TensorData::new(ordered::<S, f16>(bytes, order), shape),
        FloatDType::BF16 => TensorData::new(ordered::<S, bf16>(bytes, order), shape),
        _ => TensorData::new(ordered::<S, f32>(bytes, order), shape),
    }
}

fn ordered<S: Float, T: Float>(bytes: &[u8], order: Order) -> Vec<T> {
    let value = |bytes: &[u8]| T::from_f32(S::read(bytes).to_f32());
    let len = bytes.len() / S::SIZE;
    let mut values = vec![T::from_f32(0.0); len];
    match order {
        Order::Kept => {
            let chunk = len.div_ceil(rayon::current_num_threads()).max(1);
            let parts = values.par_chunks_mut(chunk);
            parts
                .zip(bytes.par_chunks(chunk * S::SIZE))
                .for_each(|(values, bytes)| {
                    let bytes = bytes.chunks_exact(S::SIZE);
                    values
                        .iter_mut()
                        .zip(bytes)
                        .for_each(|(v, b)| *v = value(b));
                });
        }
        Order::Transposed([_, 0]) | Order::Transposed([0, _]) => {}
        Order::Transposed([rows, columns]) => {
            let parts = values.par_chunks_mut(COLUMNS * rows);
            parts.enumerate().for_each(|(part, values)| {
                let first = part * COLUMNS;
                let width = values.len() / rows;
                for row in 0..rows {
                    let start = (row * columns + first) * S::SIZE;
                    let bytes = bytes[start..start + width * S::SIZE].chunks_exact(S::SIZE);
                    for (column, bytes) in bytes.enumerate() {
                        values[column * rows + row] = value(bytes);
                    }
                }
            });
        }
    }
    values
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
    let data = read(bytes, dtype, FloatDType::F32, Order::Kept, &[1]);
    debug_assert_eq!(data.dtype(), DType::F32);
    data.try_to_vec::<f32>().ok()?.first().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_matrix_is_transposed_and_converted() {
        let (rows, columns) = (5, 37);
        let values: Vec<f32> = (0..rows * columns).map(|i| i as f32 - 90.0).collect();
        let transposed: Vec<f32> = (0..rows * columns)
            .map(|i| values[i % rows * columns + i / rows])
            .collect();
        for dtype in [FloatDType::F32, FloatDType::F16, FloatDType::BF16] {
            let bytes = write(&values, dtype);
            let order = Order::Transposed([rows, columns]);
            let shape = [columns, rows];
            let data = read(&bytes, dtype, FloatDType::F32, order, &shape);
            assert_eq!(data.try_to_vec::<f32>().unwrap(), transposed);
            let kept = read(&bytes, dtype, dtype, Order::Kept, &[rows, columns]);
            assert_eq!(kept.dtype(), DType::from(dtype));
            assert_eq!(kept.as_bytes(), bytes);
        }
    }

    #[test]
    fn nothing_is_transposed_to_nothing() {
        let order = Order::Transposed([0, 3]);
        let data = read(&[], FloatDType::F32, FloatDType::BF16, order, &[3, 0]);
        assert_eq!(data.num_elements(), 0);
    }
}
