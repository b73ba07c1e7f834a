//! Adapters beside frozen weights.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, ProjectionBias},
    peft::{
        AdaLoraConfig, AdapterBase, BitFitConfig, Ia3Config, LoraConfig, LoraInit, PTuningConfig,
        PeftConfig, PrefixTuningConfig, PromptTuningConfig, TargetModules, Targets,
    },
    quant::FourBitConfig,
};
use burn::{
    module::Module,
    nn::Linear,
    tensor::{DType, Device, FloatDType},
};

use crate::support::{steps::*, values::*};

fn lora() -> LoraConfig {
    LoraConfig::new(2).with_targets(TargetModules::AllLinear)
}

fn methods() -> Vec<PeftConfig> {
    let ada_lora = AdaLoraConfig::new(100).with_ranks(3, 2);
    vec![
        lora().into(),
        lora().with_dora().into(),
        ada_lora.with_targets(TargetModules::AllLinear).into(),
        Ia3Config::default().into(),
        BitFitConfig::default().into(),
        PrefixTuningConfig::new(3).into(),
        PTuningConfig::new(3).into(),
        PromptTuningConfig::new(3).into(),
    ]
}

fn check_beside<P: AdapterBase>(base: &str, lm: &BitNetLm<P>) {
    for method in methods() {
        let (adapted, _) = lm.clone().with_adapter("default", &method).unwrap();
        let adapted = adapted.map(&mut DrawTrained(90));
        check_steps(&format!("{method:?} beside {base}"), &adapted);
    }
}

#[test]
fn adapters_have_the_gradients_of_one_graph() {
    // BitFit trains the biases that there are.
    let biased = config().with_bias(ProjectionBias::QKV);
    check_beside("floats", &model::<Linear>(&biased));
    if on_cubecl_cpu() {
        return;
    }
    check_beside("latent weights", &model::<BitLinear>(&biased));
    check_beside("codes", &model::<BitLinear>(&biased).pack().train());
    let four_bit = model::<Linear>(&biased).into_four_bit(&FourBitConfig::default());
    check_beside("4 bits", &four_bit);
    if computes_in(&Device::default(), DType::BF16) {
        let half = model::<Linear>(&biased).with_projection_dtype(FloatDType::BF16);
        check_beside("bf16", &half);
    }
}

#[test]
fn adapters_of_ends_and_upper_layers_have_the_gradients_of_one_graph() {
    let names = ["embed_tokens", "lm_head", "q_proj", "v_proj"];
    for tied in [false, true] {
        let lm = model::<Linear>(&config().with_tied_embeddings(tied));
        let names: Vec<_> = names
            .into_iter()
            .filter(|name| !tied || *name != "lm_head")
            .collect();
        let config = LoraConfig::new(2).with_targets(TargetModules::names(names));
        let (lm, _) = lm.with_adapter("default", config).unwrap();
        check_steps("ends", &lm.map(&mut DrawTrained(91)));
    }
    let mut targets = Targets::from(TargetModules::names(["down_proj"]));
    targets.layers_to_transform = Some(vec![2]);
    let config = lora().with_init(LoraInit::Pissa).with_targets(targets);
    let (lm, _) = model::<Linear>(&self::config())
        .with_adapter("default", config)
        .unwrap();
    assert_eq!(check_steps("the last layer", &lm), 2);
}
