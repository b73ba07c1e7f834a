use bitnet_burn_kernels::packing::code_words_per_row;
use burn::{
    config::Config,
    tensor::{DType, Device, Int, Tensor, s},
};
use serde::{Deserialize, Serialize};

use super::{BitNetLm, Projection};
use crate::functions::{absmax_dequantize, absmax_quantize};

/// How a [`KvCache`] keeps keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvCacheDType {
    /// As they are, 4 bytes.
    #[default]
    F32,
    /// Rounded to half precision, 2 bytes; for devices that have it.
    F16,
    /// Codes of 8 bits with one scale for each head of a position, about 1 byte; see
    /// [`absmax_quantize`].
    Int8,
}

/// Configuration of a [`KvCache`].
#[derive(Config, Debug)]
pub struct KvCacheConfig {
    /// Sequences that are decoded side by side.
    pub batch_size: usize,
    /// Positions that there is room for.
    pub max_positions: usize,
    /// How keys and values are kept.
    #[config(default = "KvCacheDType::F32")]
    pub dtype: KvCacheDType,
}

/// Keys and values of the positions that a [`BitNetLm`] has read, so that
/// [`decode`](BitNetLm::decode) computes the new ones alone.
///
/// Its room is allocated at once. It is for inference: no gradient passes through it, also where the
/// model has them. What does not change the past, such as decoding another answer to
/// the same prompt, can go back with [`truncate`](Self::truncate).
///
/// # Example
///
/// ```
/// use bitnet_burn::nn::{BitNetLmConfig, KvCacheConfig, BitNetLm};
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let lm: BitNetLm = BitNetLmConfig::new(256, 32, 2, 4, 64).init(&device);
/// let lm = lm.pack();
/// let mut cache = KvCacheConfig::new(1, 64).init(&lm);
///
/// let prompt = Tensor::<2, Int>::from_ints([[72, 101, 108]], &device);
/// let mut logits = lm.decode(prompt, &mut cache);
/// for _ in 0..5 {
///     let next = logits.argmax(1);
///     logits = lm.decode(next, &mut cache);
/// }
/// assert_eq!(cache.len(), 8);
/// ```
#[derive(Debug, Clone)]
pub struct KvCache {
    layers: Vec<LayerCache>,
    batch_size: usize,
    max_positions: usize,
    len: usize,
}

/// Keys and values of one layer, `[batch, heads, max_positions, d_head]` each.
#[derive(Debug, Clone)]
pub(super) struct LayerCache {
    keys: Slots,
    values: Slots,
}

/// Room for one head vector of each position.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "two for each layer")]
enum Slots {
    Float(Tensor<4>),
    Int8 {
        codes: Tensor<4, Int>,
        scales: Tensor<4>,
        d_head: usize,
    },
    /// While a tensor is written to, so that nobody else holds it.
    Taken,
}

impl KvCacheConfig {
    /// An empty cache for a model, on its device.
    ///
    /// # Panics
    ///
    /// If there is room for no sequence or more positions than the model has.
    #[track_caller]
    pub fn init<P: Projection>(&self, lm: &BitNetLm<P>) -> KvCache {
        let max_positions = lm.model.rotary.max_positions();
        assert!(
            self.batch_size > 0 && (1..=max_positions).contains(&self.max_positions),
            "a cache has at least one sequence and 1 to {max_positions} positions, got {} and {}",
            self.batch_size,
            self.max_positions
        );
        let device = lm.model.embed_tokens.weight.val().device().inner();
        let layers = lm.model.layers.iter().map(|layer| {
            let [n_kv_heads, d_head] = layer.self_attn.key_shape();
            let shape = [self.batch_size, n_kv_heads, self.max_positions, d_head];
            let slots = || Slots::zeros(self.dtype, shape, &device);
            LayerCache {
                keys: slots(),
                values: slots(),
            }
        });
        KvCache {
            layers: layers.collect(),
            batch_size: self.batch_size,
            max_positions: self.max_positions,
            len: 0,
        }
    }
}

impl KvCache {
    /// Number of positions read.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing was read yet.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Number of positions that there is room for.
    pub fn max_positions(&self) -> usize {
        self.max_positions
    }

    /// Forgets all positions but the first `len`.
    pub fn truncate(&mut self, len: usize) {
        self.len = self.len.min(len);
    }

    /// Bytes of keys and values, with the room that is not used yet.
    pub fn num_bytes(&self) -> usize {
        let slots = self.layers.iter().flat_map(|l| [&l.keys, &l.values]);
        slots.map(Slots::num_bytes).sum()
    }

    /// The caches of the layers, for `positions` more of each of `batch_size` sequences.
    ///
    /// # Panics
    ///
    /// If there is no room for them.
    #[track_caller]
    pub(super) fn layers(
        &mut self,
        batch_size: usize,
        positions: usize,
    ) -> impl Iterator<Item = &mut LayerCache> {
        assert!(
            batch_size == self.batch_size && self.len + positions <= self.max_positions,
            "a cache of {} sequences of {} positions, {} of them taken, has no room for {positions} \
             more of {batch_size}",
            self.batch_size,
            self.max_positions,
            self.len
        );
        self.layers.iter_mut()
    }

    /// Counts positions that every layer has appended.
    pub(super) fn advance(&mut self, positions: usize) {
        self.len += positions;
    }
}

impl LayerCache {
    /// Puts keys and values from position `start` and gives all up to them back.
    ///
    /// What is kept has no gradient: the graphs of all tokens would stay in memory with it.
    pub fn append(&mut self, start: usize, key: Tensor<4>, value: Tensor<4>) -> [Tensor<4>; 2] {
        let len = start + key.dims()[2];
        self.keys.write(start, key.without_autodiff());
        self.values.write(start, value.without_autodiff());
        [&self.keys, &self.values].map(|slots| slots.read(len))
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

    /// The first `len` positions, as they are kept, or in `f32`.
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
            let slots = || Slots::zeros(dtype, [1, 1, 4, 16], &device);
            let mut cache = LayerCache {
                keys: slots(),
                values: slots(),
            };
            let x = Tensor::ones([1, 1, 2, 16], &device.clone().autodiff()).require_grad();
            let [keys, values] = cache.append(1, x.clone(), x.clone() * 2.0);
            let grads = (x.clone().sum() + keys.sum() + values.sum()).backward();
            let grad = x.grad(&grads).unwrap().into_data();
            assert_eq!(grad.try_to_vec::<f32>().unwrap(), [1.0; 32], "{dtype:?}");
        }
    }
}
