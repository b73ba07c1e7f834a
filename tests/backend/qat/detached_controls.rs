//! Clones of a model with independent quantizer controls.

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    qat::{Prepare, QuantControls, detach_controls},
    quant::{
        ActivationQuantizer, BitWidth, QatScheme, WeightQuantizer,
        calibration::{ObserverConfig, SamplingPolicy},
    },
};
use burn::{
    module::Module,
    optim::{GradientsParams, SgdConfig},
    tensor::{DType, Device, Tensor},
};

use crate::support::{models::Mlp, values::*};

fn layer(scheme: QatScheme, device: &Device) -> BitLinear {
    let config = BitLinearConfig::new(8, 6).with_scheme(scheme);
    config.init(device).map(&mut Drawn::new(60, 0.1))
}

fn input(device: &Device) -> Tensor<2> {
    tensor(&normal(4 * 8, 3), [4, 8], DType::F32, device)
}

fn lambdas(model: &impl Module) -> Vec<f64> {
    let controls = QuantControls::of(model);
    controls.lambdas().map(|(_, lambda)| lambda).collect()
}

#[test]
fn a_detached_copy_keeps_its_settings_and_changes_alone() {
    let device = Device::default();
    let quantizer = ActivationQuantizer::Static {
        bits: 8,
        symmetric: true,
    };
    let student = layer(QatScheme::b1_58().with_activation(Some(quantizer)), &device);
    let controls = QuantControls::of(&student);
    controls.observe(&ObserverConfig::min_max(), SamplingPolicy::default());
    student.forward(input(&device));
    let table = controls.finish_observation().unwrap();
    controls.calibrate(&table).unwrap();
    controls.set_lambda(0.5);
    controls.set_weight_width(Some(BitWidth::Bits(4)));

    let teacher = detach_controls(student.clone());
    let before = floats(student.forward(input(&device)));
    assert_equal(&floats(teacher.forward(input(&device))), &before, "copy");
    let own = QuantControls::of(&teacher);
    assert!(controls.shares_with(&QuantControls::of(&student.clone())));
    assert!(!controls.shares_with(&own) && !own.shares_with(&controls));
    assert_eq!(own.to_string(), controls.to_string());

    // Neither follows the other, and the range is unchanged.
    controls.set_lambda(1.0);
    controls.set_weight_width(None);
    assert_equal(&floats(teacher.forward(input(&device))), &before, "copy");
    own.set_lambda(0.0);
    assert_eq!(lambdas(&student), [1.0, 1.0]);
    let latent = floats(teacher.weight.val());
    assert_equal(&floats(teacher.quantized_weight()), &latent, "float");
}

#[test]
fn models_derived_from_a_detached_copy_share_its_controls() {
    let device = Device::default().autodiff();
    let student = layer(
        QatScheme::b1_58().with_weight(WeightQuantizer::learned_step(BitWidth::Ternary)),
        &device,
    );
    let copy = detach_controls(student.clone());
    let loss = copy.forward(input(&device)).sum();
    let grads = GradientsParams::from_grads(loss.backward(), &copy);
    let trained = SgdConfig::new().init().step(0.1, copy.clone(), grads);
    QuantControls::of(&copy).set_lambda(0.25);
    for made in [trained.valid(), trained.clone().fork(&device), trained] {
        assert_eq!(lambdas(&made), [0.25, 0.25]);
    }
    assert_eq!(lambdas(&student), [1.0, 1.0]);

    // Records hold the controls, and loading one sets them.
    let record = copy.clone().into_record();
    let other = detach_controls(student.clone());
    assert_eq!(lambdas(&other.load_record(record)), [0.25, 0.25]);
    assert_eq!(lambdas(&student), [1.0, 1.0]);
}

#[test]
fn prepared_weights_are_detached_too_and_stay_shared_among_themselves() {
    let device = Device::default();
    let prepare = Prepare::new(QatScheme::weight_only()).without_output_head();
    let model = Mlp::new(&device);
    let shared = vec![model.fc2.clone(), model.fc2];
    let prepared = prepare.apply(shared).unwrap().model;
    let copy = detach_controls(prepared.clone());
    let own = QuantControls::of(&copy);
    assert!(!own.shares_with(&QuantControls::of(&prepared)));
    own.filter(|path| path == "0.weight").set_lambda(0.0);
    assert_eq!(lambdas(&copy), [0.0, 0.0]);
    assert_eq!(lambdas(&prepared), [1.0, 1.0]);
    let latent = floats(copy[1].weight.base());
    assert_equal(&floats(copy[1].weight.val()), &latent, "float");
}

#[test]
#[cfg(feature = "train")]
fn a_teacher_that_was_made_of_its_student_is_detached_from_it() {
    use bitnet_burn::{loss::DistillationLossConfig, train::Distiller};
    let device = Device::default().autodiff();
    let distill = |student: &BitLinear, teacher: BitLinear| {
        let loss = DistillationLossConfig::new().init(&device);
        Distiller::new(student.clone(), teacher, loss)
    };
    let student = layer(QatScheme::b1_58(), &device);
    let distiller = distill(&student, student.clone());
    let teacher = QuantControls::of(distiller.teacher.module());
    let controls = QuantControls::of(&distiller.student);
    assert!(controls.shares_with(&QuantControls::of(&student)));
    assert!(!controls.shares_with(&teacher));
    controls.set_lambda(0.5);
    teacher.set_lambda(0.0);
    assert_eq!(lambdas(&distiller.student), [0.5, 0.5]);
    assert_eq!(lambdas(distiller.teacher.module()), [0.0, 0.0]);

    // A copy with its own controls keeps them: controls found before stay connected.
    let other = layer(QatScheme::b1_58(), &device);
    let found = QuantControls::of(&other);
    let distiller = distill(&student, other);
    found.set_lambda(0.25);
    assert_eq!(lambdas(distiller.teacher.module()), [0.25, 0.25]);
}
