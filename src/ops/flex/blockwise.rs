//! Block-wise quantization, and AdamW on quantized states in one pass over the memory.

use std::{mem::MaybeUninit, sync::LazyLock};

use bitnet_burn_kernels::{BLOCK, DynamicMap};
use burn::backend::{Flex, Shape, TensorMetadata, tensor::FloatTensor};
use rayon::prelude::*;

use super::{
    quantizer::max_magnitude,
    slices::{PARALLEL_CHUNK, filled, vectorized},
    values::{Values, from_values_like, tensor},
};
use crate::ops::{AdamWStep, BlockwiseCodes};

/// Codes in a word.
const CODES: usize = 4;

/// Words and blocks of [`PARALLEL_CHUNK`] values.
const CHUNK_WORDS: usize = PARALLEL_CHUNK / CODES;
const CHUNK_BLOCKS: usize = PARALLEL_CHUNK / BLOCK;

/// Table of codes by the upper half of the bits of a value. The table has the code of the lowest of the
/// values that share them, and at most one threshold lies among these values.
struct Encoder {
    lowest: Box<[u8; 1 << 16]>,
    thresholds: &'static [f32; 256],
}

static SIGNED: LazyLock<Encoder> = LazyLock::new(|| Encoder::new(DynamicMap::Signed));
static UNSIGNED: LazyLock<Encoder> = LazyLock::new(|| Encoder::new(DynamicMap::Unsigned));

impl Encoder {
    fn of(map: DynamicMap) -> &'static Self {
        match map {
            DynamicMap::Signed => &SIGNED,
            DynamicMap::Unsigned => &UNSIGNED,
        }
    }

    fn new(map: DynamicMap) -> Self {
        let lowest = |upper: u32| {
            let value = f32::from_bits(upper << 16);
            match value.is_sign_negative() {
                true => f32::from_bits(upper << 16 | 0xffff),
                false => value,
            }
        };
        let codes: Box<[u8]> = (0..1 << 16).map(|upper| map.code(lowest(upper))).collect();
        Self {
            lowest: codes.try_into().expect("one for each upper half"),
            thresholds: map.thresholds(),
        }
    }

    #[inline(always)]
    fn code(&self, x: f32) -> u8 {
        let lowest = self.lowest[(x.to_bits() >> 16) as usize];
        // The last threshold is infinite.
        lowest.wrapping_add(u8::from(self.thresholds[lowest as usize] < x))
    }

    /// Writes the codes of a block and returns its absolute maximum.
    #[inline(always)]
    fn encode(&self, values: &[f32], words: &mut [u32]) -> f32 {
        let absmax = max_magnitude(values);
        let inverse = 1.0 / absmax;
        let code = |v: f32| self.code(v * inverse);
        let (full, rest) = values.as_chunks::<CODES>();
        let (full_words, rest_word) = words.split_at_mut(full.len());
        for (word, values) in full_words.iter_mut().zip(full) {
            *word = u32::from_le_bytes(values.map(code));
        }
        if let [word] = rest_word {
            let mut codes = [0; CODES];
            for (c, &v) in codes.iter_mut().zip(rest) {
                *c = code(v);
            }
            *word = u32::from_le_bytes(codes);
        }
        absmax
    }
}

/// Writes the values of the codes of a block.
#[inline(always)]
fn decode<'a>(
    words: &[u32],
    absmax: f32,
    map: &[f32; 256],
    values: &'a mut [MaybeUninit<f32>],
) -> &'a mut [f32] {
    let value = |code: u8| map[code as usize] * absmax;
    let (full, rest) = values.as_chunks_mut::<CODES>();
    let (full_words, rest_word) = words.split_at(full.len());
    for (values, word) in full.iter_mut().zip(full_words) {
        values.write_copy_of_slice(&word.to_le_bytes().map(value));
    }
    if let [word] = rest_word {
        for (v, code) in rest.iter_mut().zip(word.to_le_bytes()) {
            v.write(value(code));
        }
    }
    // SAFETY: the values of all words and the rest are written.
    unsafe { values.assume_init_mut() }
}

impl BlockwiseCodes<Flex> {
    fn from_values(words: Vec<u32>, absmax: Vec<f32>) -> Self {
        let [words_shape, absmax_shape] = [words.len(), absmax.len()].map(|n| Shape::new([n]));
        Self {
            words: tensor(words, words_shape),
            absmax: tensor(absmax, absmax_shape),
        }
    }

    fn contiguous(self) -> Self {
        Self {
            words: self.words.to_contiguous(),
            absmax: self.absmax.to_contiguous(),
        }
    }

    /// Returns the words and maxima of contiguous codes of `n` values.
    fn slices(&self, n: usize) -> (&[u32], &[f32]) {
        let (words, absmax) = (self.words.storage::<u32>(), self.absmax.storage::<f32>());
        assert!(words.len() >= n.div_ceil(CODES) && absmax.len() >= n.div_ceil(BLOCK));
        (words, absmax)
    }
}

pub(super) fn blockwise_quantize(values: &[f32], map: DynamicMap) -> BlockwiseCodes<Flex> {
    let encoder = Encoder::of(map);
    let mut words = vec![0u32; values.len().div_ceil(CODES)];
    let mut absmax = vec![0f32; values.len().div_ceil(BLOCK)];
    (
        values.par_chunks(PARALLEL_CHUNK),
        words.par_chunks_mut(CHUNK_WORDS),
        absmax.par_chunks_mut(CHUNK_BLOCKS),
    )
        .into_par_iter()
        .for_each(|(values, words, absmax)| {
            let words = words.chunks_mut(BLOCK / CODES);
            for ((values, words), absmax) in values.chunks(BLOCK).zip(words).zip(absmax) {
                *absmax = vectorized(|| encoder.encode(values, words));
            }
        });
    BlockwiseCodes::from_values(words, absmax)
}

pub(super) fn blockwise_dequantize(
    codes: BlockwiseCodes<Flex>,
    map: DynamicMap,
    n: usize,
) -> FloatTensor<Flex> {
    let codes = codes.contiguous();
    let (words, absmax) = codes.slices(n);
    let map = map.values();
    let fill = |values: &mut [MaybeUninit<f32>]| {
        (
            values.par_chunks_mut(PARALLEL_CHUNK),
            words.par_chunks(CHUNK_WORDS),
            absmax.par_chunks(CHUNK_BLOCKS),
        )
            .into_par_iter()
            .for_each(|(values, words, absmax)| {
                let words = words.chunks(BLOCK / CODES);
                let blocks = values.chunks_mut(BLOCK).zip(words).zip(absmax);
                for ((values, words), &absmax) in blocks {
                    decode(words, absmax, map, values);
                }
            });
    };
    // SAFETY: every value of every block is written, since all have codes.
    tensor(unsafe { filled(n, fill) }, Shape::new([n]))
}

/// Blocks of a parameter and its gradient, and the words and absolute maxima of both moments.
struct StepBlocks<'a> {
    param: &'a [f32],
    grad: &'a [f32],
    moments: [(&'a [u32], &'a [f32]); 2],
    stepped: &'a mut [MaybeUninit<f32>],
    stepped_moments: [(&'a mut [u32], &'a mut [f32]); 2],
    step: &'a AdamWStep,
}

impl pulp::NullaryFnOnce for StepBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [signed, unsigned] = [DynamicMap::Signed, DynamicMap::Unsigned];
        let [(words_1, max_1), (words_2, max_2)] = self.moments;
        let [
            (stepped_words_1, stepped_max_1),
            (stepped_words_2, stepped_max_2),
        ] = self.stepped_moments;
        let mut buffers = [[MaybeUninit::uninit(); BLOCK]; 2];
        for (block, param) in self.stepped.chunks_mut(BLOCK).enumerate() {
            let n = param.len();
            let values = block * BLOCK..block * BLOCK + n;
            let words = values.start / CODES..values.end.div_ceil(CODES);
            let [buffer_1, buffer_2] = &mut buffers;
            let codes = &words_1[words.clone()];
            let moment_1 = decode(codes, max_1[block], signed.values(), &mut buffer_1[..n]);
            let codes = &words_2[words.clone()];
            let moment_2 = decode(codes, max_2[block], unsigned.values(), &mut buffer_2[..n]);

            let param = param.write_copy_of_slice(&self.param[values.clone()]);
            update(param, &self.grad[values], moment_1, moment_2, self.step);

            let codes = &mut stepped_words_1[words.clone()];
            stepped_max_1[block] = Encoder::of(signed).encode(moment_1, codes);
            let codes = &mut stepped_words_2[words];
            stepped_max_2[block] = Encoder::of(unsigned).encode(moment_2, codes);
        }
    }
}

/// Applies the step of AdamW to `f32` values, in the order of PyTorch's operations.
#[inline(always)]
fn update(
    param: &mut [f32],
    grad: &[f32],
    moment_1: &mut [f32],
    moment_2: &mut [f32],
    step: &AdamWStep,
) {
    let moments = moment_1.iter_mut().zip(moment_2);
    for ((p, &g), (m, v)) in param.iter_mut().zip(grad).zip(moments) {
        *m = step.beta_1 * *m + step.one_minus_beta_1 * g;
        *v = step.beta_2 * *v + step.one_minus_beta_2 * g * g;
        let denominator = v.sqrt() / step.bias_correction_2 + step.epsilon;
        *p = step.decay * *p - step.step_size * *m / denominator;
    }
}

pub(super) fn adamw_8bit(
    param: FloatTensor<Flex>,
    grad: FloatTensor<Flex>,
    moments: [BlockwiseCodes<Flex>; 2],
    step: AdamWStep,
) -> (
    FloatTensor<Flex>,
    BlockwiseCodes<Flex>,
    BlockwiseCodes<Flex>,
) {
    let n = param.shape().num_elements();
    assert!(grad.shape().num_elements() == n);
    let moments = moments.map(BlockwiseCodes::contiguous);
    let [(codes_1, absmax_1), (codes_2, absmax_2)] = moments.each_ref().map(|m| m.slices(n));
    assert!([codes_1.len(), codes_2.len()] == [n.div_ceil(CODES); 2]);
    assert!([absmax_1.len(), absmax_2.len()] == [n.div_ceil(BLOCK); 2]);
    let empty = || (vec![0u32; codes_1.len()], vec![0f32; absmax_1.len()]);
    let (mut words_1, mut max_1) = empty();
    let (mut words_2, mut max_2) = empty();
    let (before, grad) = (Values::of(&param), Values::of(&grad));
    let fill = |stepped: &mut [MaybeUninit<f32>]| {
        let before = (
            before.par_chunks(PARALLEL_CHUNK),
            grad.par_chunks(PARALLEL_CHUNK),
            codes_1.par_chunks(CHUNK_WORDS),
            absmax_1.par_chunks(CHUNK_BLOCKS),
            codes_2.par_chunks(CHUNK_WORDS),
            absmax_2.par_chunks(CHUNK_BLOCKS),
        );
        let after = (
            stepped.par_chunks_mut(PARALLEL_CHUNK),
            words_1.par_chunks_mut(CHUNK_WORDS),
            max_1.par_chunks_mut(CHUNK_BLOCKS),
            words_2.par_chunks_mut(CHUNK_WORDS),
            max_2.par_chunks_mut(CHUNK_BLOCKS),
        );
        let chunks = before.into_par_iter().zip(after.into_par_iter());
        chunks.for_each(
            |((param, grad, c1, a1, c2, a2), (stepped, w1, m1, w2, m2))| {
                vectorized(StepBlocks {
                    param,
                    grad,
                    moments: [(c1, a1), (c2, a2)],
                    stepped,
                    stepped_moments: [(w1, m1), (w2, m2)],
                    step: &step,
                });
            },
        );
    };
    // SAFETY: every value of every block is written, since all have gradients and codes.
    let stepped = unsafe { filled(n, fill) };
    (
        from_values_like(stepped, &param),
        BlockwiseCodes::from_values(words_1, max_1),
        BlockwiseCodes::from_values(words_2, max_2),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ops::composed;

    #[test]
    fn the_encoder_finds_the_code_of_every_value() {
        for map in [DynamicMap::Signed, DynamicMap::Unsigned] {
            let encoder = Encoder::of(map);
            // Every 257th number: all upper halves of the bits, with 255 lower halves each.
            for bits in (0..=u32::MAX).step_by(257) {
                let x = f32::from_bits(bits);
                if x.is_nan() || x.abs() > 1.0 {
                    continue;
                }
                assert_eq!(encoder.code(x), map.code(x), "{map:?} {x}");
            }
            for &threshold in &map.thresholds()[..255] {
                for x in [threshold.next_down(), threshold, threshold.next_up()] {
                    assert_eq!(encoder.code(x), map.code(x), "{map:?} {x}");
                }
            }
            assert_eq!(encoder.code(f32::NAN), 0);
        }
    }

    fn bits(values: &FloatTensor<Flex>) -> Vec<u32> {
        Values::of(values).iter().map(|v| v.to_bits()).collect()
    }

    fn assert_same(codes: &BlockwiseCodes<Flex>, other: &BlockwiseCodes<Flex>) {
        assert_eq!(codes.words.storage::<u32>(), other.words.storage::<u32>());
        assert_eq!(bits(&codes.absmax), bits(&other.absmax));
    }

    #[test]
    fn one_pass_equals_the_chain_of_operations() {
        // Enough for several threads, with an incomplete block and word.
        let n = 3 * PARALLEL_CHUNK + 301;
        let flat = |f: &dyn Fn(usize) -> f32| tensor((0..n).map(f).collect(), Shape::new([n]));
        let param = flat(&|i| (i as f32 * 0.37).sin());
        let grad = flat(&|i| (i as f32 * 0.11).cos() * 10f32.powi(i as i32 / 200 % 9 - 6));
        let step = AdamWStep {
            beta_1: 0.9,
            one_minus_beta_1: 0.1,
            beta_2: 0.95,
            one_minus_beta_2: 0.05,
            decay: 0.999,
            step_size: 1e-2,
            bias_correction_2: 0.3,
            epsilon: 1e-8,
        };
        let quantized = |values: FloatTensor<Flex>, map| {
            let codes = blockwise_quantize(&Values::of(&values), map);
            let other = composed::blockwise_quantize::<Flex>(values, map);
            assert_same(&codes, &other);
            let values = blockwise_dequantize(codes.clone(), map, n);
            let others = composed::blockwise_dequantize::<Flex>(other, map, n);
            assert_eq!(bits(&values), bits(&others));
            codes
        };
        let moment_1 = quantized(grad.clone(), DynamicMap::Signed);
        let squares = flat(&|i| ((i as f32 * 0.11).cos() * 1e-2).powi(2));
        let moment_2 = quantized(squares, DynamicMap::Unsigned);

        let moments = [moment_1, moment_2];
        let (other, other_1, other_2) =
            composed::adamw_8bit::<Flex>(param.clone(), grad.clone(), moments.clone(), step);
        let (stepped, stepped_1, stepped_2) = adamw_8bit(param, grad, moments, step);
        assert_eq!(bits(&stepped), bits(&other));
        assert_same(&stepped_1, &other_1);
        assert_same(&stepped_2, &other_2);
    }
}
