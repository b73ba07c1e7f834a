//! Sensitivities against losses of models that were built with other schemes, and plans against all
//! possible plans.

use std::convert::Infallible;

use bitnet_burn::{
    nn::{BitLinear, BitLinearConfig},
    qat::{
        Decision, LayerSensitivity, MixedPrecisionPlan, PlanBudget, PlanError, Precision, Prepare,
        PrepareError, QuantControls, Sensitivity, SensitivityError, SensitivityReport,
    },
    quant::{BitWidth, QatScheme, WeightGranularity, WeightQuantizer, schedule::LayerOrder},
};
use burn::{
    module::{Module, Param, ParamGroup},
    nn::{Linear, LinearConfig},
    tensor::{DType, Device, Tensor, activation::relu},
};

use crate::support::values::*;

const WIDTHS: [usize; 4] = [8, 12, 10, 4];

/// Layers with ReLU between them.
#[derive(Module, Debug)]
struct Stack {
    layers: Vec<BitLinear>,
}

/// The same layers as a Burn model.
#[derive(Module, Debug)]
struct Dense {
    layers: Vec<Linear>,
}

fn weight(layer: usize, device: &Device) -> Tensor<2> {
    let (d_input, d_output) = (WIDTHS[layer], WIDTHS[layer + 1]);
    let values = normal(d_input * d_output, 20 + layer as u64);
    tensor(&values, [d_input, d_output], DType::F32, device).mul_scalar(4.0)
}

fn inputs(device: &Device) -> Tensor<2> {
    tensor(
        &normal(16 * WIDTHS[0], 9),
        [16, WIDTHS[0]],
        DType::F32,
        device,
    )
    .mul_scalar(10.0)
}

/// Returns the mean square of the outputs of a stack of layers.
fn loss(layers: impl Iterator<Item = impl Fn(Tensor<2>) -> Tensor<2>>, device: &Device) -> f64 {
    let output = layers.fold(inputs(device), |x, layer| relu(layer(x)));
    output.square().mean().into_scalar::<f32>().into()
}

impl Stack {
    /// Creates a model with a scheme per layer; `None` for float.
    fn init(schemes: [Option<QatScheme>; 3], device: &Device) -> (Self, [bool; 3]) {
        let floats = schemes.each_ref().map(Option::is_none);
        let layers = schemes.into_iter().enumerate().map(|(i, scheme)| {
            let scheme = scheme.unwrap_or_else(QatScheme::b1_58);
            let config = BitLinearConfig::new(WIDTHS[i], WIDTHS[i + 1]).with_scheme(scheme);
            let mut layer = config.init(device);
            layer.weight = Param::from_tensor(weight(i, device));
            layer
        });
        (
            Self {
                layers: layers.collect(),
            },
            floats,
        )
    }

    fn loss(&self) -> f64 {
        let device = Device::default();
        loss(
            self.layers.iter().map(|layer| |x| layer.forward(x)),
            &device,
        )
    }
}

/// Returns the loss of a model with some layers quantized, the others in float.
fn independent(schemes: [Option<QatScheme>; 3]) -> f64 {
    let device = Device::default();
    let (stack, floats) = Stack::init(schemes, &device);
    let layers = stack.layers.iter().zip(floats).map(|(layer, float)| {
        move |x: Tensor<2>| match float {
            true => x.matmul(layer.weight.val()),
            false => layer.forward(x),
        }
    });
    loss(layers, &device)
}

fn four_bits() -> QatScheme {
    let four = WeightQuantizer::symmetric(4).with_granularity(WeightGranularity::PerTensor);
    QatScheme::b1_58().with_weight(four)
}

fn near(actual: f64, expected: f64, scale: f64, what: &str) {
    // Losses are the same operations in f32; at most a product in another order.
    let bound = 64.0 * ROUNDING * scale;
    assert!(
        (actual - expected).abs() <= bound,
        "{what}: {actual}, expected {expected}"
    );
}

#[test]
fn deltas_are_those_of_models_that_were_built_that_way() {
    let ternary = || Some(QatScheme::b1_58());
    let (stack, _) = Stack::init([ternary(), ternary(), ternary()], &Device::default());
    let controls = QuantControls::of(&stack);
    controls.set_lambda(0.5);
    let before = controls.to_string();
    let report = Sensitivity::new([BitWidth::Bits(4)])
        .measure(&controls, || Ok::<_, Infallible>(stack.loss()))
        .unwrap();
    assert_eq!(
        controls.to_string(),
        before,
        "the controls are what they were"
    );

    let float = independent([None, None, None]);
    let quantized = independent([ternary(), ternary(), ternary()]);
    near(report.float, float, float, "float");
    near(report.quantized, quantized, float, "quantized");
    assert_eq!(report.layers.len(), 3);
    assert!(
        report
            .layers
            .windows(2)
            .all(|pair| pair[0].alone >= pair[1].alone),
        "ranked"
    );
    for (i, (d_input, d_output)) in WIDTHS.iter().zip(&WIDTHS[1..]).enumerate() {
        let name = format!("layers.{i}");
        let layer = report
            .layers
            .iter()
            .find(|layer| layer.layer == name)
            .unwrap();
        assert_eq!(layer.weights, d_input * d_output);
        let one = |scheme: Option<QatScheme>| {
            let mut schemes = [None, None, None];
            schemes[i] = scheme;
            independent(schemes)
        };
        near(
            layer.alone,
            one(ternary()) - float,
            float,
            &format!("{name} alone"),
        );
        near(
            layer.at_bits[&4],
            one(Some(four_bits())) - float,
            float,
            &format!("{name}, 4 bits"),
        );
        let mut schemes = [ternary(), ternary(), ternary()];
        schemes[i] = None;
        near(
            layer.spared,
            quantized - independent(schemes),
            float,
            &format!("{name} spared"),
        );
    }
    let text = report.to_string();
    assert!(
        text.contains("layers.0") && text.contains("4 bits"),
        "{text}"
    );
    let json = serde_json::to_string(&report).unwrap();
    assert_eq!(
        serde_json::from_str::<SensitivityReport>(&json).unwrap(),
        report
    );

    // The least sensitive come first in a schedule by layer, weight and input together.
    let LayerOrder::Sensitivity { scores } = report.layer_order(&controls) else {
        panic!("another order");
    };
    assert_eq!(scores.len(), 6);
    let paths: Vec<&str> = controls.paths().collect();
    let ranks = report.layer_order(&controls).ranks(&paths).unwrap();
    let most = &report.layers[0].layer;
    let last = paths
        .iter()
        .position(|path| path.starts_with(most.as_str()))
        .unwrap();
    assert!(ranks[last] >= 4, "{ranks:?}");
}

#[test]
fn an_error_of_the_loss_leaves_the_controls_as_they_were() {
    let (stack, _) = Stack::init(
        [(); 3].map(|()| Some(QatScheme::b1_58())),
        &Device::default(),
    );
    let controls = QuantControls::of(&stack);
    controls.set_weight_width(Some(BitWidth::Bits(4)));
    let before = controls.to_string();
    let mut calls = 0;
    let failing = Sensitivity::default().measure(&controls, || {
        calls += 1;
        if calls < 6 { Ok(1.0) } else { Err("no more") }
    });
    assert_eq!(failing.unwrap_err(), SensitivityError::Loss("no more"));
    assert_eq!(controls.to_string(), before);

    calls = 0;
    let nan = Sensitivity::default().measure(&controls, || {
        calls += 1;
        Ok::<_, Infallible>(if calls < 3 { 1.0 } else { f64::NAN })
    });
    let message = nan.unwrap_err().to_string();
    assert_eq!(
        message,
        "the loss is NaN when quantized: all layers but layers.0"
    );
    assert_eq!(controls.to_string(), before);

    let linear = LinearConfig::new(4, 4).init(&Device::default());
    let nothing =
        Sensitivity::default().measure(&QuantControls::of(&linear), || Ok::<_, Infallible>(0.0));
    assert_eq!(nothing.unwrap_err(), SensitivityError::NothingQuantized);
}

/// Returns a report with made-up numbers.
fn report(seed: u64, layers: usize) -> SensitivityReport {
    let values: Vec<f64> = normal(4 * layers, seed)
        .iter()
        .map(|v| (*v as f64).abs())
        .collect();
    let layers = values.chunks(4).enumerate().map(|(i, v)| LayerSensitivity {
        layer: format!("layers.{i}"),
        weights: 16 * (1 + i * 3 % 5),
        alone: v[0],
        spared: 0.0,
        // More bits are not always better, as in measurements.
        at_bits: [(4, v[0] * 4.0 * v[1]), (8, v[0] * v[2])].into(),
    });
    SensitivityReport {
        float: 1.0,
        quantized: 2.0,
        layers: layers.collect(),
    }
}

/// Returns all plans of some layers.
fn all_plans(report: &SensitivityReport) -> Vec<MixedPrecisionPlan> {
    let choices = [
        Precision::Configured,
        Precision::Bits(4),
        Precision::Bits(8),
        Precision::Float,
    ];
    let count = choices.len().pow(report.layers.len() as u32);
    (0..count)
        .map(|mut number| MixedPrecisionPlan {
            layers: report
                .layers
                .iter()
                .map(|layer| {
                    let choice = choices[number % 4];
                    number /= 4;
                    (layer.layer.clone(), choice)
                })
                .collect(),
        })
        .collect()
}

#[test]
fn a_plan_is_within_its_budget_and_one_step_from_the_best() {
    for seed in 0..20 {
        let report = report(seed, 4);
        let weights: usize = report.layers.iter().map(|layer| layer.weights).sum();
        let plans = all_plans(&report);
        for bits in [2.0, 2.5, 4.0, 7.0, 20.0, 32.0] {
            let plan =
                MixedPrecisionPlan::within(PlanBudget::BitsPerWeight(bits), &report).unwrap();
            let budget = bits * weights as f64;
            assert!(plan.num_bits(&report) <= budget, "{bits} bits");
            let best = plans
                .iter()
                .filter(|plan| plan.num_bits(&report) <= budget)
                .map(|plan| plan.loss_increase(&report))
                .fold(f64::INFINITY, f64::min);
            // A step gains no more than a layer loses when it is quantized.
            let step = report
                .layers
                .iter()
                .map(|layer| layer.alone)
                .fold(0.0, f64::max);
            let found = plan.loss_increase(&report);
            assert!(
                found >= best - 1e-12 && found <= best + step,
                "{found}, best {best}"
            );
            let bytes = PlanBudget::Bytes((budget / 8.0) as u64);
            assert!(MixedPrecisionPlan::within(bytes, &report).is_ok());
        }
        for rise in [0.0, 0.05, 0.2, 1.0] {
            let plan = MixedPrecisionPlan::within(PlanBudget::LossIncrease(rise), &report).unwrap();
            assert!(plan.loss_increase(&report) <= rise + 1e-12);
        }
    }
    let report = report(1, 3);
    let weights: usize = report.layers.iter().map(|layer| layer.weights).sum();
    let error = MixedPrecisionPlan::within(PlanBudget::BitsPerWeight(1.5), &report).unwrap_err();
    let expected = PlanError::TooLarge {
        budget: 1.5 * weights as f64,
        smallest: 2.0 * weights as f64,
    };
    assert_eq!(error, expected);
    let nan = PlanBudget::LossIncrease(f64::NAN);
    assert!(matches!(
        MixedPrecisionPlan::within(nan, &report),
        Err(PlanError::Budget(_))
    ));
}

fn plan(layers: &[(&str, Precision)]) -> MixedPrecisionPlan {
    let layers = layers
        .iter()
        .map(|(layer, precision)| (layer.to_string(), *precision));
    MixedPrecisionPlan {
        layers: layers.collect(),
    }
}

#[test]
fn a_model_is_prepared_by_a_plan() {
    let device = Device::default();
    let dense = Dense {
        layers: (0..3)
            .map(|i| {
                let mut linear = LinearConfig::new(WIDTHS[i], WIDTHS[i + 1])
                    .with_bias(false)
                    .init(&device);
                linear.weight = Param::from_tensor(weight(i, &device));
                linear
            })
            .collect(),
    };
    let by = |plan| {
        Prepare::new(QatScheme::weight_only())
            .with_group(ParamGroup::from_predicate("weight"))
            .with_plan(plan)
            .apply(dense.clone())
    };
    let chosen = plan(&[
        ("layers.0", Precision::Bits(4)),
        ("layers.2", Precision::Float),
    ]);
    let json = serde_json::to_string(&chosen).unwrap();
    assert_eq!(json, r#"{"layers.0":{"bits":4},"layers.2":"float"}"#);
    assert_eq!(
        serde_json::from_str::<MixedPrecisionPlan>(&json).unwrap(),
        chosen
    );

    let prepared = by(chosen).unwrap();
    let decisions: Vec<Decision> = prepared
        .report
        .parameters
        .iter()
        .map(|p| p.decision)
        .collect();
    assert_eq!(
        decisions,
        [
            Decision::Quantized,
            Decision::Quantized,
            Decision::PlannedFloat
        ]
    );
    let quantized = |i: usize, quantizer: WeightQuantizer| {
        let latent = weight(i, &device);
        let groups = quantizer.groups(&latent.dims(), 1).unwrap();
        floats(quantizer.fake_quant(latent, groups, Default::default()).0)
    };
    let value = |i: usize| floats(prepared.model.layers[i].weight.val());
    assert_equal(&value(0), &quantized(0, four_bits().weight), "4 bits");
    assert_equal(
        &value(1),
        &quantized(1, WeightQuantizer::default()),
        "ternary",
    );
    assert_equal(&value(2), &floats(weight(2, &device)), "float");

    let error = by(plan(&[("layers.7", Precision::Float)])).unwrap_err();
    let PrepareError::Plan(PlanError::UnknownLayers { layers, .. }) = &error else {
        panic!("{error}");
    };
    assert_eq!(layers, &["layers.7"]);
    assert!(
        error.to_string().contains("layers.0, layers.1, layers.2"),
        "{error}"
    );
}

#[test]
fn a_plan_is_applied_to_a_model_that_is_built() {
    let (stack, _) = Stack::init(
        [(); 3].map(|()| Some(QatScheme::b1_58())),
        &Device::default(),
    );
    let controls = QuantControls::of(&stack);
    let chosen = plan(&[
        ("layers.0", Precision::Bits(4)),
        ("layers.1", Precision::Float),
    ]);
    controls.apply_plan(&chosen).unwrap();
    let expected = independent([Some(four_bits()), None, Some(QatScheme::b1_58())]);
    near(stack.loss(), expected, expected.abs(), "loss by the plan");
    // Records keep it.
    let record = stack.clone().into_record();
    let (other, _) = Stack::init(
        [(); 3].map(|()| Some(QatScheme::b1_58())),
        &Device::default(),
    );
    let other = other.load_record(record);
    assert_eq!(other.loss(), stack.loss());

    let back = plan(&[
        ("layers.0", Precision::Configured),
        ("layers.1", Precision::Configured),
    ]);
    controls.apply_plan(&back).unwrap();
    let ternary = independent([(); 3].map(|()| Some(QatScheme::b1_58())));
    near(stack.loss(), ternary, ternary.abs(), "loss as configured");

    let before = controls.to_string();
    let unknown = plan(&[("layers.0", Precision::Float), ("head", Precision::Float)]);
    assert!(matches!(
        controls.apply_plan(&unknown),
        Err(PlanError::UnknownLayers { .. })
    ));
    assert_eq!(controls.to_string(), before);
}
