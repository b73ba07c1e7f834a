//! Memory of a training step compared with [`MemoryPlan`](bitnet_burn::train::MemoryPlan), and memory of
//! packed models, measured by a counting allocator. A separate program, since it counts all threads.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

#[cfg(feature = "peft")]
use bitnet_burn::peft::{LoraConfig, TargetModules};
use bitnet_burn::{
    nn::{
        BitLinear, BitNetLm, BitNetLmConfig, PackedForward, Projection, ProjectionBias, QkNorm,
        TrainableProjection,
    },
    optim::{AdamW8bitConfig, QatOptimizerConfig},
    qat::{PackedModel, Prepare, cast_latent_weights, convert},
    quant::{QatScheme, Ste},
    train::{MemoryPlanConfig, OptimizerStates},
};
#[cfg(feature = "text")]
use bitnet_burn::{
    text::dataset::{Sequence, TokenBatch},
    train::{LanguageModel, MemoryPlan},
};
#[cfg(feature = "text")]
use burn::train::TrainStep;
use burn::{
    module::{Module, ParamGroup},
    nn::{Embedding, EmbeddingConfig, Linear, LinearConfig, loss::CrossEntropyLossConfig},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Distribution, FloatDType, Int, Tensor},
};

/// Bytes in use, and their peak since the last reset.
static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: it is the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let in_use = IN_USE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(in_use, Relaxed);
        // SAFETY: the caller's promises.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        IN_USE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the caller's promises.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Lock for one counting test at a time.
fn alone() -> MutexGuard<'static, ()> {
    static COUNTS: Mutex<()> = Mutex::new(());
    COUNTS.lock().unwrap_or_else(PoisonError::into_inner)
}

fn in_use() -> usize {
    IN_USE.load(Relaxed)
}

/// Memory of a step in bytes.
#[derive(Debug)]
struct Measured {
    /// Bytes of the model and the optimizer states.
    kept: usize,
    activations: usize,
    gradients: usize,
    peak: usize,
}

/// Asserts a value within a share of the measurement, plus a small constant for non-tensors.
fn assert_close(what: &str, planned: usize, measured: usize, share: f64) {
    let difference = planned.abs_diff(measured) as f64;
    assert!(
        difference <= share * measured as f64 + 4e5,
        "{what}: {planned} bytes planned, {measured} measured"
    );
}

struct Case {
    config: BitNetLmConfig,
    batch: usize,
    positions: usize,
    optimizer: OptimizerStates,
    latent: FloatDType,
}

impl Case {
    fn model<P: TrainableProjection>(&self, device: &Device) -> BitNetLm<P> {
        let lm = self.config.init(device);
        match self.latent {
            FloatDType::F32 => lm,
            dtype => cast_latent_weights(lm, dtype),
        }
    }

    fn optimizer(&self) -> ModuleOptimizer {
        let adamw_8bit = AdamW8bitConfig::new();
        match (self.optimizer, self.latent) {
            (OptimizerStates::AdamW, _) => AdamWConfig::new().init(),
            (_, FloatDType::F32) => adamw_8bit.init(),
            _ => QatOptimizerConfig::new()
                .with_stochastic_rounding(Some(0))
                .build(adamw_8bit.build())
                .into(),
        }
    }

    /// The last of some steps.
    fn measure<P: Projection>(
        &self,
        model: impl Fn(&Device) -> BitNetLm<P>,
        device: &Device,
    ) -> Measured {
        let before = in_use();
        let (mut lm, mut optimizer) = (model(device), self.optimizer());
        let shape = [self.batch, self.positions];
        let mut step = || {
            let tokens = Tensor::<2, Int>::random(shape, Distribution::Uniform(0.0, 95.0), device);
            let kept = in_use();
            PEAK.store(kept, Relaxed);
            let logits = lm.forward(tokens.clone());
            let activations = in_use() - kept;
            let [batch, positions, vocab_size] = logits.dims();
            let rows = batch * positions;
            let loss = CrossEntropyLossConfig::new()
                .init(device)
                .forward(logits.reshape([rows, vocab_size]), tokens.reshape([rows]));
            let grads = loss.backward();
            // Of adapters there are fewer than what the step before left to free.
            let gradients = in_use().saturating_sub(kept);
            let grads = GradientsParams::from_grads(grads, &lm);
            lm = optimizer.step(1e-3, lm.clone(), grads);
            Measured {
                kept: kept - before,
                activations,
                gradients,
                peak: PEAK.load(Relaxed) - before,
            }
        };
        step();
        step();
        step()
    }

    fn check<P: TrainableProjection>(&self) {
        self.check_model(|device| self.model::<P>(device));
    }

    fn check_model<P: Projection>(&self, model: impl Fn(&Device) -> BitNetLm<P>) {
        let device = Device::flex().autodiff();
        let plan = MemoryPlanConfig::new(self.batch, self.positions)
            .with_optimizer(self.optimizer)
            .plan(&model(&device));
        // The buffers of threads are kept from the first use on.
        self.measure(&model, &device);
        let measured = self.measure(&model, &device);
        println!("{plan:?}\n{measured:?}");
        let kept = plan.weights + plan.optimizer;
        assert_close("weights and optimizer", kept, measured.kept, 0.02);
        assert_close("activations", plan.activations, measured.activations, 0.02);
        assert_close("gradients", plan.gradients, measured.gradients, 0.02);
        assert_close("peak", plan.peak, measured.peak, 0.05);
    }
}

/// A model whose activations take most of the memory.
fn many_tokens(config: BitNetLmConfig) -> Case {
    Case {
        config,
        batch: 8,
        positions: 128,
        optimizer: OptimizerStates::AdamW,
        latent: FloatDType::F32,
    }
}

fn small() -> BitNetLmConfig {
    BitNetLmConfig::new(96, 128, 3, 4, 384).with_max_positions(128)
}

#[test]
fn a_step_takes_what_is_planned() {
    let _alone = alone();
    many_tokens(small()).check::<Linear>();
    many_tokens(small()).check::<BitLinear>();
    let variants = [
        small().with_sub_norm(false).with_n_kv_heads(Some(2)),
        small().with_scheme(QatScheme::b1_58().with_activation(None)),
        small().with_scheme(QatScheme::b1_58().with_ste(Ste::tanh(0.5))),
        small().with_tied_embeddings(false),
        small()
            .with_d_head(Some(48))
            .with_n_kv_heads(Some(2))
            .with_qk_norm(QkNorm::PerHead)
            .with_bias(ProjectionBias::new(true, true, true)),
    ];
    for config in variants {
        many_tokens(config).check::<BitLinear>();
    }
    // Models whose parameters take most of it.
    for (optimizer, latent) in [
        (OptimizerStates::AdamW, FloatDType::F32),
        (OptimizerStates::AdamW8bit, FloatDType::F32),
        (OptimizerStates::AdamW8bit, FloatDType::BF16),
    ] {
        let case = Case {
            config: BitNetLmConfig::new(96, 384, 3, 6, 1024).with_max_positions(32),
            batch: 1,
            positions: 16,
            optimizer,
            latent,
        };
        case.check::<BitLinear>();
    }
}

#[cfg(feature = "peft")]
#[test]
fn a_step_of_an_adapter_takes_what_is_planned() {
    let _alone = alone();
    for sub_norm in [false, true] {
        let case = many_tokens(small().with_sub_norm(sub_norm));
        let lora = LoraConfig::new(2).with_targets(TargetModules::AllLinear);
        case.check_model(|device| {
            let lm: BitNetLm<Linear> = case.model(device);
            lm.with_adapter("default", lora.clone()).unwrap().0
        });
    }
}

/// Returns the plan and the measured peak of the last of some training steps.
#[cfg(feature = "text")]
fn training_step<P: Projection>(
    case: &Case,
    model: &impl Fn(&Device) -> BitNetLm<P>,
    gradient_checkpointing: bool,
) -> (MemoryPlan, usize) {
    let device = Device::flex().autodiff();
    let before = in_use();
    let lm = model(&device);
    let plan = MemoryPlanConfig::new(case.batch, case.positions)
        .with_optimizer(case.optimizer)
        .with_gradient_checkpointing(gradient_checkpointing)
        .plan(&lm);
    let model = LanguageModel::new(lm).with_gradient_checkpointing(gradient_checkpointing);
    let (mut model, mut optimizer) = (model, case.optimizer());
    for step in 0..3 {
        let tokens = |i| (0..=case.positions).map(move |j| ((i + step + j * j) % 95) as u32);
        let sequences = (0..case.batch).map(|i| Sequence::unmasked(tokens(i).collect()));
        let batch = TokenBatch::new(&sequences.collect::<Vec<_>>(), &Device::flex());
        PEAK.store(in_use(), Relaxed);
        let output = TrainStep::step(&model, batch);
        model = optimizer.step(1e-3, model.clone(), output.grads);
    }
    (plan, PEAK.load(Relaxed) - before)
}

#[cfg(feature = "text")]
#[test]
fn gradient_checkpointing_takes_less_than_is_planned_and_a_fraction_of_one_graph() {
    let _alone = alone();
    // Activations of twelve blocks.
    let case = Case {
        batch: 4,
        ..many_tokens(BitNetLmConfig::new(96, 64, 12, 4, 192).with_max_positions(128))
    };
    fn check<P: Projection>(case: &Case, model: impl Fn(&Device) -> BitNetLm<P>) {
        // The buffers of threads are kept from the first use on.
        training_step(case, &model, false);
        let (whole, of_whole) = training_step(case, &model, false);
        let (parts, of_parts) = training_step(case, &model, true);
        println!("{whole:?} {of_whole}\n{parts:?} {of_parts}");
        // A small constant for non-tensors.
        assert!(of_parts <= parts.peak + 400_000, "{of_parts} of {parts:?}");
        assert!(2 * parts.peak < 3 * of_parts, "{of_parts} of {parts:?}");
        // Beside the model, whose states both have.
        let model = whole.weights + whole.optimizer;
        assert!(
            3 * (of_parts - model) < of_whole - model,
            "{of_parts} against {of_whole}, of which {model} for the model"
        );
    }
    check(&case, |device| case.model::<BitLinear>(device));
    check(&case, |device| case.model::<Linear>(device));
    #[cfg(feature = "peft")]
    check(&case, |device| {
        let lora = LoraConfig::new(2).with_targets(TargetModules::AllLinear);
        let lm = case.model::<Linear>(device);
        lm.with_adapter("default", lora).unwrap().0
    });
}

/// Returns the file of a packed layer.
fn packed<M: Module>(layer: M) -> PackedModel {
    let prepare =
        Prepare::new(QatScheme::weight_only()).with_group(ParamGroup::from_path("weight"));
    let layer = prepare.apply(layer).unwrap().model;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("packed.bpk");
    convert(&layer).unwrap().save(&path).unwrap();
    PackedModel::load(&path, &Device::default()).unwrap()
}

/// Returns the bytes of a loaded layer, and the peak of additional bytes in a forward pass.
fn measured<M, Y>(layer: impl FnOnce() -> M, pass: impl FnOnce(&M) -> Y) -> [usize; 2] {
    let before = in_use();
    let layer = layer();
    let kept = in_use() - before;
    PEAK.store(in_use(), Relaxed);
    drop(pass(&layer));
    [kept, PEAK.load(Relaxed) - before - kept]
}

#[test]
fn a_packed_layer_never_has_its_weight_as_a_whole() {
    let _alone = alone();
    let device = Device::default();
    // 32 MiB of floats, 2 MiB of codes.
    let new = || LinearConfig::new(2048, 4096).with_bias(false).init(&device);
    let model = packed(new());
    let x = Tensor::<2>::ones([1, 2048], &device);
    let [kept, pass] = measured(
        || model.load_into(new()).unwrap(),
        |layer: &Linear| layer.forward_packed(x.clone()),
    );
    assert!(
        kept < 1 << 18,
        "the codes are shared with the packed model: {kept}"
    );
    // A part of 2^20 values, and the memory of the product.
    assert!(pass < 10 << 20, "{pass}");

    let new = || EmbeddingConfig::new(4096, 2048).init(&device);
    let model = packed(new());
    let tokens = Tensor::<2, Int>::from_ints([[1, 4095, 7]], &device);
    let [kept, pass] = measured(
        || model.load_into(new()).unwrap(),
        |layer: &Embedding| layer.forward_packed(tokens.clone()),
    );
    assert!(kept < 1 << 18 && pass < 1 << 18, "{kept}, {pass}");
}
