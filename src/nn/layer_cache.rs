use burn::tensor::{DType, Device, Int, Tensor, s};
use serde::{Deserialize, Serialize};

use super::KeyValues;
use crate::{
    functions::{absmax_dequantize, absmax_quantize},
    ops::packing::code_words_per_row,
};

/// Storage type of keys and values in a [`KvCache`](super::KvCache).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvCacheDType {
    /// Single precision, 4 bytes.
    #[default]
    F32,
    /// Half precision, 2 bytes; for devices that support it.
    F16,
    /// Codes of 8 bits with one scale for each head of a position, about 1 byte; see
    /// [`absmax_quantize`].
    Int8,
}

/// Keys and values of one layer, `[batch, heads, max_positions, d_head]` each.
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    keys: Slots,
    values: Slots,
}

/// Storage for one head vector of each position.
#[derive(Debug, Clone)]
#[allow(clippy::large_enum_variant, reason = "two for each layer")]
enum Slots {
    Float(Tensor<4>),
    Int8 {
        codes: Tensor<4, Int>,
        scales: Tensor<4>,
        d_head: usize,
    },
    /// Moved out while a tensor is written to, so that it has a single owner.
    Taken,
}

impl LayerCache {
    /// Allocates storage for keys and values of a shape.
    pub fn new(dtype: KvCacheDType, shape: [usize; 4], device: &Device) -> Self {
        let slots = || Slots::zeros(dtype, shape, device);
        Self {
            keys: slots(),
            values: slots(),
        }
    }

    /// Returns the bytes of keys and values, including unused capacity.
    pub fn num_bytes(&self) -> usize {
        self.keys.num_bytes() + self.values.num_bytes()
    }

    /// Stores keys and values from position `start` on, and returns all up to them.
    pub fn append(&mut self, start: usize, next: KeyValues) -> KeyValues {
        let len = start + next.positions();
        self.write(start, next);
        KeyValues::new(self.keys.read(len), self.values.read(len))
    }

    /// Stores keys and values from position `start` on.
    ///
    /// The stored values have no gradient: otherwise the graphs of all tokens would stay in memory.
    pub fn write(&mut self, start: usize, next: KeyValues) {
        self.keys.write(start, next.key.without_autodiff());
        self.values.write(start, next.value.without_autodiff());
    }
}

impl Slots {
    fn zeros(dtype: KvCacheDType, shape: [usize; 4], device: &Device) -> Self {
        let [batch, heads, positions, d_head] = shape;
        match dtype {
            KvCacheDType::F32 => Self::Float(Tensor::zeros(shape, (device, DType::F32))),
            KvCacheDType::F16 => Self::Float(Tensor::zeros(shape, (device, DType::F16))),
            KvCacheDType::Int8 => Self::Int8 {
                codes: Tensor::zeros(
                    [batch, heads, positions, code_words_per_row(d_head)],
                    (device, DType::U32),
                ),
                scales: Tensor::ones([batch, heads, positions, 1], (device, DType::F32)),
                d_head,
            },
        }
    }

    fn write(&mut self, start: usize, x: Tensor<4>) {
        let [batch, heads, positions, d_head] = x.dims();
        let at = s![.., .., start..start + positions, ..];
        *self = match std::mem::replace(self, Self::Taken) {
            Self::Float(slots) => {
                let x = x.cast(slots.dtype());
                Self::Float(slots.slice_assign(at, x))
            }
            Self::Int8 {
                codes,
                scales,
                d_head: _,
            } => {
                let rows = batch * heads * positions;
                let (new, new_scales) = absmax_quantize(x.reshape([rows, d_head]), 8);
                let words = new.dims()[1];
                let new = new.reshape([batch, heads, positions, words]);
                let new_scales = new_scales.reshape([batch, heads, positions, 1]);
                Self::Int8 {
                    codes: codes.slice_assign(at, new),
                    scales: scales.slice_assign(at, new_scales),
                    d_head,
                }
            }
            Self::Taken => unreachable!("a write puts back what it took"),
        };
    }

    /// Returns the first `len` positions, in their storage type or in `f32`.
    fn read(&self, len: usize) -> Tensor<4> {
        match self {
            Self::Float(slots) => slots.clone().narrow(2, 0, len),
            Self::Int8 {
                codes,
                scales,
                d_head,
            } => {
                let [batch, heads, _, words] = codes.dims();
                let rows = batch * heads * len;
                let codes = codes.clone().narrow(2, 0, len).reshape([rows, words]);
                let scales = scales.clone().narrow(2, 0, len).reshape([rows, 1]);
                absmax_dequantize(codes, scales, *d_head, burn::tensor::FloatDType::F32)
                    .reshape([batch, heads, len, *d_head])
            }
            Self::Taken => unreachable!("a write puts back what it took"),
        }
    }

    fn num_bytes(&self) -> usize {
        match self {
            Self::Float(slots) => slots.shape().num_elements() * slots.dtype().size(),
            Self::Int8 { codes, scales, .. } => {
                4 * (codes.shape().num_elements() + scales.shape().num_elements())
            }
            Self::Taken => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_graph_of_a_model_that_trains_is_not_kept() {
        let device = Device::default();
        for dtype in [KvCacheDType::F32, KvCacheDType::Int8] {
            let mut cache = LayerCache::new(dtype, [1, 1, 4, 16], &device);
            let x = Tensor::ones([1, 1, 2, 16], &device.clone().autodiff()).require_grad();
            let all = cache.append(1, KeyValues::new(x.clone(), x.clone() * 2.0));
            let grads = (x.clone().sum() + all.key.sum() + all.value.sum()).backward();
            let grad = x.grad(&grads).unwrap().into_data();
            assert_eq!(grad.try_to_vec::<f32>().unwrap(), [1.0; 32], "{dtype:?}");
        }
    }
}
