//! Prompts of language models as adapters: what trains, names, initial values, and merging.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, BitNetLmConfig, Projection, TrainableProjection},
    peft::{
        AdaptedLinear, Adapter, AdapterBase, LoraConfig, PTuningConfig, PeftConfig, PeftError,
        PrefixInit, PrefixTuningConfig, PromptTuningConfig, PromptTuningInit,
    },
};
use burn::{
    module::Module,
    nn::Linear,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

const MODEL: usize = 32;
/// Size of the keys.
const KEYS: usize = 16;

fn device() -> Device {
    Device::default().autodiff()
}

fn lm<P: TrainableProjection>() -> BitNetLm<P> {
    let config = BitNetLmConfig::new(64, MODEL, 2, 4, 48)
        .with_n_kv_heads(Some(2))
        .with_max_positions(16);
    config.init(&device()).map(&mut Drawn::new(800, 0.15))
}

fn tokens() -> Tensor<2, Int> {
    Tensor::from_ints([[5, 3, 17, 9, 0, 31], [2, 8, 60, 1, 1, 44]], &device())
}

fn logits<P: Projection>(lm: &BitNetLm<P>) -> Vec<f32> {
    floats(lm.forward(tokens()))
}

/// The configuration of each method, its number of values that train, and of its parameters.
fn methods() -> [(PeftConfig, usize, usize); 4] {
    let prefix = PrefixTuningConfig::new(3);
    let linear = |d_input: usize, d_output: usize| (d_input + 1) * d_output;
    let projection = linear(KEYS, 6) + linear(6, 4 * KEYS);
    let perceptron = linear(MODEL, 6) + linear(6, 6) + linear(6, MODEL);
    [
        (prefix.clone().into(), 3 * 4 * KEYS, 1),
        (
            prefix.with_projection(Some(6)).into(),
            3 * KEYS + projection,
            5,
        ),
        (
            PTuningConfig::new(3).with_encoder_hidden_size(6).into(),
            3 * MODEL + perceptron,
            7,
        ),
        (PromptTuningConfig::new(3).into(), 3 * MODEL, 1),
    ]
}

/// Adds a method with the values of a seed.
fn with<P: AdapterBase>(lm: BitNetLm<P>, config: &PeftConfig) -> BitNetLm<AdaptedLinear<P>> {
    let (mut lm, _) = lm.with_adapter("default", config).unwrap();
    let prompt = lm.model.prompt.take();
    lm.model.prompt = prompt.map(|prompt| prompt.map(&mut Drawn::new(20, 0.5)));
    lm
}

fn only_the_prompt_trains<P: AdapterBase>(base: &BitNetLm<P>) {
    let mean = |lm: &BitNetLm<AdaptedLinear<P>>| {
        // Pulls all logits down but those of token 7.
        let logits = lm.forward(tokens());
        let of_seven = logits.clone().narrow(2, 7, 1);
        (logits.exp().sum_dim(2).log() - of_seven).mean()
    };
    for (config, values, parameters) in methods() {
        let (lm, report) = base.clone().with_adapter("default", &config).unwrap();
        assert_eq!(report.num_trainable, values, "{report}");
        assert_eq!(report.modules[0].name, "model.prompt");
        assert_eq!(report.num_params, base.num_params() + values);
        drop(lm);

        let mut lm = with(base.clone(), &config);
        let first = f64::from(mean(&lm).into_scalar::<f32>());
        let mut optimizer: ModuleOptimizer = AdamWConfig::new().init();
        for _ in 0..8 {
            let grads = GradientsParams::from_grads(mean(&lm).backward(), &lm);
            assert_eq!(grads.len(), parameters, "{config}: gradients");
            lm = optimizer.step(0.05, lm, grads);
        }
        let last = f64::from(mean(&lm).into_scalar::<f32>());
        assert!(last < first - 0.05, "{config}: loss {first}, then {last}");
        let (bytes, [moments, time]) = (
            optimizer.to_record().into_bytes().unwrap().len(),
            [2 * 4 * values, 1024 * parameters],
        );
        assert!(
            (moments..moments + time + 4096).contains(&bytes),
            "{config}: an optimizer state of {bytes} bytes for {values} values"
        );
        assert_equal(&logits(&lm.into_base()), &logits(base), "the base model");
    }
}

#[test]
fn only_the_prompt_trains_before_every_base_and_the_loss_falls() {
    only_the_prompt_trains(&lm::<Linear>());
    only_the_prompt_trains(&lm::<BitLinear>());
    only_the_prompt_trains(&lm::<BitLinear>().pack().train());
}

#[test]
fn a_second_prompt_is_refused_and_adapters_stand_beside_one() {
    let base = lm::<Linear>();
    for (config, ..) in methods() {
        let lm = with(base.clone(), &config);
        let (of_base, of_prompt) = (logits(&base), logits(&lm));
        assert_ne!(of_base, of_prompt);
        let error = lm.clone().add_adapter("two", &config).unwrap_err();
        assert_eq!(
            error.to_string(),
            r#"the model has the prompt "default", and "two" would stand before the same tokens: delete the first"#
        );
        let error = lm.clone().add_adapter("default", LoraConfig::new(2));
        assert!(matches!(error, Err(PeftError::Exists { .. })));

        let (lm, _) = lm.add_adapter("lora", LoraConfig::new(2)).unwrap();
        assert_equal(
            &logits(&lm),
            &of_base,
            "LoRA is untrained, and the prompt off",
        );
        let names: Vec<String> = lm.adapter_names().into_iter().collect();
        assert_eq!(names, ["default", "lora"]);
        let lm = lm.with_active_adapters(&["default", "lora"]).unwrap();
        assert_equal(
            &logits(&lm),
            &of_prompt,
            "the prompt with an untrained LoRA",
        );
        let lm = lm.with_active_adapters(&[]).unwrap();
        assert_equal(&logits(&lm), &of_base, "none");
        let lm = lm.with_active_adapters(&["default"]).unwrap();
        let lm = lm.delete_adapter("default").unwrap();
        assert_eq!(lm.adapter_names().len(), 1);
        assert_equal(&logits(&lm), &of_base, "the prompt is deleted");
        assert!(lm.delete_adapter("default").is_err());
    }
}

#[test]
fn merging_keeps_an_active_prompt_and_says_so() {
    for (config, ..) in methods() {
        let (lm, _) = with(lm::<Linear>(), &config)
            .add_adapter("lora", LoraConfig::new(2))
            .unwrap();
        let lm = lm.map_projections(|_, mut linear| {
            let adapters = linear.adapters.into_iter();
            let drawn = adapters.map(|adapter: Adapter| adapter.map(&mut Drawn::new(5, 0.1)));
            linear.adapters = drawn.collect();
            linear
        });
        let (merged, report) = lm.clone().merge(None);
        assert!(merged.model.prompt.is_none() && report.prompt.is_none());

        let lm = lm.with_active_adapters(&["default", "lora"]).unwrap();
        let expected = logits(&lm);
        let (merged, report) = lm.merge(None);
        assert_eq!(
            (report.modules.len(), report.prompt.as_deref()),
            (4, Some("default"))
        );
        let text = r#"the prompt "default" is not one of weights and stays; 4 modules merged"#;
        assert!(report.to_string().starts_with(text), "{report}");
        // Rounding of weights of about 1 and sums of 48 products through 2 layers.
        let bound = |i: usize| 4096.0 * ROUNDING * f64::from(expected[i].abs().max(1.0));
        assert_within(&logits(&merged), &expected, bound, "merged");
    }
}

fn values(lm: &BitNetLm<AdaptedLinear<Linear>>) -> Vec<f32> {
    floats(lm.model.prompt.as_ref().unwrap().values())
}

#[test]
fn initial_values_are_those_of_the_configuration() {
    let of = |config: PeftConfig| {
        let (lm, _) = lm::<Linear>().with_adapter("default", config).unwrap();
        let table = floats(lm.model.embed_tokens.weight.val());
        (values(&lm), table)
    };
    for zero in [
        PrefixTuningConfig::new(2),
        PrefixTuningConfig::new(2).with_projection(None),
    ] {
        let (zeros, _) = of(zero.clone().with_init(PrefixInit::Zero).into());
        assert_eq!(zeros, [0.0; 2 * 4 * KEYS]);
        let (normal, _) = of(zero.into());
        assert!(normal.iter().all(|v| *v != 0.0));
    }
    let (drawn, _) = of(PromptTuningConfig::new(15).into());
    let mean_square = drawn.iter().map(|v| v * v).sum::<f32>() / drawn.len() as f32;
    // The deviation of the mean of 480 squares is 0.065.
    assert!((mean_square - 1.0).abs() < 0.4, "{mean_square}");

    let tokens = PromptTuningInit::Tokens(vec![9, 4]);
    let (rows, table) = of(PromptTuningConfig::new(3).with_init(tokens).into());
    let row = |token: usize| &table[token * MODEL..(token + 1) * MODEL];
    assert_eq!(rows, [row(9), row(4), row(9)].concat());
    let sampled = PromptTuningConfig::new(15).with_init(PromptTuningInit::SampleVocab);
    let (rows, table) = of(sampled.into());
    let row_of = |row: &[f32]| table.chunks(MODEL).position(|other| other == row);
    let found: Vec<_> = rows.chunks(MODEL).map(row_of).collect();
    assert!(found.iter().all(Option::is_some), "{found:?}");
    // All of 15 tokens of 64 are the same with a probability of 64^-14.
    assert!(found.iter().any(|row| *row != found[0]));
}

#[test]
fn what_does_not_fit_is_refused_with_its_values() {
    let error = |config: PeftConfig| {
        let added = lm::<Linear>().with_adapter("default", config);
        added.unwrap_err().to_string()
    };
    let of = |json: &str| serde_json::from_str::<PeftConfig>(json).unwrap();
    for (config, expected) in [
        (
            of(r#"{"method": "prefix_tuning", "num_virtual_tokens": 0}"#),
            "num_virtual_tokens must be 1 or more, got 0",
        ),
        (
            of(r#"{"method": "p_tuning", "num_virtual_tokens": 2, "encoder_hidden_size": 0}"#),
            "encoder_hidden_size must be 1 or more, got 0",
        ),
        (
            of(r#"{"method": "prefix_tuning", "num_virtual_tokens": 2, "token_dim": 32}"#),
            "token_dim of the prompt is 32, and that of the model 16",
        ),
        (
            of(r#"{"method": "prefix_tuning", "num_virtual_tokens": 2, "num_layers": 3}"#),
            "num_layers of the prompt is 3, and that of the model 2",
        ),
        (
            of(r#"{"method": "prefix_tuning", "num_virtual_tokens": 2, "num_attention_heads": 4}"#),
            "num_attention_heads of the prompt is 4, and that of the model 2",
        ),
        (
            of(r#"{"method": "prompt_tuning", "num_virtual_tokens": 2, "token_dim": 16}"#),
            "token_dim of the prompt is 16, and that of the model 32",
        ),
        (
            PromptTuningConfig::new(16).into(),
            "16 virtual tokens leave no position for others in a model of 16 positions",
        ),
        (
            of(
                r#"{"method": "prompt_tuning", "num_virtual_tokens": 2, "prompt_tuning_init": {"TOKENS": [1, 64]}}"#,
            ),
            "prompt_tuning_init must be a token below 64, got 64",
        ),
        (
            of(
                r#"{"method": "prompt_tuning", "num_virtual_tokens": 2, "prompt_tuning_init": {"TOKENS": []}}"#,
            ),
            "number of tokens of prompt_tuning_init must be 1 or more, got 0",
        ),
    ] {
        assert_eq!(error(config), expected);
    }
}

#[test]
fn configurations_come_back_from_json_and_deny_unknown_fields() {
    for (mut config, ..) in methods() {
        if let PeftConfig::PrefixTuning(config) = &mut config {
            config.size.token_dim = Some(KEYS);
            config.init_weights = PrefixInit::Zero;
        }
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<PeftConfig>(&text).unwrap(), config);
        let unknown = text.replace("{\"method\"", "{\"token_dims\":3,\"method\"");
        let error = serde_json::from_str::<PeftConfig>(&unknown).unwrap_err();
        assert!(error.to_string().contains("token_dims"), "{error}");
    }
}
