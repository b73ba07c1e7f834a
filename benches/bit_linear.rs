//! `BitLinear` against Burn's `Linear`: `cargo bench --bench bit_linear`. `BURN_DEVICE` picks the
//! device.

use std::fmt;

use bitnet_burn::nn::{BitLinear, BitLinearConfig, Projection};
use burn::{
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams},
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

const SHAPES: [[usize; 2]; 3] = [[384, 1536], [1024, 4096], [4096, 1024]];
const TOKENS: [usize; 4] = [1, 32, 512, 2048];

fn cases() -> impl Iterator<Item = Case> {
    SHAPES.into_iter().flat_map(|[d_input, d_output]| {
        TOKENS.map(|tokens| Case {
            tokens,
            d_input,
            d_output,
        })
    })
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

fn bit_linear(case: Case, device: &Device) -> BitLinear {
    BitLinearConfig::new(case.d_input, case.d_output).init(device)
}

fn linear(case: Case, device: &Device) -> Linear {
    let config = LinearConfig::new(case.d_input, case.d_output).with_bias(false);
    config.init(device)
}

fn input(case: Case, device: &Device) -> Tensor<2> {
    let shape = [case.tokens, case.d_input];
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), device)
}

/// The pass of inference.
fn time_forward(bencher: Bencher, case: Case, layer: impl Projection) {
    let device = Device::default();
    let x = input(case, &device);
    device.sync().unwrap();
    bencher.bench_local(|| {
        let y = layer.forward(x.clone());
        device.sync().unwrap();
        black_box_drop(y);
    });
}

/// A forward pass and the gradients of the input and the weight.
fn time_backward(bencher: Bencher, case: Case, layer: impl Projection, device: &Device) {
    let x = input(case, device).require_grad();
    device.sync().unwrap();
    bencher.bench_local(|| {
        let grads = layer.forward(x.clone()).sum().backward();
        device.sync().unwrap();
        black_box_drop(grads);
    });
}

/// The same, and a step of AdamW.
fn time_step(bencher: Bencher, case: Case, layer: impl Projection, device: &Device) {
    let x = input(case, device).require_grad();
    let mut optimizer = AdamWConfig::new().init();
    let mut layer = Some(layer);
    device.sync().unwrap();
    bencher.bench_local(|| {
        let current = layer.take().expect("every step leaves one");
        let grads = current.forward(x.clone()).sum().backward();
        let grads = GradientsParams::from_grads(grads, &current);
        layer = Some(optimizer.step(1e-4, current, grads));
        device.sync().unwrap();
    });
}

mod forward {
    use super::*;

    #[divan::bench(args = cases())]
    fn bit_linear(bencher: Bencher, case: Case) {
        time_forward(bencher, case, super::bit_linear(case, &Device::default()));
    }

    #[divan::bench(args = cases())]
    fn packed(bencher: Bencher, case: Case) {
        let layer = super::bit_linear(case, &Device::default()).pack();
        time_forward(bencher, case, layer);
    }

    #[divan::bench(args = cases())]
    fn linear(bencher: Bencher, case: Case) {
        time_forward(bencher, case, super::linear(case, &Device::default()));
    }
}

mod backward {
    use super::*;

    #[divan::bench(args = cases())]
    fn bit_linear(bencher: Bencher, case: Case) {
        let device = Device::default().autodiff();
        time_backward(bencher, case, super::bit_linear(case, &device), &device);
    }

    #[divan::bench(args = cases())]
    fn linear(bencher: Bencher, case: Case) {
        let device = Device::default().autodiff();
        time_backward(bencher, case, super::linear(case, &device), &device);
    }
}

mod step {
    use super::*;

    #[divan::bench(args = cases())]
    fn bit_linear(bencher: Bencher, case: Case) {
        let device = Device::default().autodiff();
        time_step(bencher, case, super::bit_linear(case, &device), &device);
    }

    #[divan::bench(args = cases())]
    fn linear(bencher: Bencher, case: Case) {
        let device = Device::default().autodiff();
        time_step(bencher, case, super::linear(case, &device), &device);
    }
}
