//! Stochastic rounding to `bf16`.

use cubecl::{client::Client, prelude::*, server::Handle};
use half::bf16;

use super::launch::{buffer, elementwise, index};

/// Returns the bits of [`random_bits`](crate::reference::random_bits).
#[cube]
fn random_bits(seed: u32, index: u32) -> u32 {
    let mut x = index * 0x9e37_79b9u32 + seed;
    x = (x ^ (x >> 16u32)) * 0x7feb_352du32;
    x = (x ^ (x >> 15u32)) * 0x846c_a68bu32;
    x ^ (x >> 16u32)
}

/// Each unit rounds one value. `F` is `bf16`, which holds all numbers whose lower bits are zero.
#[cube(launch_unchecked)]
pub(super) fn round_stochastically<F: Float>(
    values: &[f32],
    output: &mut [F],
    seed: u32,
    length: u32,
    #[define(F)] _dtype: ElemType,
) {
    let position = ABSOLUTE_POS;
    if position >= length as usize {
        terminate!();
    }
    let bits = u32::reinterpret(values[position]);
    let random = random_bits(seed, position as u32) & 0xffffu32;
    let infinity = 0x7f80_0000u32;
    let finite = (bits & infinity) != infinity;
    let rounded = select(finite, (bits + random) & 0xffff_0000u32, bits);
    output[position] = F::cast_from(f32::reinterpret(rounded));
}

/// Rounds `f32` values to one of the two nearest of `bf16`, each with the probability of its nearness.
///
/// # Shapes
///
/// - values: `n` values `f32`
/// - output: `n` values `bf16`
pub fn stochastic_round(client: &Client, values: &Handle, output: &Handle, n: usize, seed: u32) {
    if n == 0 {
        return;
    }
    let (cube_count, cube_dim) = elementwise(client, n);
    // SAFETY: units beyond `n` stop.
    unsafe {
        round_stochastically::launch_unchecked(
            client,
            cube_count,
            cube_dim,
            buffer(values, n),
            buffer(output, n),
            seed,
            index(n),
            bf16::elem_type_native(),
        );
    }
}
