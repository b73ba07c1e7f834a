//! Stochastic rounding to bf16 on slices.

use bitnet_burn_kernels::reference::{random_bits, stochastic_round_bf16};
use half::bf16;

use super::slices::{PARALLEL_CHUNK, map_chunks};

pub(super) fn stochastic_round(values: &[f32], seed: u32) -> Vec<bf16> {
    // SAFETY: every output is written.
    unsafe {
        map_chunks(values, PARALLEL_CHUNK, |start, values, output| {
            for ((i, &value), output) in (start as u32..).zip(values).zip(output) {
                output.write(stochastic_round_bf16(value, random_bits(seed, i)));
            }
        })
    }
}
