use std::{fmt, hint::black_box, time::Instant};

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, BitNetLmConfig, TrainableProjection},
    optim::{AdamW8bitConfig, PagedOptimizerConfig, QatOptimizer, QatOptimizerConfig},
    quant::cast_latent_weights,
    train::{MemoryPlan, MemoryPlanConfig, OptimizerStates},
};
use burn::{
    nn::{Linear, loss::CrossEntropyLossConfig},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer, Optimizer},
    tensor::{Device, FloatDType, Int, Tensor},
};
use rand::{RngExt, SeedableRng, rngs::StdRng};

use crate::{
    alternate::median,
    fail,
    peak::{allocated_mib, peak_mib},
};

/// Steps before the clock starts, and steps that are timed.
const WARM_UP: usize = 2;
const STEPS: usize = 6;

/// A way to train.
pub struct Variant {
    pub name: &'static str,
    pub title: &'static str,
    run: fn(Model) -> Trained,
}

/// Milliseconds of each step, and the memory that was planned.
struct Trained {
    times: Vec<f64>,
    plan: MemoryPlan,
}

pub const VARIANTS: [Variant; 5] = [
    Variant {
        name: "fp",
        title: "full precision, AdamW",
        run: |model| train::<Linear>(model, adamw().init(), FloatDType::F32, PLAN),
    },
    Variant {
        name: "qat",
        title: "QAT, AdamW",
        run: |model| train::<BitLinear>(model, adamw().init(), FloatDType::F32, PLAN),
    },
    Variant {
        name: "qat-8bit",
        title: "QAT, AdamW8bit",
        run: |model| {
            let optimizer = AdamW8bitConfig::new().init();
            train::<BitLinear>(model, optimizer, FloatDType::F32, PLAN_8BIT)
        },
    },
    Variant {
        name: "qat-8bit-bf16",
        title: "QAT, AdamW8bit, latent weights of bf16",
        run: |model| {
            let optimizer = rounding(AdamW8bitConfig::new().build());
            train::<BitLinear>(model, optimizer.into(), FloatDType::BF16, PLAN_8BIT)
        },
    },
    Variant {
        name: "qat-paged-bf16",
        title: "QAT, paged AdamW8bit, latent weights of bf16",
        run: |model| {
            let optimizer = rounding(AdamW8bitConfig::new().build());
            let pages = PagedOptimizerConfig::new(std::env::temp_dir());
            let optimizer = pages.build(optimizer).unwrap_or_else(|e| panic!("{e}"));
            train::<BitLinear>(model, optimizer.into(), FloatDType::BF16, PLAN_PAGED)
        },
    },
];

/// States of an optimizer, and the bytes of them that stay in memory.
type States = (OptimizerStates, Option<u64>);
const PLAN: States = (OptimizerStates::AdamW, None);
const PLAN_8BIT: States = (OptimizerStates::AdamW8bit, None);
const PLAN_PAGED: States = (OptimizerStates::AdamW8bit, Some(0));

fn adamw() -> AdamWConfig {
    AdamWConfig::new()
        .with_epsilon(1e-8)
        .with_weight_decay(0.01)
}

/// Steps in f32, rounded stochastically to latent weights of bf16.
fn rounding<O: Optimizer>(inner: O) -> QatOptimizer<O> {
    QatOptimizerConfig::new()
        .with_stochastic_rounding(Some(0))
        .build(inner)
}

/// Measures a variant on a model in this process.
pub fn measure(variant: &str, model: &str) -> Measured {
    let variant = VARIANTS.iter().find(|v| v.name == variant);
    let model = Model::ALL.into_iter().find(|m| m.name() == model);
    let Some((variant, model)) = variant.zip(model) else {
        fail("no such variant of no such model");
    };
    // Loops of Flex start sooner from within the pool of threads that runs them, for either twin.
    let Trained { times, plan } = rayon::scope(|_| (variant.run)(model));
    Measured {
        step_ms: median(times),
        peak_mib: peak_mib(),
        allocated_mib: allocated_mib(),
        planned_mib: plan.peak as f64 / (1 << 20) as f64,
    }
}

/// What is trained.
#[derive(Clone, Copy)]
pub enum Model {
    /// Six layers of 384, 8 windows of 256 characters.
    Small,
    /// About 60 million parameters and few tokens, so that they take most of the memory.
    Large,
}

impl Model {
    pub const ALL: [Self; 2] = [Self::Small, Self::Large];

    pub fn name(self) -> &'static str {
        match self {
            Self::Small => "small",
            Self::Large => "large",
        }
    }

    fn config(self) -> BitNetLmConfig {
        match self {
            Self::Small => BitNetLmConfig::new(96, 384, 6, 6, 1536),
            Self::Large => BitNetLmConfig::new(96, 768, 8, 12, 2048),
        }
        .with_max_positions(256)
    }

    /// Windows and positions of a batch.
    fn batch(self) -> [usize; 2] {
        match self {
            Self::Small => [8, 256],
            Self::Large => [1, 64],
        }
    }
}

fn train<P: TrainableProjection>(
    model: Model,
    mut optimizer: ModuleOptimizer,
    latent_dtype: FloatDType,
    (states, page_budget): States,
) -> Trained {
    let device = Device::default().autodiff();
    let lm: BitNetLm<P> = model.config().init(&device);
    let mut lm = match latent_dtype {
        FloatDType::F32 => lm,
        dtype => cast_latent_weights(lm, dtype),
    };
    let [batch, positions] = model.batch();
    let plan = MemoryPlanConfig::new(batch, positions)
        .with_optimizer(states)
        .with_page_budget(page_budget)
        .plan(&lm);
    let mut rng = StdRng::seed_from_u64(0);
    let mut times = Vec::new();
    for step in 0..WARM_UP + STEPS {
        let [inputs, targets] = [(); 2].map(|()| tokens(model, &mut rng, &device));
        let start = Instant::now();
        let logits = lm.forward(inputs);
        let [windows, positions, vocab_size] = logits.dims();
        let rows = windows * positions;
        let loss = CrossEntropyLossConfig::new()
            .init(&device)
            .forward(logits.reshape([rows, vocab_size]), targets.reshape([rows]));
        let grads = GradientsParams::from_grads(loss.backward(), &lm);
        lm = optimizer.step(1e-3, lm, grads);
        black_box(loss.into_scalar::<f32>());
        if step >= WARM_UP {
            times.push(start.elapsed().as_secs_f64() * 1e3);
        }
    }
    Trained { times, plan }
}

fn tokens(model: Model, rng: &mut StdRng, device: &Device) -> Tensor<2, Int> {
    let shape = model.batch();
    let vocab_size = model.config().vocab_size as i32;
    let tokens: Vec<i32> = (0..shape[0] * shape[1])
        .map(|_| rng.random_range(0..vocab_size))
        .collect();
    Tensor::<1, Int>::from_ints(tokens.as_slice(), device).reshape(shape)
}

/// Time and memory of a run.
#[derive(Clone)]
pub struct Measured {
    pub step_ms: f64,
    /// Of the process.
    pub peak_mib: f64,
    pub allocated_mib: f64,
    pub planned_mib: f64,
}

impl Measured {
    /// What [`Display`](fmt::Display) wrote, in the last line of a text.
    pub fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.lines().last()?.split(' ').map(str::parse);
        Some(Self {
            step_ms: numbers.next()?.ok()?,
            peak_mib: numbers.next()?.ok()?,
            allocated_mib: numbers.next()?.ok()?,
            planned_mib: numbers.next()?.ok()?,
        })
    }

    pub fn median(runs: Vec<Self>) -> Self {
        let of = |number: fn(&Self) -> f64| median(runs.iter().map(number).collect());
        Self {
            step_ms: of(|run| run.step_ms),
            peak_mib: of(|run| run.peak_mib),
            allocated_mib: of(|run| run.allocated_mib),
            planned_mib: of(|run| run.planned_mib),
        }
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} ", self.step_ms, self.peak_mib)?;
        write!(f, "{} {}", self.allocated_mib, self.planned_mib)
    }
}
