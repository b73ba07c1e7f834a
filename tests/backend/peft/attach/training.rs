//! What attaching leaves as it is, and what trains.

use bitnet_burn::peft::{
    AdaptedWeight, Attach, LoraBias, LoraInit, TargetModules, detach_adapters,
};
use burn::{
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::Int,
};

use super::*;

#[test]
fn an_untrained_adapter_changes_nothing_bit_for_bit() {
    let net = Net::new(&device());
    let before = outputs(&net);
    for config in [
        hidden(4),
        hidden(4).with_init(LoraInit::Gaussian),
        hidden(4).with_dora(),
        hidden(4)
            .with_rslora()
            .with_targets(TargetModules::AllLinear),
    ] {
        let attached = attached(net.clone(), config);
        assert_equal(&outputs(&attached.model), &before, &attached.report.method);
    }
}

#[test]
fn inits_of_the_weight_keep_the_outputs() {
    let net = Net::new(&device());
    let before = outputs(&net);
    for init in [LoraInit::Pissa, LoraInit::Olora] {
        let Attached { model, .. } = attached(net.clone(), hidden(4).with_init(init));
        let (old, new) = (values(&net).values, values(&model).values);
        let weight = |values: &[(String, Vec<f32>)]| {
            let weight = values.iter().find(|(path, _)| path == "fc.1.weight");
            weight.unwrap().1.clone()
        };
        assert_ne!(
            weight(&old),
            weight(&new),
            "{init:?} takes a part of the weight"
        );
        assert_close(&outputs(&model), &before, "W - s A B + s A B");
        assert_eq!(values(&model).trains.len(), 4);
        let trained = drawn(model, 70);
        assert_ne!(outputs(&trained), before);
        let detached = detach_adapters(trained).unwrap();
        assert_close(
            &outputs(&detached),
            &before,
            "what was subtracted is added again",
        );
        assert_eq!(detached.num_params(), net.num_params());
    }
}

#[test]
fn the_report_names_modules_and_counts_what_trains() {
    let mut config = hidden(2);
    config.rank_pattern.insert("1".to_string(), 3);
    config.modules_to_save = vec!["norm".to_string(), "classifier".to_string()];
    config.bias = LoraBias::LoraOnly;
    let Attached { model, report, .. } = attached(Net::new(&device()), config);
    let modules = report.modules.iter();
    let modules: Vec<_> = modules.map(|m| (m.name.as_str(), m.num_params)).collect();
    assert_eq!(modules, [("fc.0", 2 * (36 + 12)), ("fc.1", 3 * (12 + 10))]);
    assert_eq!(report.unmatched, ["classifier"]);
    assert_eq!(report.num_trainable, 2 * 48 + 3 * 22 + 2 * 8 + 12 + 10);
    let of_net = 7 * 8 + 2 * 8 + 2 * 9 + 2 + FC[0] + FC[1] + 30;
    assert_eq!(report.num_params, of_net + 2 * 48 + 3 * 22);
    let trains = values(&model).trains;
    let beside: Vec<&String> = trains
        .iter()
        .filter(|path| !path.contains(".lora."))
        .collect();
    assert_eq!(
        beside,
        ["norm.gamma", "norm.beta", "fc.0.bias", "fc.1.bias"]
    );
    let scaling = |layer: usize| {
        let adapted = model.fc[layer].weight.reparameterization::<AdaptedWeight>();
        adapted.unwrap().lora.scaling
    };
    assert_eq!([scaling(0), scaling(1)], [8.0 / 2.0, 8.0 / 3.0]);
}

#[test]
fn names_that_match_nothing_are_reported_and_layers_chosen() {
    let names = TargetModules::names(["head", "0", "query"]);
    let Attached { report, .. } =
        attached(Net::new(&device()), LoraConfig::new(2).with_targets(names));
    assert_eq!(report.unmatched, ["query"]);
    assert_eq!(report.modules.len(), 2);
    let mut excluding = LoraConfig::new(2).with_targets(TargetModules::AllLinear);
    excluding.targets.exclude_modules = Some(TargetModules::names(["head"]));
    let Attached { report, model, .. } = attached(Net::new(&device()), excluding);
    assert_eq!(report.modules.len(), 2);
    assert!(
        model
            .head
            .weight
            .reparameterization::<AdaptedWeight>()
            .is_none()
    );
}

#[test]
fn only_the_adapter_trains_and_has_states() {
    for config in [hidden(4), hidden(4).with_dora()] {
        let count = if config.use_dora { 6 } else { 4 };
        let Attached { model, .. } = attached(Net::new(&device()), config);
        let model = drawn(model, 20);
        let before = values(&model);
        assert_eq!(before.trains.len(), count);
        let mut optimizer: ModuleOptimizer = AdamWConfig::new().init();
        let tokens = Tensor::<2, Int>::from_ints([[0, 1, 2, 3, 4]], &device());
        let grads = model.forward(tokens).square().mean().backward();
        let grads = GradientsParams::from_grads(grads, &model);
        assert_eq!(grads.len(), count, "gradients");
        let model = optimizer.step(1e-2, model, grads);
        // Two moments of each.
        assert_eq!(optimizer.to_record().len(), 2 * count, "states");
        for ((path, old), (_, new)) in before.values.iter().zip(&values(&model).values) {
            assert_eq!(old != new, before.trains.contains(path), "{path}");
        }
    }
}

/// Returns the losses of a training of the adapters towards random targets.
fn losses(mut model: Net) -> Vec<f32> {
    let device = device();
    let mut optimizer: ModuleOptimizer = AdamWConfig::new().init();
    let tokens: Tensor<2, Int> = Tensor::from_ints([[0, 1, 2, 3, 4], [6, 5, 4, 3, 2]], &device);
    let targets = tensor(&normal(6, 77), [2, 3], burn::tensor::DType::F32, &device) * 10.0;
    let mut losses = Vec::new();
    for _ in 0..training_steps() + 1 {
        let loss = (model.forward(tokens.clone()) - targets.clone())
            .square()
            .mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let grads = GradientsParams::from_grads(loss.backward(), &model);
        model = optimizer.step(2e-2, model, grads);
    }
    losses
}

#[test]
fn the_loss_falls() {
    for config in [hidden(4), hidden(4).with_dora()] {
        let Attached { model, report, .. } = attached(Net::new(&device()), config);
        // Factors `A` of this test alone, not of Burn's random numbers.
        let losses = losses(drawn(model, 60));
        let (first, last) = (losses[0], losses[losses.len() - 1]);
        let share = if on_cubecl_cpu() { 1.0 } else { 0.5 };
        assert!(last < share * first, "{}: {losses:?}", report.method);
    }
}

#[test]
fn a_model_without_autodiff_trains_after_train() {
    let Attached { model, .. } = Attach::new(hidden(2))
        .apply(Net::new(&Device::default()))
        .unwrap();
    assert!(values(&model).trains.is_empty());
    let before = outputs(&model);
    let trained = model.train();
    assert_eq!(values(&trained).trains.len(), 4);
    assert_close(&outputs(&trained), &before, "train");
    assert_equal(&outputs(&trained.valid()), &before, "valid");
}
