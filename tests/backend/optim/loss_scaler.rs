//! Dynamic loss scaling: the steps of `torch.amp.GradScaler`, skipped steps and checkpoints.

use bitnet_burn::optim::{LossScalerConfig, LossScalerError, LossScalerRecord, clip_grad_norm};
use burn::{
    optim::{GradientsParams, ModuleOptimizer, SgdConfig},
    tensor::{DType, Device, Tensor},
};

use super::qat_optimizer::Layer;
use crate::support::values::*;

#[test]
fn the_scale_grows_and_backs_off_as_gradscaler_documents() {
    let mut scaler = LossScalerConfig::new()
        .with_initial_scale(16.0)
        .with_growth_interval(3)
        .init();
    // Overflow of the step, then scale and tracker after `update`.
    let steps = [
        (false, 16.0, 1),
        (false, 16.0, 2),
        (false, 32.0, 0),
        (false, 32.0, 1),
        (true, 16.0, 0),
        (true, 8.0, 0),
        (false, 8.0, 1),
        (false, 8.0, 2),
        (true, 4.0, 0),
        (false, 4.0, 1),
        (false, 4.0, 2),
        (false, 8.0, 0),
    ];
    for (i, (overflow, scale, growth_tracker)) in steps.into_iter().enumerate() {
        scaler.update(overflow);
        let expected = LossScalerRecord::new(scale, growth_tracker);
        assert_eq!(scaler.to_record(), expected, "step {i}");
    }
}

#[test]
fn the_scale_does_not_grow_to_infinity() {
    let mut scaler = LossScalerConfig::new()
        .with_initial_scale(f32::MAX / 1.5)
        .with_growth_interval(1)
        .init();
    scaler.update(false);
    assert_eq!(scaler.to_record(), LossScalerRecord::new(f32::MAX / 1.5, 0));
}

#[test]
fn gradients_of_the_scaled_loss_are_unscaled_exactly() {
    // Powers of two change the exponent only.
    let device = Device::default().autodiff();
    let scaler = LossScalerConfig::new().init();
    let layer = Layer::new(1);
    let x = tensor(&normal(8, 2), [2, 4], DType::F32, &device);
    let loss = || {
        let y = x.clone().matmul(layer.weight.val()) + layer.bias.val().unsqueeze();
        y.square().mean()
    };
    let plain = GradientsParams::from_grads(loss().backward(), &layer);
    let scaled = GradientsParams::from_grads(scaler.scale(loss()).backward(), &layer);
    let raw = floats(scaled.get::<1>(layer.bias.id).unwrap());
    let (unscaled, finite) = scaler.unscale(&layer, scaled);
    assert!(finite);
    let bias = |grads: &GradientsParams| floats(grads.get::<1>(layer.bias.id).unwrap());
    assert_equal(&bias(&unscaled), &bias(&plain), "bias");
    let by_hand: Vec<f32> = bias(&plain).iter().map(|g| 65536.0 * g).collect();
    assert_equal(&raw, &by_hand, "scaled");
    let weight = |grads: &GradientsParams| floats(grads.get::<2>(layer.weight.id).unwrap());
    assert_equal(&weight(&unscaled), &weight(&plain), "weight");
    assert!(scaler.unscale(&layer, GradientsParams::new()).1);
}

#[test]
fn a_step_with_an_infinite_gradient_is_skipped() {
    for bad in [f32::INFINITY, f32::NEG_INFINITY, f32::NAN] {
        let mut scaler = LossScalerConfig::new().init();
        let mut optimizer: ModuleOptimizer = SgdConfig::new().init();
        let layer = Layer::new(3);
        let before = layer.values();
        let mut grads = layer.grads(0);
        let bias = Tensor::<1>::from_floats([0.0, 1.0, bad, 0.0, 0.0, 0.0], &Device::default());
        grads.register(layer.bias.id, bias);

        let (layer, stepped) = scaler.step(&mut optimizer, 1.0, layer, grads);
        assert!(!stepped, "{bad}");
        assert_equal(&layer.values(), &before, "parameters");
        assert_eq!(scaler.to_record(), LossScalerRecord::new(32768.0, 0));

        let grads = layer.grads(0);
        let (layer, stepped) = scaler.step(&mut optimizer, 1.0, layer, grads);
        assert!(stepped);
        assert_ne!(layer.values(), before);
        assert_eq!(scaler.to_record(), LossScalerRecord::new(32768.0, 1));
    }
}

#[test]
fn clipping_follows_unscaling() {
    let scaler = LossScalerConfig::new().init();
    let layer = Layer::new(5);
    let norm = |grads| floats(clip_grad_norm(&layer, grads, 1.0).1.unwrap())[0];
    let expected = norm(layer.grads(0));
    // Gradients of a loss times 65536, as returned by the backward pass.
    let mut scaled = GradientsParams::new();
    let mut plain = layer.grads(0);
    let weight = plain.remove::<2>(layer.weight.id).unwrap();
    let bias = plain.remove::<1>(layer.bias.id).unwrap();
    scaled.register(layer.weight.id, weight.mul_scalar(65536.0));
    scaled.register(layer.bias.id, bias.mul_scalar(65536.0));
    let (grads, finite) = scaler.unscale(&layer, scaled);
    assert!(finite);
    assert_eq!(norm(grads), expected);
}

#[test]
fn a_scaler_goes_on_from_its_file() {
    let config = LossScalerConfig::new()
        .with_initial_scale(1000.1)
        .with_growth_factor(1.7)
        .with_growth_interval(2);
    let mut scaler = config.init();
    for overflow in [false, false, true, false] {
        scaler.update(overflow);
    }
    let folder = std::env::temp_dir().join(format!("loss_scaler_{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("loss_scaler.json");
    scaler.save(&path).unwrap();
    scaler.save(&path).unwrap();
    let mut restored = config.init().load(&path).unwrap();
    assert_eq!(restored, scaler);
    restored.update(false);
    scaler.update(false);
    assert_eq!(restored, scaler);
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, 1, "a temporary file is left");

    let error = config.init().load(folder.join("none.json")).unwrap_err();
    assert!(matches!(error, LossScalerError::Read { .. }), "{error}");
    assert!(error.to_string().contains("none.json"), "{error}");
    let error = scaler.save(folder.join("none/scaler.json")).unwrap_err();
    assert!(matches!(error, LossScalerError::Write { .. }), "{error}");
    std::fs::remove_dir_all(&folder).unwrap();
}

#[test]
fn a_record_that_no_scaler_has_is_refused() {
    let scaler = || LossScalerConfig::new().init();
    for scale in [0.0, -1.0, f32::INFINITY, f32::NAN] {
        let record = LossScalerRecord::new(scale, 0);
        let error = scaler().load_record(record).unwrap_err();
        assert!(
            error.to_string().contains("positive, finite scale"),
            "{error}"
        );
    }
    let error = scaler().load_record(LossScalerRecord::new(1.0, 2000));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("fewer than 2000 steps"), "{text}");
}

#[test]
fn the_scale_does_not_fall_below_the_smallest_one() {
    let mut scaler = LossScalerConfig::new().init();
    for halvings in 1..=16 {
        assert!(!scaler.is_at_min_scale());
        scaler.update(true);
        // Down to 1, as in `torch.amp.GradScaler`.
        let scale = 65536.0 / f32::powi(2.0, halvings);
        assert_eq!(scaler.to_record().scale, scale);
    }
    for _ in 0..200 {
        assert!(scaler.is_at_min_scale());
        scaler.update(true);
    }
    assert_eq!(scaler.to_record(), LossScalerRecord::new(1.0, 0));

    let config = LossScalerConfig::new().with_min_scale(3.0);
    let mut scaler = config.with_initial_scale(4.0).init();
    scaler.update(true);
    assert_eq!(scaler.to_record().scale, 3.0);
    let error = scaler.load_record(LossScalerRecord::new(2.0, 0));
    let text = error.unwrap_err().to_string();
    assert!(text.contains("scale of 3 or more"), "{text}");
}

#[test]
#[should_panic(expected = "initial_scale must be finite and not below the min_scale 1, got 0.5")]
fn a_scale_below_the_smallest_one_is_refused() {
    LossScalerConfig::new().with_initial_scale(0.5).init();
}

#[test]
#[should_panic(expected = "growth_factor must be above 1, got 1")]
fn a_scale_that_does_not_grow_is_refused() {
    LossScalerConfig::new().with_growth_factor(1.0).init();
}
