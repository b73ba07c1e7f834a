//! Transformer operations between the projections, as one operation each and as Burn tensor
//! operations, forward and with gradients: `cargo bench --bench transformer`. `BURN_DEVICE` selects
//! the device.

use bitnet_burn::{
    functions::{causal_attention, gated_activation, rms_norm},
    nn::{GatedActivation, RotaryEmbedding, RotaryEmbeddingConfig},
};
use burn::{
    nn::{RmsNorm, RmsNormConfig},
    tensor::{
        Bool, Device, Distribution, Tensor,
        activation::{relu, silu, softmax},
    },
};
use divan::{Bencher, black_box_drop};

/// Allocator that keeps freed memory for the next tensor, as in the examples.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Shapes of hidden values of 8 x 256 tokens, and of heads.
const HIDDEN: [usize; 3] = [8, 256, 1536];
const HEADS: [usize; 4] = [8, 6, 256, 64];

fn main() {
    divan::main();
}

fn random<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let device = Device::default().autodiff();
    Tensor::random(shape, Distribution::Normal(0.0, 1.0), &device).require_grad()
}

/// Computation to time.
#[derive(Clone, Copy, Debug)]
enum Pass {
    Forward,
    Gradients,
}

const PASSES: [Pass; 2] = [Pass::Forward, Pass::Gradients];

/// Times `f`, including its work on the device and the release of its results.
fn time<const D: usize>(bencher: Bencher, pass: Pass, f: impl Fn() -> Tensor<D>) {
    let device = Device::default();
    bencher.bench_local(|| {
        let y = f();
        let gradients = match pass {
            Pass::Forward => None,
            Pass::Gradients => Some(y.clone().sum().backward()),
        };
        device.sync().unwrap();
        black_box_drop((y, gradients));
    });
}

#[divan::bench_group]
mod rms_norm_2048x1536 {
    use super::*;

    fn norm() -> RmsNorm {
        RmsNormConfig::new(HIDDEN[2]).init(&Device::default().autodiff())
    }

    #[divan::bench(args = PASSES)]
    fn operation(bencher: Bencher, pass: Pass) {
        let (x, norm) = (random(HIDDEN), norm());
        time(bencher, pass, || {
            rms_norm(x.clone(), norm.gamma.val(), norm.epsilon)
        });
    }

    #[divan::bench(args = PASSES)]
    fn tensor_calls(bencher: Bencher, pass: Pass) {
        let (x, norm) = (random(HIDDEN), norm());
        time(bencher, pass, || norm.forward(x.clone()));
    }
}

#[divan::bench_group]
mod gated_activation_2048x1536 {
    use super::*;

    const ACTIVATIONS: [GatedActivation; 2] = [GatedActivation::SquaredRelu, GatedActivation::Silu];

    fn cases() -> impl Iterator<Item = Case> {
        ACTIVATIONS
            .into_iter()
            .flat_map(|activation| PASSES.map(|pass| Case(activation, pass)))
    }

    #[divan::bench(args = cases())]
    fn operation(bencher: Bencher, Case(activation, pass): Case) {
        let (gate, up) = (random(HIDDEN), random(HIDDEN));
        time(bencher, pass, || {
            gated_activation(gate.clone(), up.clone(), activation)
        });
    }

    #[divan::bench(args = cases())]
    fn tensor_calls(bencher: Bencher, Case(activation, pass): Case) {
        let (gate, up) = (random(HIDDEN), random(HIDDEN));
        time(bencher, pass, || {
            let gate = match activation {
                GatedActivation::Silu => silu(gate.clone()),
                _ => relu(gate.clone()).square(),
            };
            gate * up.clone()
        });
    }

    /// Activation and pass.
    #[derive(Clone, Copy)]
    struct Case(GatedActivation, Pass);

    impl std::fmt::Display for Case {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "{:?}, {:?}", self.0, self.1)
        }
    }
}

#[divan::bench_group]
mod rotary_embedding_8x6x256x64 {
    use super::*;

    fn rotary() -> RotaryEmbedding {
        RotaryEmbeddingConfig::new(HEADS[3], HEADS[2]).init(&Device::default().autodiff())
    }

    #[divan::bench(args = PASSES)]
    fn operation(bencher: Bencher, pass: Pass) {
        let (x, rotary) = (random(HEADS), rotary());
        time(bencher, pass, || rotary.forward(x.clone(), 0));
    }

    #[divan::bench(args = PASSES)]
    fn tensor_calls(bencher: Bencher, pass: Pass) {
        let half = HEADS[3] / 2;
        let (x, cos, sin) = (
            random(HEADS),
            random([1, 1, HEADS[2], half]).detach(),
            random([1, 1, HEADS[2], half]).detach(),
        );
        time(bencher, pass, || {
            let (a, b) = (
                x.clone().narrow(3, 0, half),
                x.clone().narrow(3, half, half),
            );
            let turned_a = a.clone() * cos.clone() - b.clone() * sin.clone();
            Tensor::cat(vec![turned_a, b * cos.clone() + a * sin.clone()], 3)
        });
    }
}

#[divan::bench_group]
mod causal_attention_8x6x256x64 {
    use super::*;

    #[divan::bench(args = PASSES)]
    fn operation(bencher: Bencher, pass: Pass) {
        let [q, k, v] = [(); 3].map(|()| random(HEADS));
        time(bencher, pass, || {
            causal_attention(q.clone(), k.clone(), v.clone())
        });
    }

    #[divan::bench(args = PASSES)]
    fn tensor_calls(bencher: Bencher, pass: Pass) {
        let [q, k, v] = [(); 3].map(|()| random(HEADS));
        let [batch, heads, positions, d_head] = HEADS;
        let mask = Tensor::<2, Bool>::tril_mask([positions; 2], 0, &Device::default().autodiff());
        let mask = mask
            .unsqueeze::<4>()
            .expand([batch, heads, positions, positions]);
        time(bencher, pass, || {
            let q = q.clone().mul_scalar((d_head as f64).sqrt().recip());
            let scores = q.matmul(k.clone().swap_dims(2, 3));
            let scores = scores.mask_fill(mask.clone(), f32::NEG_INFINITY);
            softmax(scores, 3).matmul(v.clone())
        });
    }
}
