//! PiSSA and OLoRA in files: plain adapters of the original weights.

use bitnet_burn::{
    interop::peft::{load, save},
    nn::Linear4bit,
    peft::{Adapter, Lora, LoraConfig, LoraInit, TargetModules},
    quant::FourBitConfig,
};
use burn::tensor::DType;

use super::*;

#[test]
fn converted_folders_of_peft_have_its_logits() {
    for name in ["pissa_lora", "pissa_rslora"] {
        let (_, lm) = adapted("l_llama", name);
        assert_logits(&lm, &values(&format!("{name}.logits")), name);
    }
}

#[test]
fn the_initial_product_of_pissa_is_that_of_peft() {
    let mut config = LoraConfig::new(2)
        .with_alpha(3.0)
        .with_init(LoraInit::Pissa)
        .with_targets(TargetModules::names(["q_proj", "down_proj"]));
    config.targets.layers_to_transform = Some(vec![0]);
    let (lm, _) = model("l_llama").with_adapter("default", &config).unwrap();
    let (_, q_proj) = lm.projections().next().unwrap();
    let Some(Adapter::Lora(lora)) = q_proj.adapter("default") else {
        panic!("no adapter");
    };
    // Singular values of about 1 in rounding of sums of 16 products; the third is not close to the second.
    let bound = |_| 64.0 * ROUNDING;
    assert_within(
        &floats(lora.delta().transpose()),
        &values("pissa.product"),
        bound,
        "s A B",
    );
}

/// Adds values of a seed to the factors, as training does.
fn moved(lm: BitNetLm<AdaptedLinear<Linear>>, mut seed: u64) -> BitNetLm<AdaptedLinear<Linear>> {
    lm.map_projections(|_, mut linear| {
        linear.adapters = linear
            .adapters
            .into_iter()
            .map(|adapter| {
                let Adapter::Lora(mut lora) = adapter else {
                    panic!("LoRA adapters")
                };
                let mut moved = |value: Tensor<2>| {
                    seed += 1;
                    let change = normal(value.shape().num_elements(), seed);
                    value.clone() + tensor(&change, value.dims(), DType::F32, &value.device())
                };
                lora.a = lora.a.map(&mut moved);
                lora.b = lora.b.map(&mut moved);
                lora.into()
            })
            .collect();
        linear
    })
}

fn config(init: LoraInit, use_rslora: bool, use_dora: bool) -> LoraConfig {
    let targets = TargetModules::names(["q_proj", "down_proj"]);
    let mut config = LoraConfig::new(2)
        .with_alpha(3.0)
        .with_init(init)
        .with_targets(targets);
    config.rank_pattern.insert("down_proj".to_string(), 3);
    config.alpha_pattern.insert("down_proj".to_string(), 2.0);
    config.use_rslora = use_rslora;
    config.use_dora = use_dora;
    config
}

#[test]
fn saved_adapters_stand_beside_the_original_weights() {
    let base = logits(&model("l_llama"));
    for init in [LoraInit::Pissa, LoraInit::PissaNiter(1), LoraInit::Olora] {
        for (use_rslora, use_dora) in [(false, false), (true, false), (false, true)] {
            let config = config(init, use_rslora, use_dora);
            let (lm, _) = model("l_llama").with_adapter("default", &config).unwrap();
            assert_logits(&lm, &base, "before training");
            let lm = moved(lm, 60);
            let trained = logits(&lm);
            let again = saved_and_loaded(&lm, "default", &config.into(), model("l_llama"));
            assert_logits(&again, &trained, "plain");
            let ranks = again
                .projections()
                .filter_map(|(_, p)| p.adapters.first().cloned());
            let ranks: Vec<usize> = ranks
                .filter_map(|adapter| Some(adapter.as_lora()?.rank()))
                .collect();
            assert_eq!(ranks, [4, 6, 4, 6]);
        }
    }
}

#[test]
fn without_an_active_adapter_the_model_is_the_original() {
    let base = logits(&model("l_llama"));
    let config = config(LoraInit::Pissa, false, false);
    let (lm, report) = model("l_llama").with_adapter("default", &config).unwrap();
    let sizes = report.modules.iter().map(|m| m.num_params);
    assert_eq!(sizes.collect::<Vec<_>>(), [2 * 32, 3 * 36, 2 * 32, 3 * 36]);
    let lm = moved(lm, 70);
    let trained = logits(&lm);
    assert!(trained.iter().zip(&base).any(|(a, b)| (a - b).abs() > 0.1));
    let resting = lm.clone().with_active_adapters(&[]).unwrap();
    assert_logits(&resting, &base, "not active");
    assert_logits(&resting.clone().merge(None).0, &base, "nothing merged");
    let (second, _) = lm
        .clone()
        .add_adapter("second", LoraConfig::new(2))
        .unwrap();
    assert_logits(&second, &base, "a second adapter, untrained");
    assert_logits(&second.delete_adapter("default").unwrap(), &base, "deleted");
    assert_logits(&lm.clone().into_base(), &base, "removed");
    assert_logits(&lm.merge(None).0, &trained, "merged");
}

#[test]
fn a_configuration_that_says_something_else_is_refused() {
    let config = config(LoraInit::Pissa, false, false);
    let (lm, _) = model("l_llama").with_adapter("default", &config).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let other = config.clone().with_init(LoraInit::Kaiming);
    let error = save(folder.path(), &lm, "default", &other)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("init is kaiming, but the adapter of"),
        "{error}"
    );
    let lm = lm.map_projections(|_, mut linear| {
        for adapter in &mut linear.adapters {
            let lora = adapter.as_lora().unwrap();
            *adapter = Lora::new(lora.a.val(), lora.b.val(), lora.scaling).into();
        }
        linear
    });
    let error = save(folder.path(), &lm, "default", &config)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("was not subtracted from its base"),
        "{error}"
    );
}

#[test]
fn an_adapter_of_a_base_that_a_folder_does_not_hold_is_refused() {
    for (iterations, is_written) in [(1, true), (2, false)] {
        let config = LoraConfig::new(2).with_init(LoraInit::Loftq(iterations));
        let nf4 = FourBitConfig::default();
        let quantize = |linear: Linear| Linear4bit::from_linear(&linear, &nf4);
        let lm = model("l_llama").with_loftq("default", &config, |_, linear| quantize(linear));
        let (lm, _) = lm.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let saved = save(folder.path(), &lm, "default", &config);
        assert_eq!(saved.is_ok(), is_written);
        if let Err(error) = saved {
            assert!(
                error.to_string().contains("2 iterations of loftq"),
                "{error}"
            );
            continue;
        }
        let base = model("l_llama").map_projections(|_, linear| quantize(linear));
        let again = load(folder.path()).unwrap().attach(base, "again").unwrap();
        assert_logits(&again, &logits(&lm), "beside the quantized original");
    }
}
