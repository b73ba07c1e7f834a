//! Products of int8 activations with ternary weights, in integers.
//!
//! A weight is stored with 2 bits per value and unpacked in registers as `t + 1` in {0, 1, 2}, for
//! instructions that multiply unsigned with signed bytes:
//! `sum_k x_k t_k = sum_k x_k (t_k + 1) - sum_k x_k`. Sums are exact, so that results do not depend on the
//! number of threads or the instructions.
//!
//! There are two kernels: [`Panels`] stores sixteen output features side by side, for many tokens. [`dot`]
//! reads the rows of a packed weight as stored, for few tokens.

mod dot;
mod instructions;
mod panels;
mod quantize;
mod rows;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(any(target_arch = "aarch64", test))]
mod neon;
#[cfg(all(test, not(target_arch = "aarch64")))]
mod neon_scalar;
mod portable;

#[cfg(test)]
mod tests;

pub(super) use dot::packed_product;
pub(super) use panels::Panels;
pub(super) use quantize::{dequantize, quantize};
pub(super) use rows::Rows;

use std::mem::MaybeUninit;

use instructions::Instructions;

/// Output features of a panel.
const COLUMNS: usize = 16;

/// Number of panels that are multiplied at a time.
const PANELS: usize = 2;

/// Number of input features whose codes are in one word of each column.
const DEPTH: usize = 16;

/// Number of integer products above which a second thread is used.
const PARALLEL_PRODUCTS: usize = 1 << 21;

/// Factors of the integer sums, and the bias.
#[derive(Clone, Copy)]
pub(super) struct Output<'a> {
    /// Scale of the codes of each token.
    pub scales: &'a [f32],
    /// One scale for all output features, or one for each.
    pub weight_scales: &'a [f32],
    /// Bias of each output feature, or empty.
    pub bias: &'a [f32],
}

impl Output<'_> {
    /// Writes `sum * (weight_scale * scale) + bias` for neighboring output features of a token.
    #[inline(always)]
    fn write(
        &self,
        token: usize,
        first: usize,
        sums: &[i32],
        total: i32,
        output: &mut [MaybeUninit<f32>],
    ) {
        let scale = self.scales[token];
        let scaled = |sum: i32, weight_scale: f32| (sum - total) as f32 * (weight_scale * scale);
        match *self.weight_scales {
            [weight_scale] => {
                for (y, &sum) in output.iter_mut().zip(sums) {
                    y.write(scaled(sum, weight_scale));
                }
            }
            _ => {
                let scales = &self.weight_scales[first..];
                for ((y, &sum), &weight_scale) in output.iter_mut().zip(sums).zip(scales) {
                    y.write(scaled(sum, weight_scale));
                }
            }
        }
        if let Some(bias) = self.bias.get(first..) {
            for (y, &bias) in output.iter_mut().zip(bias) {
                // SAFETY: written above.
                unsafe { *y.assume_init_mut() += bias };
            }
        }
    }
}
