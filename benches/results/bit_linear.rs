//! Comparison of `BitLinear` with Burn's `Linear`.

use bitnet_burn::nn::{BitLinear, BitLinearConfig, Projection};
use burn::{
    nn::{Linear, LinearConfig},
    optim::{AdamWConfig, GradientsParams},
    tensor::{Device, Distribution, Tensor},
};

use crate::{
    alternate::{Timed, medians, timed},
    table::{Table, number},
};

pub const ABOUT: &str = "`BitLinear` compared with Burn's `Linear`, without bias: milliseconds of \
    a forward pass, with the gradients of input\nand weight, with a step of AdamW, and of a \
    forward pass with packed weights.";

const SHAPES: [[usize; 2]; 3] = [[384, 1536], [1024, 4096], [4096, 1024]];
const TOKENS: [usize; 4] = [1, 32, 512, 2048];

pub fn layers(d_input: usize, d_output: usize, device: &Device) -> (BitLinear, Linear) {
    let linear = LinearConfig::new(d_input, d_output).with_bias(false);
    (
        BitLinearConfig::new(d_input, d_output).init(device),
        linear.init(device),
    )
}

pub fn input(tokens: usize, d_input: usize, device: &Device) -> Tensor<2> {
    Tensor::random([tokens, d_input], Distribution::Normal(0.0, 1.0), device)
}

pub fn forward(layer: impl Projection, x: &Tensor<2>) -> Timed<'_> {
    timed(move || layer.forward(x.clone()))
}

fn backward(layer: impl Projection, x: &Tensor<2>) -> Timed<'_> {
    timed(move || layer.forward(x.clone()).sum().backward())
}

fn step<'a>(layer: impl Projection, x: &'a Tensor<2>) -> Timed<'a> {
    let mut optimizer = AdamWConfig::new().init();
    let mut layer = Some(layer);
    timed(move || {
        let current = layer.take().expect("every step leaves one");
        let grads = current.forward(x.clone()).sum().backward();
        let grads = GradientsParams::from_grads(grads, &current);
        layer = Some(optimizer.step(1e-4, current, grads));
    })
}

pub fn run(quick: bool) -> Table {
    let head = &[
        "pass",
        "d_input",
        "d_output",
        "tokens",
        "BitLinear",
        "Linear",
        "speed-up",
    ];
    let unit = "speed-up over Linear, longer is better";
    let mut table = Table::new(head, unit);
    for [d_input, d_output] in SHAPES {
        for tokens in TOKENS {
            for (pass, [bit, full]) in passes(d_input, d_output, tokens, quick) {
                let ratio = full / bit;
                let shape = [d_input, d_output, tokens].map(|n| n.to_string());
                let times = [bit, full].map(number);
                let cells = [pass.to_string()].into_iter().chain(shape).chain(times);
                table.row(cells.chain([format!("{ratio:.2}")]));
                let label = format!("{tokens} tokens");
                table.bar(format!("{pass}, {d_input} to {d_output}"), label, ratio);
            }
        }
    }
    // Groups the bars of one pass and shape.
    table.bars.sort_by(|a, b| a.group.cmp(&b.group));
    table
}

fn passes(
    d_input: usize,
    d_output: usize,
    tokens: usize,
    quick: bool,
) -> [(&'static str, [f64; 2]); 4] {
    let device = Device::default();
    let x = input(tokens, d_input, &device);
    let (bit, linear) = layers(d_input, d_output, &device);
    let packed = bit.pack();
    let forward_times = medians([forward(bit, &x), forward(linear.clone(), &x)], quick);
    let packed_times = medians([forward(packed, &x), forward(linear, &x)], quick);

    let device = device.autodiff();
    let x = input(tokens, d_input, &device).require_grad();
    let (bit, linear) = layers(d_input, d_output, &device);
    let backward_times = [backward(bit.clone(), &x), backward(linear.clone(), &x)];
    let backward_times = medians(backward_times, quick);
    let step_times = medians([step(bit, &x), step(linear, &x)], quick);
    [
        ("forward", forward_times),
        ("packed", packed_times),
        ("backward", backward_times),
        ("step", step_times),
    ]
}
