//! Models whose own parameters train.

use bitnet_burn::{
    nn::{
        BitLinear, BitNetLm, BitNetLmConfig, Projection, ProjectionBias, Prompt, PromptEncoder,
        QkNorm,
    },
    qat::{QuantControls, cast_latent_weights, detach_controls},
    quant::{
        ActivationQuantizer, BitWidth, HadamardConfig, NoiseConfig, QatScheme, Ste,
        WeightGranularity, WeightQuantizer,
        calibration::{ObserverConfig, SamplingPolicy},
    },
    train::LanguageModel,
};
use burn::{
    module::{Module, ModuleMapper, Param},
    nn::Linear,
    tensor::{DType, Device, FloatDType, Tensor},
    train::TrainStep,
};

use crate::support::{steps::*, values::*};

fn architectures() -> Vec<BitNetLmConfig> {
    let biases = ProjectionBias::new(true, true, true);
    vec![
        config(),
        config().with_tied_embeddings(false).with_sub_norm(false),
        config().with_bias(biases).with_qk_norm(QkNorm::PerHead),
        BitNetLmConfig::new(20, 16, 1, 4, 24).with_max_positions(16),
    ]
}

#[test]
fn gradients_are_those_of_one_graph() {
    for config in architectures() {
        let parameters = |lm: &BitNetLm<Linear>| lm.projections().count();
        let lm = model::<Linear>(&config);
        assert!(check_steps("full precision", &lm) > parameters(&lm));
        check_steps("quantized", &model::<BitLinear>(&config));
    }
}

fn schemes() -> Vec<QatScheme> {
    let lsq = ActivationQuantizer::LearnedStep {
        bits: 8,
        offset: true,
        absmean: 0.8,
    };
    let uniform = NoiseConfig::Uniform {
        factor: 0.5,
        seed: 3,
    };
    let quant = NoiseConfig::Quant {
        fraction: 0.5,
        seed: 4,
    };
    let b1_58 = QatScheme::b1_58;
    vec![
        b1_58().with_activation(None),
        b1_58().with_ste(Ste::clipped(1.0)),
        b1_58().with_rotation(Some(HadamardConfig::new(8))),
        b1_58().with_noise(Some(uniform)),
        b1_58().with_noise(Some(quant)),
        b1_58().with_weight(WeightQuantizer::ternary(WeightGranularity::PerGroup {
            group_size: 8,
        })),
        b1_58()
            .with_weight(WeightQuantizer::learned_step(BitWidth::Bits(4)))
            .with_activation(Some(lsq)),
        b1_58()
            .with_weight(WeightQuantizer::learned_step(BitWidth::Ternary))
            .with_noise(Some(uniform)),
    ]
}

#[test]
fn gradients_of_every_scheme_are_those_of_one_graph() {
    for scheme in schemes() {
        let lm: BitNetLm = model(&config().with_scheme(scheme.clone()));
        check_steps(&scheme.to_string(), &lm);
        // Weights of one input pass different numbers of operations.
        let controls = QuantControls::of(&lm);
        controls.set_step(5);
        controls.set_lambda(0.5);
        let queries = controls.filter(|path| path.contains("q_proj"));
        queries.set_excluded(true);
        check_steps(&format!("{scheme}, in part"), &lm);
    }
    if computes_in(&Device::default(), DType::BF16) {
        let lm = cast_latent_weights(model::<BitLinear>(&config()), FloatDType::BF16);
        check_steps("latent weights in bf16", &lm);
    }
}

/// Freezes the parameters of a model whose path fulfils a condition.
fn frozen<P: Projection>(lm: BitNetLm<P>, is_frozen: impl Fn(&str) -> bool) -> BitNetLm<P> {
    let path = Vec::new();
    lm.map(&mut Freeze { path, is_frozen })
}

struct Freeze<F> {
    path: Vec<String>,
    is_frozen: F,
}

impl<F: Fn(&str) -> bool> ModuleMapper for Freeze<F> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        match (self.is_frozen)(&self.path.join(".")) {
            true => param.set_require_grad(false),
            false => param,
        }
    }
}

#[test]
fn frozen_parts_have_no_gradients() {
    let trained = [
        ("model.embed_tokens", 1),
        ("model.layers.0.mlp.up_proj", 1),
        ("model.layers.1", 11),
        ("model.layers.2.input_layernorm", 1),
        ("model.norm", 1),
        ("lm_head", 1),
    ];
    let config = config().with_tied_embeddings(false);
    for (part, count) in trained {
        let lm = frozen(model::<BitLinear>(&config), |path| !path.starts_with(part));
        assert_eq!(check_steps(part, &lm), count, "{part}");
        let lm = frozen(model::<Linear>(&config), |path| !path.starts_with(part));
        assert_eq!(check_steps(part, &lm), count, "{part} in full precision");
    }
}

#[test]
fn a_projection_of_several_blocks_has_the_sum_of_their_gradients() {
    let mut lm: BitNetLm = model(&config());
    let shared = lm.model.layers[0].self_attn.k_proj.clone();
    for layer in &mut lm.model.layers[1..] {
        layer.self_attn.k_proj = shared.clone();
    }
    check_steps("a shared projection", &lm);
}

fn prompts(device: &Device) -> [Prompt; 4] {
    let values = |d: usize| tensor(&normal(3 * d, 7), [3, d], burn::tensor::DType::F32, device);
    // Keys and values of 3 layers with 2 heads of 4 values.
    let d_prefix = 2 * 3 * 8;
    [
        Prompt::prefix("prefix", values(d_prefix)),
        Prompt::prefix("encoded prefix", values(5))
            .with_encoder(PromptEncoder::prefix([5, 6, d_prefix], device)),
        Prompt::input("prompt", values(16)),
        Prompt::input("p-tuning", values(16)).with_encoder(PromptEncoder::p_tuning(16, 6, device)),
    ]
}

#[test]
fn prompts_have_the_gradients_of_one_graph() {
    let device = Device::default().autodiff();
    for prompt in prompts(&device) {
        let name = prompt.name().to_string();
        let mut lm: BitNetLm = model(&config());
        lm.model.prompt = Some(prompt.clone());
        check_steps(&name, &lm);
        let mut lm = model::<Linear>(&config()).no_grad();
        lm.model.prompt = Some(prompt.clone());
        check_steps(&format!("{name} alone"), &lm);
        let mut lm: BitNetLm = model(&config());
        lm.model.prompt = Some(prompt.no_grad());
        check_steps(&format!("a constant {name}"), &lm);
    }
}

#[test]
fn each_value_is_observed_once() {
    let quantizer = ActivationQuantizer::Static {
        bits: 8,
        symmetric: true,
    };
    let scheme = QatScheme::b1_58().with_activation(Some(quantizer));
    let lm: BitNetLm = model(&config().with_scheme(scheme));
    let observed = |is_on| {
        let model = LanguageModel::new(detach_controls(lm.clone()));
        let controls = QuantControls::of(&model);
        controls.observe_training(&ObserverConfig::ema_min_max(), SamplingPolicy::default());
        let model = model.with_gradient_checkpointing(is_on);
        for _ in 0..2 {
            TrainStep::step(&model, batch());
        }
        controls.observations()
    };
    assert_eq!(observed(true), observed(false));
}
