//! Each operation compared with the same computation in Burn tensor operations, and with a plain
//! memory copy: `cargo bench --bench ops`. `BURN_DEVICE` selects the device.

use bitnet_burn::{
    functions::{
        AffineParams, FourBitFormat, GradientRule, Groups, QuantRange, absmax_fake_quant,
        affine_fake_quant, four_bit_dequantize, four_bit_linear, four_bit_quantize,
        hadamard_transform, straight_through, ternary_fake_quant, ternary_pack, ternary_unpack,
    },
    quant::FourBitType,
};
use burn::tensor::{Device, Distribution, FloatDType, Int, Tensor};
use divan::{Bencher, black_box_drop};

/// Allocator that keeps freed memory for the next tensor, as in the examples. With the allocator of
/// the C library, much of the time would be spent by the kernel on clearing fresh pages.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Shapes of a weight `[d_input, d_output]` and of an activation `[tokens, d_input]`.
const WEIGHT: [usize; 2] = [1024, 4096];
const ACTIVATION: [usize; 2] = [2048, 1024];

/// Number of input features per group.
const GROUP: usize = 128;

const EPSILON: f32 = 1e-5;

fn main() {
    divan::main();
}

fn random(shape: [usize; 2]) -> Tensor<2> {
    let device = Device::default();
    let tensor = Tensor::random(shape, Distribution::Normal(0.0, 0.02), &device);
    device.sync().unwrap();
    tensor
}

/// Times `f`, including its work on the device and the release of its results.
fn time<R>(bencher: Bencher, f: impl Fn() -> R) {
    let device = Device::default();
    bencher.bench_local(|| {
        let results = f();
        device.sync().unwrap();
        black_box_drop(results);
    });
}

/// Times a copy of the bytes of a tensor of the given shape, on one thread of the host.
fn time_copy(bencher: Bencher, shape: [usize; 2]) {
    let values = vec![1.0f32; shape.iter().product()];
    bencher.bench_local(|| black_box_drop(divan::black_box(&values).to_vec()));
}

/// Weights that share a scale, as a shape `[outer, size, inner]`.
#[derive(Clone, Copy, Debug)]
enum Granularity {
    Tensor,
    Channel,
    Group,
}

const GRANULARITIES: [Granularity; 3] = [
    Granularity::Tensor,
    Granularity::Channel,
    Granularity::Group,
];

impl Granularity {
    fn groups(self) -> Groups {
        match self {
            Self::Tensor => Groups::per_tensor(WEIGHT[0] * WEIGHT[1]),
            Self::Channel => Groups::along_axis(&WEIGHT, 0, WEIGHT[0]),
            Self::Group => Groups::along_axis(&WEIGHT, 0, GROUP),
        }
    }

    fn grouped(self, weight: Tensor<2>) -> Tensor<3> {
        let Groups { outer, size, inner } = self.groups();
        weight.reshape([outer, size, inner])
    }
}

#[divan::bench_group]
mod ternary_fake_quant_1024x4096 {
    use super::*;

    #[divan::bench(args = GRANULARITIES)]
    fn operation(bencher: Bencher, granularity: Granularity) {
        let weight = random(WEIGHT);
        let groups = granularity.groups();
        time(bencher, || ternary_fake_quant(weight.clone(), groups));
    }

    #[divan::bench(args = GRANULARITIES)]
    fn tensor_calls(bencher: Bencher, granularity: Granularity) {
        let weight = random(WEIGHT);
        time(bencher, || {
            let weight = granularity.grouped(weight.clone());
            let gamma = weight.clone().abs().mean_dim(1).clamp_min(EPSILON);
            let codes = (weight / gamma.clone()).round().clamp(-1.0, 1.0);
            ((codes * gamma.clone()).reshape(WEIGHT), gamma)
        });
    }

    #[divan::bench]
    fn copy(bencher: Bencher) {
        time_copy(bencher, WEIGHT);
    }
}

#[divan::bench_group]
mod absmax_fake_quant_2048x1024 {
    use super::*;

    fn tensor_calls(bencher: Bencher, scales: impl Fn(Tensor<2>) -> Tensor<2>) {
        let x = random(ACTIVATION);
        time(bencher, || {
            let scales = scales(x.clone().abs()).clamp_min(EPSILON).recip() * 127.0;
            let codes = (x.clone() * scales.clone()).round().clamp(-128.0, 127.0);
            (codes / scales.clone(), scales)
        });
    }

    #[divan::bench]
    fn token_operation(bencher: Bencher) {
        let x = random(ACTIVATION);
        let groups = Groups::per_row(&ACTIVATION);
        time(bencher, || absmax_fake_quant(x.clone(), groups, 8));
    }

    #[divan::bench]
    fn token_tensor_calls(bencher: Bencher) {
        tensor_calls(bencher, |magnitudes| magnitudes.max_dim(1));
    }

    #[divan::bench]
    fn tensor_operation(bencher: Bencher) {
        let x = random(ACTIVATION);
        let groups = Groups::per_tensor(ACTIVATION[0] * ACTIVATION[1]);
        time(bencher, || absmax_fake_quant(x.clone(), groups, 8));
    }

    #[divan::bench]
    fn tensor_tensor_calls(bencher: Bencher) {
        tensor_calls(bencher, |magnitudes| magnitudes.max().reshape([1, 1]));
    }

    #[divan::bench]
    fn copy(bencher: Bencher) {
        time_copy(bencher, ACTIVATION);
    }
}

/// Returns steps for 4-bit weights, by granularity.
fn steps(granularity: Granularity) -> Tensor<2> {
    Tensor::full(granularity.groups().scale_shape(), 0.01, &Device::default())
}

#[divan::bench_group]
mod affine_fake_quant_1024x4096 {
    use super::*;

    #[divan::bench(args = GRANULARITIES)]
    fn operation(bencher: Bencher, granularity: Granularity) {
        let weight = random(WEIGHT);
        let codes = QuantRange::signed(4);
        let levels = AffineParams::symmetric(steps(granularity), granularity.groups(), codes);
        time(bencher, || {
            affine_fake_quant(weight.clone(), levels.clone())
        });
    }

    #[divan::bench(args = GRANULARITIES)]
    fn tensor_calls(bencher: Bencher, granularity: Granularity) {
        let weight = random(WEIGHT);
        let steps = steps(granularity).unsqueeze_dim::<3>(1);
        time(bencher, || {
            let scaled = granularity.grouped(weight.clone()) / steps.clone();
            (scaled.round().clamp(-8.0, 7.0) * steps.clone()).reshape(WEIGHT)
        });
    }

    #[divan::bench]
    fn copy(bencher: Bencher) {
        time_copy(bencher, WEIGHT);
    }
}

/// Backward passes of the estimators, from a gradient of ones, with one scale for the whole weight.
#[divan::bench_group]
mod affine_gradient_1024x4096 {
    use super::*;

    fn operation(bencher: Bencher, rule: GradientRule) {
        let weight = random(WEIGHT).autodiff().require_grad();
        let groups = Granularity::Tensor.groups();
        let steps = steps(Granularity::Tensor).autodiff();
        let levels = AffineParams::symmetric(steps, groups, QuantRange::TERNARY);
        time(bencher, || {
            let (x, quantized) = (weight.clone(), weight.clone().detach());
            straight_through(x, quantized, levels.clone(), Some(rule)).backward()
        });
    }

    #[divan::bench]
    fn clipped(bencher: Bencher) {
        operation(bencher, GradientRule::Clipped { bound: 1.0 });
    }

    #[divan::bench]
    fn clipped_tensor_calls(bencher: Bencher) {
        let (weight, grads) = (random(WEIGHT), random(WEIGHT));
        time(bencher, || {
            let outside = weight.clone().abs().greater_scalar(0.01);
            grads.clone().mask_fill(outside, 0.0)
        });
    }

    #[divan::bench]
    fn tanh(bencher: Bencher) {
        operation(bencher, GradientRule::Tanh { temperature: 0.5 });
    }

    #[divan::bench]
    fn sigmoid(bencher: Bencher) {
        operation(bencher, GradientRule::Sigmoid { temperature: 0.25 });
    }

    #[divan::bench]
    fn step_size(bencher: Bencher) {
        operation(bencher, GradientRule::StepSize);
    }

    #[divan::bench]
    fn copy(bencher: Bencher) {
        time_copy(bencher, WEIGHT);
    }
}

/// Returns `2 * i` for the sixteen codes of a word.
fn shifts() -> Tensor<3, Int> {
    Tensor::arange(0..16, &Device::default()).reshape([1, 1, 16]) * 2
}

#[divan::bench_group]
mod ternary_pack_1024x4096 {
    use super::*;

    #[divan::bench(args = GRANULARITIES)]
    fn operation(bencher: Bencher, granularity: Granularity) {
        let weight = random(WEIGHT);
        let groups = granularity.groups();
        let (_, scales) = ternary_fake_quant(weight.clone(), groups);
        time(bencher, || {
            ternary_pack(weight.clone(), scales.clone(), groups)
        });
    }

    #[divan::bench(args = GRANULARITIES)]
    fn tensor_calls(bencher: Bencher, granularity: Granularity) {
        let weight = random(WEIGHT);
        let (_, scales) = ternary_fake_quant(weight.clone(), granularity.groups());
        let scales = scales.unsqueeze_dim::<3>(1);
        let shifts = shifts();
        time(bencher, || {
            let codes = granularity.grouped(weight.clone()) / scales.clone();
            let codes = (codes.round().clamp(-1.0, 1.0) + 1.0).int();
            let codes = codes.reshape([WEIGHT[0], WEIGHT[1] / 16, 16]);
            codes.bitwise_left_shift(shifts.clone()).sum_dim(2)
        });
    }

    #[divan::bench]
    fn copy(bencher: Bencher) {
        time_copy(bencher, WEIGHT);
    }
}

#[divan::bench_group]
mod ternary_unpack_1024x4096 {
    use super::*;

    #[divan::bench(args = GRANULARITIES)]
    fn operation(bencher: Bencher, granularity: Granularity) {
        let groups = granularity.groups();
        let (weight, scales) = ternary_fake_quant(random(WEIGHT), groups);
        let packed = ternary_pack(weight, scales.clone(), groups);
        time(bencher, || {
            let (packed, scales) = (packed.clone(), scales.clone());
            ternary_unpack(packed, scales, groups, WEIGHT, FloatDType::F32)
        });
    }

    #[divan::bench(args = GRANULARITIES)]
    fn tensor_calls(bencher: Bencher, granularity: Granularity) {
        let groups = granularity.groups();
        let (weight, scales) = ternary_fake_quant(random(WEIGHT), groups);
        // In the integer type of Burn's operations, so that no cast is timed.
        let int = shifts().dtype();
        let packed = ternary_pack(weight, scales.clone(), groups).cast(int);
        let (packed, scales) = (packed.unsqueeze_dim::<3>(2), scales.unsqueeze_dim::<3>(1));
        let shifts = shifts();
        time(bencher, || {
            let codes = packed.clone().bitwise_right_shift(shifts.clone());
            let codes = codes.bitwise_and_scalar(3).float() - 1.0;
            let values = granularity.grouped(codes.reshape(WEIGHT)) * scales.clone();
            values.reshape(WEIGHT)
        });
    }

    #[divan::bench]
    fn copy(bencher: Bencher) {
        time_copy(bencher, WEIGHT);
    }
}

/// Block sizes of the Hadamard transform, up to a whole row.
const BLOCKS: [usize; 3] = [64, 128, 1024];

#[divan::bench_group]
mod hadamard_transform_2048x1024 {
    use super::*;

    #[divan::bench(args = BLOCKS)]
    fn operation(bencher: Bencher, block: usize) {
        let x = random(ACTIVATION);
        time(bencher, || hadamard_transform(x.clone(), block));
    }

    #[divan::bench(args = BLOCKS)]
    fn tensor_calls(bencher: Bencher, block: usize) {
        let x = random(ACTIVATION);
        time(bencher, || {
            let mut values = x.clone();
            for stage in 0..block.ilog2() {
                let distance = 1 << stage;
                let pairs = values.reshape([-1, 2, distance]);
                let (a, b) = (pairs.clone().narrow(1, 0, 1), pairs.narrow(1, 1, 1));
                let halves = vec![a.clone() + b.clone(), a - b];
                values = Tensor::cat(halves, 1).reshape(ACTIVATION);
            }
            values / (block as f32).sqrt()
        });
    }

    /// Times the same transform as one product with its matrix.
    #[divan::bench(args = BLOCKS)]
    fn matrix_product(bencher: Bencher, block: usize) {
        let x = random(ACTIVATION).reshape([-1, block as i32]);
        let identity = Tensor::<2>::eye(block, &Device::default());
        let matrix = hadamard_transform(identity, block);
        time(bencher, || x.clone().matmul(matrix.clone()));
    }

    #[divan::bench]
    fn copy(bencher: Bencher) {
        time_copy(bencher, ACTIVATION);
    }
}

/// Format of QLoRA.
const NF4: FourBitFormat = FourBitFormat {
    quant_type: FourBitType::Nf4,
    block_size: 64,
};

#[divan::bench_group]
mod four_bit_1024x4096 {
    use super::*;

    #[divan::bench]
    fn quantize(bencher: Bencher) {
        let weight = random(WEIGHT);
        time(bencher, || four_bit_quantize(weight.clone(), NF4));
    }

    #[divan::bench]
    fn dequantize(bencher: Bencher) {
        let weight = four_bit_quantize(random(WEIGHT), NF4);
        time(bencher, || four_bit_dequantize(&weight, FloatDType::F32));
    }

    #[divan::bench(args = [1, 64, 2048])]
    fn linear(bencher: Bencher, tokens: usize) {
        let weight = four_bit_quantize(random(WEIGHT), NF4).double_quantized();
        let x = random([tokens, WEIGHT[1]]);
        time(bencher, || four_bit_linear(x.clone(), &weight, None));
    }

    #[divan::bench(args = [1, 64, 2048])]
    fn dense_linear(bencher: Bencher, tokens: usize) {
        let weight = random(WEIGHT).transpose();
        let x = random([tokens, WEIGHT[1]]);
        time(bencher, || x.clone().matmul(weight.clone()));
    }

    #[divan::bench]
    fn copy(bencher: Bencher) {
        time_copy(bencher, WEIGHT);
    }
}
