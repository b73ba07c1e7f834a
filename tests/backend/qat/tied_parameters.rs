//! A parameter used in several places of a model is handled as one parameter everywhere.

use bitnet_burn::{
    optim::{LossScalerConfig, clip_grad_norm},
    qat::{
        Decision, FakeQuant, MixedPrecisionPlan, Precision, Prepare, PrepareError, QuantControls,
        convert,
    },
    quant::{BitWidth, QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::{
    module::{Module, Param, ParamGroup},
    nn::{Embedding, EmbeddingConfig, Linear, LinearConfig},
    optim::GradientsParams,
    tensor::{Device, Tensor},
};

use crate::support::values::*;

#[derive(Module, Debug)]
struct Pair {
    a: Param<Tensor<2>>,
    b: Param<Tensor<2>>,
}

impl Pair {
    fn tied() -> Self {
        let a = Param::from_tensor(Tensor::ones([2, 2], &Device::default().autodiff()));
        Self { b: a.clone(), a }
    }

    /// Gradient of `sum(a) + sum(b)`: 2 for each value.
    fn grads(&self, scale: f32) -> GradientsParams {
        let loss = (self.a.val() + self.b.val()).sum().mul_scalar(scale);
        GradientsParams::from_grads(loss.backward(), self)
    }

    fn grad(&self, grads: &GradientsParams) -> Vec<f32> {
        floats(grads.get::<2>(self.a.id).unwrap())
    }
}

#[test]
fn its_gradient_is_unscaled_once() {
    let (pair, scaler) = (Pair::tied(), LossScalerConfig::new().init());
    let (grads, finite) = scaler.unscale(&pair, pair.grads(65536.0));
    assert!(finite);
    assert_equal(&pair.grad(&grads), &[2.0; 4], "gradient");
}

#[test]
fn its_gradient_counts_once_in_the_norm_and_is_clipped_once() {
    let pair = Pair::tied();
    let (grads, norm) = clip_grad_norm(&pair, pair.grads(1.0), 1e9);
    assert_eq!(floats(norm.unwrap()), [4.0]);
    assert_equal(&pair.grad(&grads), &[2.0; 4], "gradient");
    // Half of the norm halves the gradient.
    let (grads, _) = clip_grad_norm(&pair, pair.grads(1.0), 2.0);
    let bound = |_| 4.0 * ROUNDING + 1e-6;
    assert_within(&pair.grad(&grads), &[1.0; 4], bound, "clipped");
}

#[test]
#[cfg(feature = "train")]
fn its_memory_is_planned_once() {
    use bitnet_burn::{
        nn::{BitNetLm, BitNetLmConfig},
        train::MemoryPlanConfig,
    };
    let device = Device::default().autodiff();
    let lm = |layers| -> BitNetLm { BitNetLmConfig::new(16, 8, layers, 2, 16).init(&device) };
    let (one, two) = (lm(1), lm(2));
    let mut tied = two.clone();
    tied.model.layers[1] = tied.model.layers[0].clone();
    let plan = |model: &BitNetLm| MemoryPlanConfig::new(1, 4).plan(model);
    let (one, two, tied) = (plan(&one), plan(&two), plan(&tied));
    assert_eq!(
        (tied.gradients, tied.optimizer),
        (one.gradients, one.optimizer)
    );
    assert_eq!(tied.weights, one.weights);
    assert!(tied.weights < two.weights);
}

/// The embedding table is the weight of the projection.
#[derive(Module, Debug)]
struct TiedTable {
    embed: Embedding,
    proj: Linear,
    mid: Linear,
    lm_head: Linear,
}

fn linear(d_input: usize, d_output: usize) -> Linear {
    let config = LinearConfig::new(d_input, d_output).with_bias(false);
    config.init(&Device::default())
}

fn tied_table() -> TiedTable {
    let embed = EmbeddingConfig::new(8, 4).init(&Device::default());
    let mut proj = linear(8, 4);
    proj.weight = embed.weight.clone();
    TiedTable {
        embed,
        proj,
        mid: linear(4, 4),
        lm_head: linear(4, 8),
    }
}

fn is_quantized(weight: &Param<Tensor<2>>) -> bool {
    weight.reparameterization::<FakeQuant>().is_some()
}

#[test]
fn the_report_is_what_is_done_in_all_places() {
    let prepared = Prepare::new(QatScheme::weight_only())
        .apply(tied_table())
        .unwrap();
    let (model, report) = (prepared.model, prepared.report);
    let decisions: Vec<Decision> = report.parameters.iter().map(|p| p.decision).collect();
    let (table, head) = (Decision::Embedding, Decision::OutputHead);
    assert_eq!(decisions, [table, table, Decision::Quantized, head]);
    assert_eq!(report.parameters[0].shared_with, ["proj.weight"]);
    assert_eq!(report.parameters[1].shared_with, ["embed.weight"]);
    assert!(report.parameters[2].shared_with.is_empty());
    let text = report.to_string();
    assert!(
        text.contains("float (embedding): shared with proj.weight"),
        "{text}"
    );
    assert!(text.ends_with("1 of 3 parameters quantized"), "{text}");
    let weights = [&model.embed.weight, &model.proj.weight, &model.mid.weight];
    assert_eq!(weights.map(is_quantized), [false, false, true]);
    let controls = QuantControls::of(&model);
    assert_eq!(controls.paths().collect::<Vec<_>>(), ["mid.weight"]);
}

/// Two layers with one weight between two others.
#[derive(Module, Debug)]
struct Recurrent {
    first: Linear,
    second: Linear,
    head: Linear,
}

fn recurrent() -> Recurrent {
    let first = linear(4, 4);
    Recurrent {
        second: first.clone(),
        first,
        head: linear(4, 2),
    }
}

#[test]
fn a_weight_that_is_quantized_in_two_places_has_one_quantizer() {
    let scheme =
        QatScheme::weight_only().with_weight(WeightQuantizer::learned_step(BitWidth::Bits(4)));
    let prepared = Prepare::new(scheme).apply(recurrent()).unwrap();
    assert_eq!(prepared.report.num_quantized(), 1);
    let model = prepared.model;
    let quant = |weight: &Param<Tensor<2>>| weight.reparameterization::<FakeQuant>().cloned();
    let [first, second] =
        [&model.first, &model.second].map(|layer| quant(&layer.weight).expect("quantized"));
    let id = |quant: &FakeQuant| quant.scale.as_ref().unwrap().id;
    assert_eq!(id(&first), id(&second));

    let controls = QuantControls::of(&model);
    assert_eq!(controls.len(), 2);
    assert_eq!(controls.num_weights(), 16);
    controls
        .filter(|path| path == "first.weight")
        .set_lambda(0.0);
    let latent = floats(model.second.weight.base());
    assert_equal(&floats(model.second.weight.val()), &latent, "second");
}

#[test]
fn a_shared_weight_is_packed_once_and_unpacked_in_each_place() {
    let scheme = QatScheme::weight_only();
    let prepared = Prepare::new(scheme.clone()).apply(recurrent()).unwrap();
    let packed = convert(&prepared.model).unwrap();
    let paths: Vec<&str> = packed.weights.keys().map(String::as_str).collect();
    assert_eq!(paths, ["first.weight"]);
    let unpacked = packed.unpack_into(prepared.model.clone());
    let trained = floats(prepared.model.first.weight.val());
    for layer in [unpacked.first, unpacked.second] {
        assert_equal(&floats(layer.weight.val()), &trained, "weight");
    }
}

#[test]
fn places_whose_quantizers_would_differ_are_refused() {
    let plan = MixedPrecisionPlan {
        layers: [
            ("first".to_string(), Precision::Bits(4)),
            ("second".to_string(), Precision::Configured),
        ]
        .into(),
    };
    let prepare = Prepare::new(QatScheme::weight_only()).with_plan(plan);
    let error = prepare.apply(recurrent()).unwrap_err();
    let paths = |a: &str, b: &str| PrepareError::Shared {
        paths: vec![a.to_string(), b.to_string()],
    };
    assert_eq!(error, paths("first.weight", "second.weight"));
    assert_eq!(
        error.to_string(),
        "first.weight and second.weight are one parameter, which has one quantizer, and theirs \
         would differ"
    );

    // Rows are the channels of a table, columns those of a layer.
    let group = ParamGroup::from_paths(vec!["embed.weight", "proj.weight"]);
    let prepare = |granularity| {
        let scheme = QatScheme::weight_only().with_weight(WeightQuantizer::ternary(granularity));
        Prepare::new(scheme).with_group(group.clone())
    };
    let error = prepare(WeightGranularity::PerChannel)
        .apply(tied_table())
        .unwrap_err();
    assert_eq!(error, paths("embed.weight", "proj.weight"));
    let prepared = prepare(WeightGranularity::PerTensor)
        .apply(tied_table())
        .unwrap();
    assert_eq!(prepared.report.num_quantized(), 1);
    assert!(is_quantized(&prepared.model.embed.weight));
}
