//! Adapters in a language model, on float, latent and packed bases.

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, BitNetLmConfig, Linear4bit, Projection, TrainableProjection},
    peft::{
        AdaptedLinear, Adapter, AdapterBase, LoraBias, LoraConfig, LoraInit, PeftError,
        TargetModules, Targets,
    },
    quant::{FourBitConfig, TernaryConfig, WeightGranularity},
};
use burn::{
    module::{Module, ModuleVisitor, Param},
    nn::Linear,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

fn device() -> Device {
    Device::default().autodiff()
}

fn lm<P: TrainableProjection>() -> BitNetLm<P> {
    let config = BitNetLmConfig::new(64, 32, 2, 4, 48).with_tied_embeddings(false);
    config.init(&device()).map(&mut Drawn::new(800, 0.15))
}

fn four_bit() -> BitNetLm<Linear4bit> {
    let config = FourBitConfig::default();
    lm::<Linear>().map_projections(|_, linear| Linear4bit::from_linear(&linear, &config))
}

fn tokens() -> Tensor<2, Int> {
    Tensor::from_ints([[5, 3, 17, 9, 0, 31, 2, 8]], &device())
}

fn logits<P: Projection>(lm: &BitNetLm<P>) -> Vec<f32> {
    floats(lm.forward(tokens()))
}

fn all_linear(rank: usize) -> LoraConfig {
    LoraConfig::new(rank).with_targets(TargetModules::AllLinear)
}

/// Sets the factors to values that are not zero.
fn drawn<P: AdapterBase>(lm: BitNetLm<AdaptedLinear<P>>, seed: u64) -> BitNetLm<AdaptedLinear<P>> {
    let mut seed = seed;
    lm.map_projections(|_, mut linear| {
        linear.adapters = linear
            .adapters
            .into_iter()
            .map(|adapter| {
                let Adapter::Lora(mut lora) = adapter else {
                    panic!("LoRA adapters")
                };
                seed += 1;
                lora.b = lora.b.map(|b| {
                    let values = normal(b.shape().num_elements(), seed);
                    tensor(&values, b.dims(), b.dtype(), &b.device())
                        .set_require_grad(b.is_require_grad())
                });
                lora.into()
            })
            .collect();
        linear
    })
}

fn unchanged<P: AdapterBase>(lm: BitNetLm<P>) {
    let before = logits(&lm);
    for config in [
        all_linear(4),
        all_linear(4).with_init(LoraInit::Gaussian),
        all_linear(4).with_dropout(0.5),
    ] {
        let (adapted, report) = lm.clone().with_adapter("default", &config).unwrap();
        assert_eq!(report.modules.len(), 14);
        assert_equal(&logits(&adapted), &before, "an untrained adapter");
        assert_equal(&logits(&adapted.into_base()), &before, "without adapters");
    }
}

#[test]
fn an_untrained_adapter_changes_nothing_bit_for_bit() {
    unchanged(lm::<Linear>());
    unchanged(lm::<BitLinear>());
    unchanged(four_bit());
    unchanged(lm::<BitLinear>().pack().train());
}

/// Names and values of the parameters, and those that train.
#[derive(Default)]
struct Values {
    path: Vec<String>,
    values: Vec<(String, Vec<f32>)>,
    trains: Vec<String>,
}

impl ModuleVisitor for Values {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let path = self.path.join(".");
        if param.is_require_grad() {
            self.trains.push(path.clone());
        }
        self.values.push((path, floats(param.val())));
    }
}

fn values<M: Module>(module: &M) -> Values {
    let mut values = Values::default();
    module.visit(&mut values);
    values
}

fn only_the_adapter_trains<P: AdapterBase>(lm: BitNetLm<P>) {
    let (lm, report) = lm.with_adapter("default", all_linear(4)).unwrap();
    let lm = drawn(lm, 10);
    let before = values(&lm);
    assert_eq!(before.trains.len(), 28);
    assert!(
        before
            .trains
            .iter()
            .all(|path| path.contains(".adapters.0.")),
        "{:?}",
        before.trains
    );
    let count = |(path, values): &(String, Vec<f32>)| {
        if before.trains.contains(path) {
            values.len()
        } else {
            0
        }
    };
    assert_eq!(
        report.num_trainable,
        before.values.iter().map(count).sum::<usize>()
    );

    let mut optimizer: ModuleOptimizer = AdamWConfig::new().init();
    let grads = lm.forward(tokens()).square().mean().backward();
    let grads = GradientsParams::from_grads(grads, &lm);
    assert_eq!(grads.len(), 28, "gradients");
    let lm = optimizer.step(1e-2, lm, grads);
    for ((path, before_), (_, after)) in before.values.iter().zip(&values(&lm).values) {
        assert_eq!(before_ != after, before.trains.contains(path), "{path}");
    }
}

#[test]
fn only_the_adapter_trains_beside_every_base() {
    only_the_adapter_trains(lm::<Linear>());
    only_the_adapter_trains(lm::<BitLinear>());
    only_the_adapter_trains(four_bit());
    only_the_adapter_trains(lm::<BitLinear>().pack().train());
}

#[test]
fn biases_and_whole_modules_train_where_the_configuration_says_so() {
    let mut config = all_linear(2);
    config.modules_to_save = vec!["lm_head".to_string(), "classifier".to_string()];
    config.bias = LoraBias::All;
    let (lm, report) = lm::<Linear>().with_adapter("default", &config).unwrap();
    assert_eq!(report.unmatched, ["classifier"]);
    assert!(
        report.to_string().contains("classifier matches nothing"),
        "{report}"
    );
    let trains = values(&lm).trains;
    assert!(trains.contains(&"lm_head.weight".to_string()), "{trains:?}");
    assert_eq!(trains.len(), 29);
}

#[test]
fn a_merged_adapter_gives_the_logits_of_the_one_beside_the_weight() {
    let (lm, _) = lm::<Linear>()
        .with_adapter("default", all_linear(4))
        .unwrap();
    let lm = drawn(lm, 20);
    let beside = logits(&lm);
    let (merged, report) = lm.merge(None);
    // Rounding of weights of about 1 and sums of 48 products through 2 layers.
    let bound = |i: usize| 4096.0 * ROUNDING * f64::from(beside[i].abs().max(1.0));
    assert_within(&logits(&merged), &beside, bound, "merged");
    assert!(report.worst().unwrap().loss < 1e-5, "{report}");
}

#[test]
fn merging_into_codes_tells_what_it_loses() {
    let packed = lm::<BitLinear>().pack().train();
    let (lm, _) = packed.with_adapter("default", all_linear(4)).unwrap();
    let lm = drawn(lm, 30);
    let (_, coarse) = lm.clone().merge(None);
    let groups = TernaryConfig::new(WeightGranularity::PerGroup { group_size: 4 }).into();
    let (merged, fine) = lm.clone().merge(Some(&groups));
    let mean = |report: &bitnet_burn::peft::MergeReport| {
        report.modules.iter().map(|m| m.loss).sum::<f64>() / report.modules.len() as f64
    };
    assert!(mean(&coarse) > 0.1, "{coarse}");
    assert!(mean(&fine) < mean(&coarse), "{fine} against {coarse}");
    let (lm, _) = four_bit().with_adapter("default", all_linear(4)).unwrap();
    let (_, of_nf4) = drawn(lm, 30).merge(None);
    assert!(mean(&of_nf4) > 0.0 && mean(&of_nf4) < 1.0, "{of_nf4}");
    assert!(logits(&merged).iter().all(|v| v.is_finite()));
}

#[test]
fn adapters_are_added_chosen_and_deleted_by_name() {
    let base = lm::<Linear>();
    let of_base = logits(&base);
    let (lm, _) = base.with_adapter("one", all_linear(4)).unwrap();
    let lm = drawn(lm, 40);
    let of_one = logits(&lm);
    let (lm, report) = lm.add_adapter("two", LoraConfig::new(2)).unwrap();
    assert_eq!(report.modules.len(), 4, "{report}");
    assert_equal(&logits(&lm), &of_base, "two is untrained, and one rests");
    let trains = values(&lm).trains;
    assert!(
        trains.iter().all(|path| path.contains(".adapters.1.")),
        "{trains:?}"
    );

    let lm = lm.with_active_adapters(&["one", "two"]).unwrap();
    assert_equal(&logits(&lm), &of_one, "one with the untrained two");
    let error = lm.clone().with_active_adapters(&["three"]).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"the model has no adapter "three"; it has ["one", "two"]"#
    );
    let error = lm.clone().add_adapter("one", all_linear(4)).unwrap_err();
    assert!(matches!(error, PeftError::Exists { .. }), "{error}");
    let lm = lm.delete_adapter("one").unwrap();
    assert_equal(&logits(&lm), &of_base, "one is deleted");
    assert_eq!(lm.adapter_names().len(), 1);
}

#[test]
fn inits_of_the_weight_keep_the_model_and_refuse_codes() {
    for init in [LoraInit::Pissa, LoraInit::Olora] {
        let lm = lm::<Linear>();
        let before = logits(&lm);
        let config = all_linear(4).with_init(init);
        let (adapted, _) = lm.with_adapter("default", &config).unwrap();
        let bound = |i: usize| 4096.0 * ROUNDING * f64::from(before[i].abs().max(1.0));
        assert_within(&logits(&adapted), &before, bound, "W - s A B + s A B");
        // PiSSA takes the largest singular values out of the weight; OLoRA multiplies its part by `s`.
        let norm = |weight: Tensor<2>| weight.square().sum().into_scalar::<f32>();
        let smaller = |(_, p): (String, &AdaptedLinear<Linear>)| {
            norm(p.base.dense_weight()) < norm(p.dense_weight())
        };
        assert!(init == LoraInit::Olora || adapted.projections().all(smaller));

        let packed = self::lm::<BitLinear>().pack().train();
        let error = packed.with_adapter("default", &config).unwrap_err();
        assert!(
            error.to_string().contains("which is packed here"),
            "{error}"
        );
    }
}

#[test]
fn targets_that_match_nothing_are_an_error_that_lists_the_modules() {
    let config = LoraConfig::new(2).with_targets(TargetModules::names(["query"]));
    let error = lm::<Linear>().with_adapter("default", &config).unwrap_err();
    assert_eq!(
        error.to_string(),
        r#"target_modules ["query"] match no projection of the model, which has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj"#
    );
    let mut targets = Targets::from(TargetModules::names(["q_proj", "query"]));
    targets.layers_to_transform = Some(vec![1]);
    let (_, report) = lm::<Linear>()
        .with_adapter("default", LoraConfig::new(2).with_targets(targets))
        .unwrap();
    assert_eq!(report.unmatched, ["query"]);
    assert_eq!(report.modules[0].name, "model.layers.1.self_attn.q_proj");
    assert_eq!(report.modules.len(), 1);
}

#[test]
fn a_record_of_the_model_holds_its_adapters() {
    let config = all_linear(4).with_dora();
    let (lm, _) = lm::<BitLinear>().with_adapter("default", &config).unwrap();
    let lm = drawn(lm, 50);
    let expected = logits(&lm);
    let (other, _) = self::lm::<BitLinear>()
        .with_adapter("default", &config)
        .unwrap();
    assert_ne!(logits(&other), expected);
    assert_equal(
        &logits(&other.load_record(lm.into_record())),
        &expected,
        "loaded",
    );
}
