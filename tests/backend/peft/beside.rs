//! What trains beside and within adapters: biases, whole modules, and LoRA+'s two learning rates.

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig, KvCacheConfig, ProjectionBias},
    peft::{AdaptedLinear, LoraBias, LoraConfig, TargetModules, lora_plus_group},
};
use burn::{
    lr_scheduler::{constant::ConstantLr, module_lr_scheduler::ModuleLrScheduler},
    module::{Module, ModuleVisitor, Param, ParamId},
    nn::Linear,
    optim::{GradientsParams, ModuleOptimizer, SgdConfig},
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

fn device() -> Device {
    Device::default().autodiff()
}

fn lm(tied: bool) -> BitNetLm<Linear> {
    let config = BitNetLmConfig::new(24, 16, 1, 2, 20)
        .with_tied_embeddings(tied)
        .with_bias(ProjectionBias::new(true, false, false));
    config.init(&device()).map(&mut Drawn::new(900, 0.15))
}

fn tokens() -> Tensor<2, Int> {
    Tensor::from_ints([[5, 3, 17, 9, 0, 21]], &device())
}

/// Paths and values of the parameters that train.
#[derive(Default)]
struct Trained {
    path: Vec<String>,
    values: Vec<(String, Vec<f32>)>,
}

impl ModuleVisitor for Trained {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if param.is_require_grad() {
            let values = floats(param.val());
            self.values.push((self.path.join("."), values));
        }
    }
}

fn trained<M: Module>(module: &M) -> Vec<(String, Vec<f32>)> {
    let mut trained = Trained::default();
    module.visit(&mut trained);
    trained.values
}

fn paths(lm: &BitNetLm<AdaptedLinear<Linear>>) -> Vec<String> {
    let trained = trained(lm).into_iter().map(|(path, _)| path);
    trained
        .filter(|path| !path.contains(".adapters."))
        .collect()
}

#[test]
fn a_tied_table_or_head_trains_apart() {
    for (module, path) in [
        ("embed_tokens", "model.embed_tokens.weight"),
        ("lm_head", "lm_head.weight"),
    ] {
        let before = floats(lm(true).forward(tokens()));
        let mut config = LoraConfig::new(2);
        config.modules_to_save = vec![module.to_string()];
        let (lm, report) = lm(true).with_adapter("default", &config).unwrap();
        assert_eq!(report.unmatched, [""; 0]);
        assert_eq!(paths(&lm), [path]);
        // One product with a transposed table, and one with its copy.
        let bound = |i: usize| 64.0 * ROUNDING * f64::from(before[i].abs().max(1.0));
        assert_within(&floats(lm.forward(tokens())), &before, bound, "logits");
    }
}

#[test]
fn biases_train_in_all_or_in_adapted_modules() {
    let biases = |bias| {
        let mut config = LoraConfig::new(2);
        config.bias = bias;
        paths(&lm(false).with_adapter("default", &config).unwrap().0)
    };
    let of = |name: &str| format!("model.layers.0.self_attn.{name}.base.bias");
    assert_eq!(biases(LoraBias::None), [""; 0]);
    assert_eq!(biases(LoraBias::LoraOnly), [of("q_proj"), of("v_proj")]);
    let all = [of("q_proj"), of("k_proj"), of("v_proj")];
    assert_eq!(biases(LoraBias::All), all);
}

#[test]
fn lora_plus_steps_b_and_vectors_by_the_ratio() {
    let ratio = 16.0;
    let mut config = LoraConfig::new(2).with_dora().with_loraplus_lr_ratio(ratio);
    config.bias = LoraBias::LoraOnly;
    let (lm, _) = lm(false).with_adapter("default", &config).unwrap();
    // B of an untrained adapter is zero, and A has no gradient then.
    let lm = lm.map(&mut Drawn::new(910, 0.15));
    let step = |scheduler: &mut ModuleLrScheduler| {
        let mut optimizer: ModuleOptimizer = SgdConfig::new().init();
        let grads = lm.forward(tokens()).square().mean().backward();
        let grads = GradientsParams::from_grads(grads, &lm);
        trained(&optimizer.step(scheduler.step(), lm.clone(), grads))
    };
    let rate = 0.5;
    let group = lora_plus_group(&lm);
    let alike = step(&mut ModuleLrScheduler::new(ConstantLr::new(rate)));
    let fast = step(
        &mut ModuleLrScheduler::new(ConstantLr::new(rate))
            .with_group(group, ConstantLr::new(ratio * rate)),
    );
    for ((path, before), (one, other)) in trained(&lm).iter().zip(alike.iter().zip(&fast)) {
        let expected = if path.ends_with(".a") { 1.0 } else { ratio };
        assert_ne!(before, &one.1, "{path}");
        for ((before, one), other) in before.iter().zip(&one.1).zip(&other.1) {
            let (one, other) = (f64::from(one - before), f64::from(other - before));
            // Each step is the difference of two rounded values of at most 2.
            let bound = 2.0 * (expected + 1.0) * 2.0 * ROUNDING;
            assert!(
                (other - expected * one).abs() <= bound,
                "{path}: {one} and {other}"
            );
        }
    }
}

#[test]
fn adapters_of_table_and_head_train_alone_with_their_decoding() {
    let targets = TargetModules::names(["embed_tokens", "lm_head"]);
    let config = LoraConfig::new(2)
        .with_targets(targets)
        .with_loraplus_lr_ratio(4.0);
    for tied in [true, false] {
        let (lm, report) = lm(tied).with_adapter("default", &config).unwrap();
        let expected = 2 * (24 * 2 + 2 * 16);
        assert_eq!(report.num_trainable, expected);
        let lm = lm.map(&mut Drawn::new(920, 0.15));
        let before = trained(&lm);
        let paths: Vec<&str> = before.iter().map(|(path, _)| path.as_str()).collect();
        assert_eq!(
            paths,
            [
                "model.embed_products.products.0.a",
                "model.embed_products.products.0.b",
                "head_products.products.0.a",
                "head_products.products.0.b",
            ]
        );
        let grads = lm.forward(tokens()).square().mean().backward();
        let grads = GradientsParams::from_grads(grads, &lm);
        assert_eq!(grads.len(), 4);
        let mut optimizer: ModuleOptimizer = SgdConfig::new().init();
        let stepped = trained(&optimizer.step(0.5, lm.clone(), grads));
        for ((path, before), (_, after)) in before.iter().zip(&stepped) {
            assert_ne!(before, after, "{path}");
        }
        let of_head = lm_head_factor(&lm);
        assert!(lora_plus_group(&lm).matches(&of_head, None));

        // Decoding sees the products, too.
        let lm = lm.valid();
        let tokens = Tensor::<2, Int>::from_ints([[5, 3, 17]], &Device::default());
        let all = lm.forward(tokens.clone());
        let last = floats(all.narrow(1, 2, 1));
        let mut cache = KvCacheConfig::new(1, 8).init(&lm);
        let decoded = floats(lm.decode(tokens, &mut cache));
        let bound = |i: usize| 256.0 * ROUNDING * f64::from(last[i].abs().max(1.0));
        assert_within(&decoded, &last, bound, "decoded");
    }
}

fn lm_head_factor(lm: &BitNetLm<AdaptedLinear<Linear>>) -> ParamId {
    lm.head_products.products[0].b.id
}

#[test]
fn records_hold_the_adapters_of_table_and_head() {
    let targets = TargetModules::names(["embed_tokens", "lm_head"]);
    let config = LoraConfig::new(2).with_targets(targets);
    let adapted = || lm(true).with_adapter("default", &config).unwrap().0;
    let drawn = adapted().map(&mut Drawn::new(930, 0.15));
    let expected = floats(drawn.forward(tokens()));
    let loaded = adapted().load_record(drawn.into_record());
    assert_equal(&floats(loaded.forward(tokens())), &expected, "loaded");
}
