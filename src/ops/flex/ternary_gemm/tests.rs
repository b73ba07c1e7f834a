use bitnet_burn_kernels::{
    Groups,
    packing::{code_words_per_row, words_per_row},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use super::{
    Output, Panels, Rows,
    dot::{dot_product, packed_product},
    instructions::Instructions,
    quantize::quantize,
};
use crate::ops::flex::{
    fake_quant::statistics,
    packing::ternary_pack,
    quantizer::{Ternary, ternary_code},
};

/// Numbers of tokens at every edge of tiles, panels, blocks and groups of blocks, and beyond.
const TOKENS: [usize; 9] = [1, 2, 3, 4, 5, 15, 16, 17, 70];
const INPUTS: [usize; 11] = [1, 3, 15, 16, 17, 64, 65, 240, 256, 300, 1030];
const OUTPUTS: [usize; 6] = [1, 15, 16, 17, 40, 130];

struct Problem {
    d_input: usize,
    d_output: usize,
    x: Vec<f32>,
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Problem {
    fn new(tokens: usize, d_input: usize, d_output: usize) -> Self {
        let mut rng = StdRng::seed_from_u64((tokens * 31 + d_input * 7 + d_output) as u64);
        let mut draw = |n: usize| (0..n).map(|_| rng.random_range(-1.0..1.0)).collect();
        Self {
            d_input,
            d_output,
            x: draw(tokens * d_input),
            weight: draw(d_input * d_output),
            bias: draw(d_output),
        }
    }

    /// Returns the groups of the weight `[d_input, d_output]`, one for all or one for each output feature.
    fn groups(&self, per_channel: bool) -> Groups {
        match per_channel {
            true => Groups::along_axis(&[self.d_input, self.d_output], 0, self.d_input),
            false => Groups::per_tensor(self.d_input * self.d_output),
        }
    }

    /// Returns the weight as packed rows of output features.
    fn packed(&self, scales: &[f32]) -> Vec<u32> {
        let (d_input, d_output) = (self.d_input, self.d_output);
        let transposed: Vec<f32> = (0..d_input * d_output)
            .map(|i| self.weight[i % d_input * d_output + i / d_input])
            .collect();
        let groups = match scales.len() {
            1 => Groups::per_tensor(d_input * d_output),
            _ => Groups::per_row(&[d_output, d_input]),
        };
        ternary_pack(&transposed, scales, groups, d_input)
    }

    /// Computes the sums and outputs one by one.
    fn expected(&self, words: &[u32], output: Output<'_>) -> Vec<f32> {
        let (d_input, d_output) = (self.d_input, self.d_output);
        let codes = |token: usize, k: usize| {
            let word = words[token * code_words_per_row(d_input) + k / 4];
            word.to_le_bytes()[k % 4] as i8 as i32
        };
        let code = |k: usize, n: usize| {
            let scale = output.weight_scales[n % output.weight_scales.len()];
            ternary_code(self.weight[k * d_output + n] * (1.0 / scale))
        };
        (0..output.scales.len() * d_output)
            .map(|i| {
                let (token, n) = (i / d_output, i % d_output);
                let sum: i32 = (0..d_input).map(|k| codes(token, k) * code(k, n)).sum();
                let scale = output.weight_scales[n % output.weight_scales.len()];
                let y = sum as f32 * (scale * output.scales[token]);
                output.bias.get(n).map_or(y, |bias| y + bias)
            })
            .collect()
    }
}

fn for_all_shapes(mut check: impl FnMut(Problem, bool)) {
    for tokens in TOKENS {
        for d_input in INPUTS {
            for (i, d_output) in OUTPUTS.into_iter().enumerate() {
                check(
                    Problem::new(tokens, d_input, d_output),
                    (tokens + i) % 2 == 0,
                );
            }
        }
    }
}

#[test]
fn every_path_gives_the_sums_of_the_scalar_loop() {
    println!("{:?}", Instructions::available().collect::<Vec<_>>());
    for_all_shapes(|problem, per_channel| {
        let groups = problem.groups(per_channel);
        let weight_scales = statistics::<Ternary>(&problem.weight, groups);
        let (words, inverse_scales) = quantize(&problem.x, problem.d_input, 127.0);
        let scales: Vec<f32> = inverse_scales.iter().map(|s| 1.0 / s).collect();
        let output = Output {
            scales: &scales,
            weight_scales: &weight_scales,
            bias: if per_channel { &problem.bias } else { &[] },
        };
        let expected = problem.expected(&words, output);
        let rows = Rows::new(&words, problem.d_input);
        let panels = Panels::from_latent(&problem.weight, problem.d_output, &weight_scales);
        let packed = problem.packed(&weight_scales);
        let from_packed = Panels::from_packed(&packed, problem.d_output);
        for instructions in Instructions::available() {
            let name = format!(
                "{instructions:?}, {} tokens, {} to {}",
                rows.len(),
                problem.d_input,
                problem.d_output
            );
            let y = panels.product_with(instructions, rows, output);
            assert_eq!(y, expected, "panels, {name}");
            let y = from_packed.product_with(instructions, rows, output);
            assert_eq!(y, expected, "panels of packed rows, {name}");
            let y = dot_product(instructions, &packed, problem.d_output, rows, output);
            assert_eq!(y, expected, "packed rows, {name}");
        }
        let y = packed_product(&packed, problem.d_output, rows, output);
        assert_eq!(y, expected);
    });
}

#[test]
fn sums_of_the_largest_codes_do_not_overflow() {
    // The lowest code, -128, times -1, so often that 16 bits overflow.
    let (tokens, d_input, d_output) = (5, 4096, 20);
    let words = vec![0x8080_8080; tokens * code_words_per_row(d_input)];
    let rows = Rows::new(&words, d_input);
    for (word, code) in [(0, -1), (0xAAAA_AAAA, 1)] {
        let packed = vec![word; d_output * words_per_row(d_input)];
        let output = Output {
            scales: &[1.0; 5],
            weight_scales: &[1.0],
            bias: &[],
        };
        let expected = vec![(-128 * code * d_input as i32) as f32; tokens * d_output];
        for instructions in Instructions::available() {
            let panels = Panels::from_packed(&packed, d_output);
            assert_eq!(panels.product_with(instructions, rows, output), expected);
            let dots = dot_product(instructions, &packed, d_output, rows, output);
            assert_eq!(dots, expected, "{instructions:?}");
        }
    }
}
