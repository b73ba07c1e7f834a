//! Working copies in bf16 and f16 with master weights in f32.

use bitnet_burn::{
    functions::{Groups, ternary_fake_quant},
    optim::{
        LossScalerConfig, MixedPrecision, MixedPrecisionError, QatOptimizerConfig, clip_grad_norm,
    },
    qat::Prepare,
    quant::QatScheme,
};
use burn::{
    module::{Module, ModuleVisitor, Param, ParamGroup},
    nn::{BatchNorm, BatchNormConfig, LinearConfig},
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{DType, Device, FloatDType, Tensor},
};

use crate::support::{models::Mlp, values::*};

/// Small float types that the device supports.
fn small_types() -> Vec<MixedPrecision> {
    let device = Device::default();
    [FloatDType::BF16, FloatDType::F16]
        .map(MixedPrecision::new)
        .into_iter()
        .filter(|precision| precision.check_device(&device).is_ok())
        .collect()
}

/// Returns the types of all float parameters.
#[derive(Default)]
struct DTypes(Vec<DType>);

impl ModuleVisitor for DTypes {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push(param.base().dtype());
    }
}

fn dtypes<M: Module>(model: &M) -> Vec<DType> {
    let mut dtypes = DTypes::default();
    model.visit(&mut dtypes);
    dtypes.0
}

#[test]
fn a_type_that_the_device_lacks_is_a_clear_error() {
    let device = Device::default();
    for dtype in [
        FloatDType::F64,
        FloatDType::BF16,
        FloatDType::F16,
        FloatDType::F32,
    ] {
        let checked = MixedPrecision::new(dtype).check_device(&device);
        assert_eq!(checked.is_ok(), device.supports_dtype(dtype));
        if let Err(error) = checked {
            let text = format!("does not compute in {dtype:?}");
            assert!(error.to_string().contains(&text), "{error}");
        }
    }
}

#[test]
fn running_statistics_are_refused_with_the_path() {
    #[derive(Module, Debug)]
    struct Normed {
        norm: BatchNorm,
    }
    let device = Device::default();
    let model = Normed {
        norm: BatchNormConfig::new(2).init(&device),
    };
    let error = MixedPrecision::new(FloatDType::F32).check(&model);
    let path = "norm".to_string();
    let expected = MixedPrecisionError::RunningStatistics { path };
    assert_eq!(error, Err(expected));
    let layer = LinearConfig::new(2, 2).init(&device);
    assert_eq!(MixedPrecision::new(FloatDType::F32).check(&layer), Ok(()));
}

#[test]
fn a_copy_has_rounded_parameters_under_the_same_ids_and_trains() {
    let device = Device::default().autodiff();
    for device in [device.clone(), device.gradient_checkpointing()] {
        a_copy_has_rounded_parameters(&device);
    }
}

fn a_copy_has_rounded_parameters(device: &Device) {
    for precision in small_types() {
        let layer = LinearConfig::new(4, 3).init(device);
        let copy = precision.working_copy(&layer);
        let dtype = DType::from(precision.dtype);
        assert_eq!(dtypes(&copy), [dtype; 2]);
        assert_eq!(dtypes(&layer), [DType::F32; 2]);
        assert_eq!(copy.weight.id, layer.weight.id);
        let expected = rounded(&floats(layer.weight.val()), dtype);
        assert_equal(&floats(copy.weight.val()), &expected, "weight");

        let x = tensor(&normal(8, 1), [2, 4], dtype, device);
        let loss = copy.forward(x).cast(DType::F32).mean();
        let grads = GradientsParams::from_grads(loss.backward(), &copy);
        let grads = precision.master_gradients(&layer, grads);
        assert_eq!(grads.len(), 2);
        let grad = grads.get::<2>(layer.weight.id).unwrap();
        assert_eq!(grad.dtype(), DType::F32);
        assert!(floats(grad).iter().all(|g| g.is_finite() && *g != 0.0));

        // Frozen parameters have no gradient in the copy either.
        let copy = precision.working_copy(&layer.freeze());
        assert!(!copy.weight.is_require_grad());
    }
}

#[test]
fn a_prepared_copy_is_quantized_in_the_small_type() {
    let device = Device::default().autodiff();
    for precision in small_types() {
        let dtype = DType::from(precision.dtype);
        let master = LinearConfig::new(8, 6).with_bias(false).init(&device);
        let master = Prepare::new(QatScheme::weight_only())
            .apply(master)
            .unwrap()
            .model;
        let copy = precision.working_copy(&master);
        let quantized = copy.weight.val();
        assert_eq!(quantized.dtype(), dtype);
        let latent = tensor(
            &rounded(&floats(master.weight.base()), dtype),
            [8, 6],
            dtype,
            &device,
        );
        let expected = ternary_fake_quant(latent, Groups::per_tensor(48)).0;
        assert_equal(&floats(quantized), &floats(expected), "Q(rounded W)");
        assert_eq!(master.weight.val().dtype(), DType::F32);
    }
}

/// Trains a prepared model with copies in the type and returns the first and last loss.
fn train(precision: MixedPrecision) -> (f32, f32) {
    let device = Device::default().autodiff();
    let mut master = Prepare::new(QatScheme::weight_only())
        .apply(Mlp::new(&device))
        .unwrap()
        .model;
    precision.check(&master).unwrap();
    let x = tensor(&normal(16 * 8, 1), [16, 8], DType::F32, &device).mul_scalar(10.0);
    let y = x.clone().narrow(1, 0, 3).sin();

    let adamw = || AdamWConfig::new().build();
    let ours = QatOptimizerConfig::new().build(adamw());
    let mut optimizer =
        ModuleOptimizer::from(adamw()).with_group(ParamGroup::from_predicate("fc"), ours, None);
    let mut scaler = LossScalerConfig::new().with_initial_scale(1024.0).init();
    let mut losses = Vec::new();
    for _ in 0..training_steps() {
        let copy = precision.working_copy(&master);
        let output = copy.forward(x.clone().cast(precision.dtype));
        let loss = (output.cast(DType::F32) - y.clone()).square().mean();
        losses.push(loss.clone().into_scalar::<f32>());
        let grads = GradientsParams::from_grads(scaler.scale(loss).backward(), &copy);
        let grads = precision.master_gradients(&master, grads);
        let (grads, finite) = scaler.unscale(&master, grads);
        scaler.update(!finite);
        let (grads, norm) = clip_grad_norm(&master, grads, 1.0);
        assert!(finite && floats(norm.unwrap())[0].is_finite());
        master = optimizer.step(0.01, master, grads);
    }
    assert!(dtypes(&master).iter().all(|&dtype| dtype == DType::F32));
    (losses[0], *losses.last().unwrap())
}

#[test]
fn training_with_copies_reduces_the_loss_of_a_quantized_model() {
    for precision in small_types() {
        let (first, last) = train(precision);
        println!("{precision:?}: loss {first} to {last}");
        assert!(
            training_steps() == 1 || last < 0.6 * first,
            "{first} to {last}"
        );
    }
}

#[test]
fn the_master_keeps_updates_that_the_small_type_cannot_hold() {
    // 1 + 1e-4 is 1 in bf16 and f16: without a master copy nothing would ever change.
    for precision in small_types() {
        let device = Device::default().autodiff();
        let mut layer = LinearConfig::new(1, 1).with_bias(false).init(&device);
        layer.weight = layer.weight.map(|weight| weight.ones_like().require_grad());
        let mut optimizer = burn::optim::SgdConfig::new().init();
        for _ in 0..100 {
            let copy = precision.working_copy(&layer);
            let loss = copy.weight.val().neg().sum();
            let grads = GradientsParams::from_grads(loss.backward(), &copy);
            let grads = precision.master_gradients(&layer, grads);
            layer = optimizer.step(1e-4, layer, grads);
        }
        let weight = floats(layer.weight.val());
        // 100 additions are rounded, of values below 2.
        assert_within(&weight, &[1.01], |_| 200.0 * ROUNDING, "weight");
    }
}
