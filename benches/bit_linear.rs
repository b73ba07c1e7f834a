//! Forward and backward pass of `BitLinear` against that of Burn's `Linear`:
//! `cargo bench --bench bit_linear`. `BURN_DEVICE` picks the device.

use std::fmt;

use bitnet_burn::nn::{BitLinearConfig, Projection};
use burn::{
    nn::LinearConfig,
    tensor::{Device, Distribution, Tensor},
};
use divan::{Bencher, black_box_drop};

/// As in `ops.rs`.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[derive(Clone, Copy)]
struct Case {
    tokens: usize,
    d_input: usize,
    d_output: usize,
}

const CASES: [Case; 4] = [
    Case::new(32, 384, 1536),
    Case::new(512, 384, 1536),
    Case::new(32, 1024, 4096),
    Case::new(512, 1024, 4096),
];

impl Case {
    const fn new(tokens: usize, d_input: usize, d_output: usize) -> Self {
        Self {
            tokens,
            d_input,
            d_output,
        }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            tokens,
            d_input,
            d_output,
        } = self;
        write!(f, "{tokens} tokens, {d_input} to {d_output}")
    }
}

fn main() {
    divan::main();
}

/// Times a forward pass and the gradients of the input and the weight.
fn time(bencher: Bencher, case: Case, layer: impl Projection, device: &Device) {
    let x = Tensor::<2>::random(
        [case.tokens, case.d_input],
        Distribution::Normal(0.0, 1.0),
        device,
    )
    .require_grad();
    device.sync().unwrap();
    bencher.bench_local(|| {
        let grads = layer.forward(x.clone()).sum().backward();
        device.sync().unwrap();
        black_box_drop(grads);
    });
}

#[divan::bench(args = CASES)]
fn bit_linear(bencher: Bencher, case: Case) {
    let device = Device::default().autodiff();
    let layer = BitLinearConfig::new(case.d_input, case.d_output).init(&device);
    time(bencher, case, layer, &device);
}

#[divan::bench(args = CASES)]
fn linear(bencher: Bencher, case: Case) {
    let device = Device::default().autodiff();
    let config = LinearConfig::new(case.d_input, case.d_output).with_bias(false);
    time(bencher, case, config.init(&device), &device);
}
