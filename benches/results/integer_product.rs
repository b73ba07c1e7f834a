//! Comparison of the integer product with that of rten.

use bitnet_burn::{functions::absmax_quantize, nn::BitLinearConfig};
use burn::tensor::{Device, Tensor};
use rayon::prelude::*;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, PackedBMatrix, QuantParams};
use rten_tensor::{NdTensor, NdTensorView, prelude::*};

use crate::{
    alternate::{Timed, medians, timed},
    bit_linear::{forward, input},
    table::{Table, number},
};

pub const ABOUT: &str = "Forward pass of packed weights (2 bits per value) compared with the same \
    pass with the product of `rten-gemm` (u8 x\ni8, zero point 128): our quantization of the \
    input, its product with byte weights that are converted to its own layout\nin advance, and \
    parallel scaling of the sums. `product` is rten's product alone, into allocated memory.";

const SHAPES: [[usize; 2]; 3] = [[384, 1536], [1024, 4096], [4096, 1024]];
const TOKENS: [usize; 6] = [1, 8, 16, 32, 512, 2048];

pub fn run(quick: bool) -> Table {
    let head = &[
        "d_input", "d_output", "tokens", "packed", "rten", "speed-up", "product",
    ];
    let mut table = Table::new(
        head,
        "speed-up over a pass with rten-gemm, longer is better",
    );
    let device = Device::default();
    for [d_input, d_output] in SHAPES {
        let layer = BitLinearConfig::new(d_input, d_output).init(&device).pack();
        for tokens in TOKENS {
            let x = input(tokens, d_input, &device);
            let functions = [
                forward(layer.clone(), &x),
                pass(x.clone(), d_output),
                product(tokens, d_input, d_output),
            ];
            let [packed, rten, product] = medians(functions, quick);
            let ratio = rten / packed;
            let shape = [d_input, d_output, tokens].map(|n| n.to_string());
            let times = [
                number(packed),
                number(rten),
                format!("{ratio:.2}"),
                number(product),
            ];
            table.row(shape.into_iter().chain(times));
            table.bar(
                format!("{d_input} to {d_output}"),
                format!("{tokens} tokens"),
                ratio,
            );
        }
    }
    table
}

/// Product of codes with ternary weights.
struct Rten {
    gemm: GemmExecutor<u8, i8, i32>,
    weight: PackedBMatrix<i8>,
    zero_points: Vec<u8>,
}

impl Rten {
    fn new(tokens: usize, d_input: usize, d_output: usize) -> Self {
        let gemm = GemmExecutor::new();
        let weight = NdTensor::from_fn([d_input, d_output], |[i, j]| ((i + j) % 3) as i8 - 1);
        Self {
            weight: gemm.prepack_b(weight.view()),
            zero_points: vec![128; tokens],
            gemm,
        }
    }

    fn product(&self, codes: &[u8], sums: &mut [i32]) {
        let options = GemmOptions {
            a_quant: Some(QuantParams {
                zero_point: &self.zero_points,
            }),
            ..Default::default()
        };
        let tokens = self.zero_points.len();
        let codes = NdTensorView::from_data([tokens, codes.len() / tokens], codes);
        let (codes, weight) = (
            GemmInputA::Unpacked(codes),
            GemmInputB::Packed(&self.weight),
        );
        self.gemm
            .gemm(sums, codes, weight, options)
            .expect("shapes fit");
    }
}

/// Returns the whole pass: codes of the input, sums, outputs.
fn pass(x: Tensor<2>, d_output: usize) -> Timed<'static> {
    let [tokens, d_input] = x.dims();
    let rten = Rten::new(tokens, d_input, d_output);
    timed(move || {
        let (words, scales) = absmax_quantize(x.clone(), 8);
        let [words, scales] = [words.into_data(), scales.into_data()];
        // Codes with zero point 128 are two's complement with the highest bit flipped.
        let bytes = words.as_bytes().par_iter().map(|code| code ^ 0x80);
        let codes: Vec<u8> = bytes.collect();
        let mut sums = vec![0; tokens * d_output];
        rten.product(&codes, &mut sums);
        let scales = scales.as_slice::<f32>().expect("floats");
        let mut outputs = vec![0.0; sums.len()];
        let rows = outputs
            .par_chunks_mut(d_output)
            .zip(sums.par_chunks(d_output));
        rows.zip(scales).for_each(|((outputs, sums), scale)| {
            let step = 0.02 / scale;
            for (output, &sum) in outputs.iter_mut().zip(sums) {
                *output = sum as f32 * step;
            }
        });
        outputs
    })
}

/// Returns the product alone.
fn product(tokens: usize, d_input: usize, d_output: usize) -> Timed<'static> {
    let rten = Rten::new(tokens, d_input, d_output);
    let codes: Vec<u8> = (0..tokens * d_input)
        .map(|i| (i * 31 % 256) as u8)
        .collect();
    let mut sums = vec![0; tokens * d_output];
    timed(move || rten.product(&codes, &mut sums))
}
