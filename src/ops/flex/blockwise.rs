//! Block-wise quantization, and AdamW on quantized states in one pass over the memory.

use std::{mem::MaybeUninit, sync::LazyLock};

use bitnet_burn_kernels::{BLOCK, DynamicMap};
use burn::backend::{
    Flex, Shape, TensorMetadata,
    tensor::{FloatTensor, IntTensor},
};
use rayon::prelude::*;

use super::{
    quantizer::max_magnitude,
    slices::{PARALLEL_CHUNK, filled, vectorized},
    values::{from_values, tensor, with_values},
};
use crate::ops::AdamWStep;

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

pub(super) fn blockwise_quantize(
    values: FloatTensor<Flex>,
    map: DynamicMap,
) -> (IntTensor<Flex>, FloatTensor<Flex>) {
    let encoder = Encoder::of(map);
    with_values(&values, |values| {
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
        let shapes = [words.len(), absmax.len()].map(|n| Shape::new([n]));
        let [words_shape, absmax_shape] = shapes;
        (tensor(words, words_shape), tensor(absmax, absmax_shape))
    })
}

pub(super) fn blockwise_dequantize(
    codes: IntTensor<Flex>,
    absmax: FloatTensor<Flex>,
    map: DynamicMap,
    n: usize,
) -> FloatTensor<Flex> {
    let codes = codes.to_contiguous();
    let map = map.values();
    let fill = |values: &mut [MaybeUninit<f32>]| {
        with_values(&absmax, |absmax| {
            (
                values.par_chunks_mut(PARALLEL_CHUNK),
                codes.storage::<u32>().par_chunks(CHUNK_WORDS),
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
        });
    };
    let [words, blocks] = [n.div_ceil(CODES), n.div_ceil(BLOCK)];
    assert!(codes.shape().num_elements() >= words && absmax.shape().num_elements() >= blocks);
    // SAFETY: every value of every block is written, since all have codes.
    tensor(unsafe { filled(n, fill) }, Shape::new([n]))
}

/// Blocks of a parameter and its gradient, with the codes and absolute maxima of the moments.
struct Blocks<'a> {
    param: &'a [f32],
    grad: &'a [f32],
    moment_1: (&'a [u32], &'a [f32]),
    moment_2: (&'a [u32], &'a [f32]),
}

/// Outputs of a step for some blocks.
struct StepBlocks<'a> {
    before: Blocks<'a>,
    param: &'a mut [MaybeUninit<f32>],
    moment_1: (&'a mut [u32], &'a mut [f32]),
    moment_2: (&'a mut [u32], &'a mut [f32]),
    step: &'a AdamWStep,
}

impl pulp::NullaryFnOnce for StepBlocks<'_> {
    type Output = ();

    #[inline(always)]
    fn call(self) {
        let [signed, unsigned] = [DynamicMap::Signed, DynamicMap::Unsigned];
        let mut moments = [[MaybeUninit::uninit(); BLOCK]; 2];
        for (block, param) in self.param.chunks_mut(BLOCK).enumerate() {
            let values = block * BLOCK..block * BLOCK + param.len();
            let words = values.start / CODES..values.end.div_ceil(CODES);
            let [moment_1, moment_2] = &mut moments;
            let (codes, absmax) = self.before.moment_1;
            let moment_1 = decode(
                &codes[words.clone()],
                absmax[block],
                signed.values(),
                &mut moment_1[..param.len()],
            );
            let (codes, absmax) = self.before.moment_2;
            let moment_2 = decode(
                &codes[words.clone()],
                absmax[block],
                unsigned.values(),
                &mut moment_2[..param.len()],
            );

            let param = param.write_copy_of_slice(&self.before.param[values.clone()]);
            update(
                param,
                &self.before.grad[values],
                moment_1,
                moment_2,
                self.step,
            );

            let codes = &mut self.moment_1.0[words.clone()];
            self.moment_1.1[block] = Encoder::of(signed).encode(moment_1, codes);
            let codes = &mut self.moment_2.0[words];
            self.moment_2.1[block] = Encoder::of(unsigned).encode(moment_2, codes);
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
        *m = step.beta_1 * *m + step.rest_1 * g;
        *v = step.beta_2 * *v + step.rest_2 * g * g;
        let denominator = v.sqrt() / step.correction_2 + step.epsilon;
        *p = step.decay * *p - step.step_size * *m / denominator;
    }
}

/// Codes and absolute maxima of a moment.
pub(super) struct Moment {
    pub codes: IntTensor<Flex>,
    pub absmax: FloatTensor<Flex>,
}

impl Moment {
    fn contiguous(self) -> Self {
        Self {
            codes: self.codes.to_contiguous(),
            absmax: self.absmax.to_contiguous(),
        }
    }

    fn slices(&self) -> (&[u32], &[f32]) {
        (self.codes.storage::<u32>(), self.absmax.storage::<f32>())
    }

    fn from_values((words, absmax): (Vec<u32>, Vec<f32>)) -> Self {
        let [words_shape, absmax_shape] = [words.len(), absmax.len()].map(|n| Shape::new([n]));
        Self {
            codes: tensor(words, words_shape),
            absmax: tensor(absmax, absmax_shape),
        }
    }
}

pub(super) fn adamw_8bit(
    param: FloatTensor<Flex>,
    grad: FloatTensor<Flex>,
    moments: [Moment; 2],
    step: AdamWStep,
) -> (FloatTensor<Flex>, [Moment; 2]) {
    let n = param.shape().num_elements();
    let moments = moments.map(Moment::contiguous);
    let [(codes_1, absmax_1), (codes_2, absmax_2)] = moments.each_ref().map(Moment::slices);
    let [words, blocks] = [n.div_ceil(CODES), n.div_ceil(BLOCK)];
    assert!(grad.shape().num_elements() == n);
    assert!([codes_1.len(), codes_2.len()] == [words; 2]);
    assert!([absmax_1.len(), absmax_2.len()] == [blocks; 2]);
    let empty = || (vec![0u32; codes_1.len()], vec![0f32; absmax_1.len()]);
    let (mut words_1, mut max_1) = empty();
    let (mut words_2, mut max_2) = empty();
    let mut fill = |stepped: &mut [MaybeUninit<f32>], param: &[f32], grad: &[f32]| {
        let before = (
            param.par_chunks(PARALLEL_CHUNK),
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
                let before = Blocks {
                    param,
                    grad,
                    moment_1: (c1, a1),
                    moment_2: (c2, a2),
                };
                vectorized(StepBlocks {
                    before,
                    param: stepped,
                    moment_1: (w1, m1),
                    moment_2: (w2, m2),
                    step: &step,
                });
            },
        );
    };
    let stepped = with_values(&param, |param| {
        with_values(&grad, |grad| {
            // SAFETY: every value of every block is written, since all have gradients and codes.
            unsafe { filled(n, |stepped| fill(stepped, param, grad)) }
        })
    });
    let moments = [(words_1, max_1), (words_2, max_2)].map(Moment::from_values);
    (from_values(stepped, param.shape(), param.dtype()), moments)
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

    fn values_of<const N: usize>(tensors: [&FloatTensor<Flex>; N]) -> [Vec<u32>; N] {
        let bits = |v: &f32| v.to_bits();
        tensors.map(|t| with_values(t, |values| values.iter().map(bits).collect()))
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
            rest_1: 0.1,
            beta_2: 0.95,
            rest_2: 0.05,
            decay: 0.999,
            step_size: 1e-2,
            correction_2: 0.3,
            epsilon: 1e-8,
        };
        let quantized = |values: FloatTensor<Flex>, map| {
            let (codes, absmax) = blockwise_quantize(values.clone(), map);
            let (other, other_absmax) = composed::blockwise_quantize::<Flex>(values, map);
            assert_eq!(codes.storage::<u32>(), other.storage::<u32>());
            let [absmax_bits, other_bits] = values_of([&absmax, &other_absmax]);
            assert_eq!(absmax_bits, other_bits);
            let values = blockwise_dequantize(codes.clone(), absmax.clone(), map, n);
            let absmax_2 = absmax.clone();
            let others = composed::blockwise_dequantize::<Flex>(other, absmax_2, map, n);
            let [values, others] = values_of([&values, &others]);
            assert_eq!(values, others);
            Moment { codes, absmax }
        };
        let moment_1 = quantized(grad.clone(), DynamicMap::Signed);
        let squares = flat(&|i| ((i as f32 * 0.11).cos() * 1e-2).powi(2));
        let moment_2 = quantized(squares, DynamicMap::Unsigned);

        let (other, c1, a1, c2, a2) = composed::adamw_8bit::<Flex>(
            param.clone(),
            grad.clone(),
            moment_1.codes.clone(),
            moment_1.absmax.clone(),
            moment_2.codes.clone(),
            moment_2.absmax.clone(),
            step,
        );
        let (stepped, [m1, m2]) = adamw_8bit(param, grad, [moment_1, moment_2], step);
        assert_eq!(values_of([&stepped]), values_of([&other]));
        assert_eq!(values_of([&m1.absmax, &m2.absmax]), values_of([&a1, &a2]));
        assert_eq!(m1.codes.storage::<u32>(), c1.storage::<u32>());
        assert_eq!(m2.codes.storage::<u32>(), c2.storage::<u32>());
    }
}
