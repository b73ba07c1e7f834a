//! The integer product against that of rten.

use bitnet_burn::nn::BitLinearConfig;
use burn::tensor::Device;
use rten_gemm::{GemmExecutor, GemmInputA, GemmInputB, GemmOptions, QuantParams};
use rten_tensor::{NdTensor, prelude::*};

use crate::{
    alternate::{Timed, medians, timed},
    bit_linear::{forward, input},
    table::{Table, number},
};

pub const ABOUT: &str = "The forward pass of packed weights, with quantising its input and scaling its \
    output, against the bare product of\ncodes by `rten-gemm` (u8 x i8, zero points 128, weights of a byte \
    each in its own layout), which gives `i32`.";

const SHAPES: [[usize; 2]; 3] = [[384, 1536], [1024, 4096], [4096, 1024]];
const TOKENS: [usize; 6] = [1, 8, 16, 32, 512, 2048];

pub fn run(quick: bool) -> Table {
    let head = &[
        "d_input", "d_output", "tokens", "packed", "rten", "speed-up",
    ];
    let mut table = Table::new(head, "speed-up over rten-gemm, longer is better");
    let device = Device::default();
    for [d_input, d_output] in SHAPES {
        let layer = BitLinearConfig::new(d_input, d_output).init(&device).pack();
        for tokens in TOKENS {
            let x = input(tokens, d_input, &device);
            let functions = [forward(layer.clone(), &x), rten(tokens, d_input, d_output)];
            let [packed, rten] = medians(functions, quick);
            let ratio = rten / packed;
            let shape = [d_input, d_output, tokens].map(|n| n.to_string());
            let times = [packed, rten].map(number);
            table.row(
                shape
                    .into_iter()
                    .chain(times)
                    .chain([format!("{ratio:.2}")]),
            );
            table.bar(
                format!("{d_input} to {d_output}"),
                format!("{tokens} tokens"),
                ratio,
            );
        }
    }
    table
}

/// The product alone, of codes and weights that are there.
fn rten(tokens: usize, d_input: usize, d_output: usize) -> Timed<'static> {
    let gemm = GemmExecutor::<u8, i8, i32>::new();
    let codes = NdTensor::from_fn([tokens, d_input], |[i, j]| ((i * 31 + j * 7) % 256) as u8);
    let weight = NdTensor::from_fn([d_input, d_output], |[i, j]| ((i + j) % 3) as i8 - 1);
    let weight = gemm.prepack_b(weight.view());
    let zero_points = vec![128u8; tokens];
    let mut sums = vec![0i32; tokens * d_output];
    timed(move || {
        let options = GemmOptions {
            a_quant: Some(QuantParams {
                zero_point: &zero_points,
            }),
            ..Default::default()
        };
        let (codes, weight) = (
            GemmInputA::Unpacked(codes.view()),
            GemmInputB::Packed(&weight),
        );
        gemm.gemm(&mut sums, codes, weight, options)
            .expect("shapes fit");
    })
}
