//! Properties of every method beside every base.

use std::collections::BTreeSet;

use bitnet_burn::{
    nn::{BitLinear, BitNetLm, Linear4bit, PackedBitLinear, Projection},
    peft::{
        AdaLoraConfig, AdaptedLinear, Adapter, BitFitConfig, Ia3Config, LoraConfig, LoraInit,
        PTuningConfig, PeftConfig, PrefixTuningConfig, PromptTuningConfig, TargetModules,
    },
};
use burn::{
    module::{Module, ModuleMapper, ModuleVisitor, Param, ParamId, list_param_ids},
    nn::Linear,
    optim::{AdamWConfig, GradientsParams, ModuleOptimizer},
    tensor::{DType, Gradients, Tensor},
};

use super::models::*;
use crate::support::values::*;

/// A method and what is special about it.
struct Row {
    config: PeftConfig,
    /// Whether a new adapter changes nothing.
    is_neutral: bool,
    /// Names of parameters whose gradient leaves out a part of the output that depends on them.
    detached: &'static [&'static str],
}

impl Row {
    fn new(config: impl Into<PeftConfig>) -> Self {
        Self {
            config: config.into(),
            is_neutral: true,
            detached: &[],
        }
    }
}

fn lora() -> LoraConfig {
    LoraConfig::new(4).with_targets(TargetModules::AllLinear)
}

/// All methods: a new one is a line here.
#[rustfmt::skip]
fn rows() -> Vec<Row> {
    vec![
        Row::new(lora()),
        Row::new(lora().with_rslora().with_init(LoraInit::Gaussian)),
        Row { is_neutral: false, ..Row::new(lora().with_init(LoraInit::Orthogonal)) },
        // The norms of the columns are constants in backward.
        Row { detached: &["a", "b"], ..Row::new(lora().with_dora()) },
        Row::new(Ia3Config::default()),
        Row::new(Ia3Config::new(TargetModules::AllLinear, TargetModules::names([] as [&str; 0]))),
        Row::new(BitFitConfig::default()),
        Row::new(AdaLoraConfig::new(100).with_ranks(4, 2).with_targets(TargetModules::AllLinear)),
        Row { is_neutral: false, ..Row::new(PrefixTuningConfig::new(3)) },
        Row { is_neutral: false, ..Row::new(PTuningConfig::new(3)) },
        Row { is_neutral: false, ..Row::new(PromptTuningConfig::new(3)) },
    ]
}

/// Calls a function of a base and a row with each of them.
macro_rules! for_each_base {
    ($check:ident) => {
        for row in rows() {
            $check::<Linear>(&row);
            $check::<PackedBitLinear>(&row);
            if !on_cubecl_cpu() {
                $check::<BitLinear>(&row);
                $check::<Linear4bit>(&row);
            }
        }
    };
}

/// Returns the model of a seed with a new adapter.
fn adapted<P: Base>(seed: u64, row: &Row) -> BitNetLm<AdaptedLinear<P>> {
    let (lm, report) = P::lm(seed).with_adapter("default", &row.config).unwrap();
    assert!(report.num_trainable > 0, "{report}");
    lm
}

fn what<P: Base>(row: &Row) -> String {
    format!("{} beside weights {}", row.config, P::KIND)
}

fn leaves_the_base<P: Base>(row: &Row) {
    let (what, lm) = (what::<P>(row), P::lm(1));
    let (of_base, state) = (logits(&lm), values(&lm));
    let (lm, _) = lm.with_adapter("default", &row.config).unwrap();
    if row.is_neutral {
        assert_equal(&logits(&lm), &of_base, &format!("new: {what}"));
    }
    let lm = perturbed(lm, 10);
    assert_ne!(logits(&lm), of_base, "trained: {what}");
    let off = lm.clone().with_active_adapters(&[]).unwrap();
    assert_equal(&logits(&off), &of_base, &format!("off: {what}"));
    let deleted = lm.clone().delete_adapter("default").unwrap();
    assert_equal(&logits(&deleted), &of_base, &format!("deleted: {what}"));
    let base = lm.into_base();
    assert_equal(&logits(&base), &of_base, &format!("without: {what}"));
    for (before, after) in state.iter().zip(values(&base)) {
        assert_eq!((&before.path, before.id), (&after.path, after.id), "{what}");
        assert_equal(
            &after.values,
            &before.values,
            &format!("{}, {what}", before.path),
        );
    }
}

#[test]
fn a_new_adapter_changes_nothing_and_a_trained_one_leaves_no_trace() {
    for_each_base!(leaves_the_base);
}

fn trains_alone<P: Base>(row: &Row) {
    let (what, base) = (what::<P>(row), P::lm(2));
    let of_base: BTreeSet<ParamId> = list_param_ids(&base).into_iter().collect();
    let (lm, report) = base.with_adapter("default", &row.config).unwrap();
    let lm = perturbed(lm, 20);
    let before = values(&lm);
    for value in &before {
        let is_new = !of_base.contains(&value.id);
        assert_eq!(value.trains, is_new, "{}, {what}", value.path);
    }
    let trained = before.iter().filter(|v| v.trains);
    let sizes: Vec<usize> = trained.map(|v| v.values.len()).collect();
    assert_eq!(report.num_trainable, sizes.iter().sum::<usize>(), "{what}");

    let mut optimizer: ModuleOptimizer = AdamWConfig::new().init();
    let grads = lm.forward(tokens()).square().mean().backward();
    let grads = GradientsParams::from_grads(grads, &lm);
    assert_eq!(grads.len(), sizes.len(), "gradients, {what}");
    let lm = optimizer.step(1e-2, lm, grads);
    // Two moments each.
    assert_eq!(
        optimizer.to_record().len(),
        2 * sizes.len(),
        "states, {what}"
    );
    for (before, after) in before.iter().zip(values(&lm)) {
        let changed = before.values != after.values;
        assert_eq!(changed, before.trains, "{}, {what}", after.path);
    }
}

#[test]
fn the_adapter_trains_alone_and_has_the_only_states() {
    for_each_base!(trains_alone);
}

/// Casts parameters.
struct Cast(DType);

impl ModuleMapper for Cast {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|value| value.set_require_grad(false).cast(self.0).require_grad())
    }
}

fn keeps_the_type<P: Base>(row: &Row, dtype: DType) {
    let lm = P::lm(8).map(&mut Cast(dtype));
    let (lm, _) = lm.with_adapter("default", &row.config).unwrap();
    let what = format!("{dtype:?}, {}", what::<P>(row));
    for (module, linear) in lm.projections() {
        let [d_input, _] = linear.base.size();
        let x = tensor(&normal(3 * d_input, 80), [3, d_input], dtype, &device());
        let (y, of_base) = (linear.forward(x.clone()), linear.base.forward(x));
        assert_eq!(y.dtype(), of_base.dtype(), "{module}, {what}");
        if row.is_neutral {
            assert_equal(&floats(y), &floats(of_base), &format!("{module}, {what}"));
        }
    }
}

#[test]
fn adapters_in_f32_keep_the_type_of_the_base() {
    let types = float_types(&device());
    for row in rows() {
        for &dtype in &types {
            keeps_the_type::<Linear>(&row, dtype);
            keeps_the_type::<BitLinear>(&row, dtype);
        }
    }
}

/// Gradients of float parameters by the last part of their path.
struct OfParameters<'a> {
    grads: &'a Gradients,
    name: String,
    found: Vec<(String, ParamId, Vec<f32>)>,
}

impl ModuleVisitor for OfParameters<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.name = name.to_string();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let grad = param.val().grad(self.grads);
        let grad = grad.unwrap_or_else(|| panic!("no gradient of {}", self.name));
        self.found.push((self.name.clone(), param.id, floats(grad)));
    }
}

/// Adds a multiple of a direction to a parameter.
struct Shifted<'a> {
    id: ParamId,
    direction: &'a [f32],
    by: f64,
}

impl ModuleMapper for Shifted<'_> {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        if param.id != self.id {
            return param;
        }
        param.map(|value| {
            let direction = tensor(self.direction, value.dims(), DType::F32, &value.device());
            (value.set_require_grad(false) + direction * self.by).require_grad()
        })
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    a.iter()
        .zip(b)
        .map(|(&a, &b)| f64::from(a) * f64::from(b))
        .sum()
}

/// Compares gradients along random directions with the differences of outputs.
fn check_gradients<P: Base>(what: &str, linear: &AdaptedLinear<P>, row: &Row) {
    const TOKENS: usize = 5;
    let [d_input, d_output] = linear.base.size();
    let x = tensor(
        &normal(TOKENS * d_input, 40),
        [TOKENS, d_input],
        DType::F32,
        &device(),
    ) * 10.0;
    let weights = normal(TOKENS * d_output, 41);
    let upstream = tensor(&weights, [TOKENS, d_output], DType::F32, &device());
    let y = linear.forward(x.clone());
    let largest = floats(y.clone()).iter().fold(0.0f32, |a, b| a.max(b.abs()));
    let grads = (y * upstream).sum().backward();
    let mut gradients = OfParameters {
        grads: &grads,
        name: String::new(),
        found: Vec::new(),
    };
    linear.adapter("default").unwrap().visit(&mut gradients);
    for (name, id, grad) in gradients.found {
        if row.detached.contains(&name.as_str()) {
            continue;
        }
        let direction = normal(grad.len(), 42);
        let expected = dot(&grad, &direction);
        // Outputs are affine in each parameter alone: the step need not be small.
        let step = 4.0;
        let of = |by: f64| {
            let mut shifted = Shifted {
                id,
                direction: &direction,
                by,
            };
            let y = linear.clone().map(&mut shifted).forward(x.clone());
            dot(&floats(y), &weights)
        };
        let found = (of(step) - of(-step)) / (2.0 * step);
        // Rounding of outputs and gradients, which are sums of up to 48 products; shifted outputs are up to 16
        // times as large.
        let rounding = 64.0 * ROUNDING;
        let of_outputs =
            16.0 * f64::from(largest) * weights.iter().map(|w| f64::from(w.abs())).sum::<f64>();
        let of_gradient: f64 = grad
            .iter()
            .zip(&direction)
            .map(|(g, v)| f64::from((g * v).abs()))
            .sum();
        let bound = rounding * (of_outputs / step + of_gradient);
        let error = (found - expected).abs();
        assert!(
            error <= bound,
            "{name} of {what}: {found} is not {expected}, bound {bound:e}"
        );
        assert!(
            expected.abs() > 2.0 * bound,
            "{name} of {what}: {expected} within {bound:e}"
        );
    }
}

fn has_the_gradient_of_differences<P: Base>(row: &Row) {
    let lm = perturbed(adapted::<P>(3, row), 30);
    for (module, linear) in lm.projections() {
        let Some(adapter) = linear.adapter("default") else {
            continue;
        };
        // The gradient of what a quantizer rounds is an estimate.
        let of_input = matches!(adapter, Adapter::Ia3(ia3) if ia3.is_feed_forward);
        let is_checked = ["k_proj", "up_proj", "down_proj"]
            .iter()
            .any(|m| module.ends_with(m));
        if is_checked && !(of_input && P::QUANTIZES_INPUT) {
            check_gradients(&format!("{module}, {}", what::<P>(row)), linear, row);
        }
    }
}

#[test]
fn gradients_are_those_of_finite_differences() {
    for_each_base!(has_the_gradient_of_differences);
}

/// Bound of rounding of weights of about 1 and sums of 48 products, through a layer with norms and a head.
fn assert_rounded(actual: &[f32], expected: &[f32], what: &str) {
    let bound = |i: usize| 4096.0 * ROUNDING * f64::from(expected[i].abs().max(1.0));
    assert_within(actual, expected, bound, what);
}

#[test]
fn a_merged_adapter_gives_the_logits_of_the_one_beside_the_weight() {
    for row in rows() {
        let lm = perturbed(adapted::<Linear>(4, &row), 40);
        let beside = logits(&lm);
        let (merged, report) = lm.merge(None);
        assert_rounded(&logits(&merged), &beside, &what::<Linear>(&row));
        let worst = report.worst().map_or(0.0, |module| module.loss);
        assert!(worst < 1e-5, "{report}");
    }
}

fn has_its_dense_weight<P: Base>(row: &Row) {
    if P::QUANTIZES_INPUT {
        return;
    }
    let lm = perturbed(adapted::<P>(5, row), 50);
    for (module, linear) in lm.projections() {
        let [d_input, _] = linear.base.size();
        let x = tensor(
            &normal(3 * d_input, 51),
            [3, d_input],
            DType::F32,
            &device(),
        );
        let y = linear.forward(x.clone()) - linear.forward(x.zeros_like());
        let expected = x.without_autodiff().matmul(linear.dense_weight());
        let what = format!("{module}, {}", what::<P>(row));
        assert_rounded(&floats(y), &floats(expected), &what);
    }
}

#[test]
fn the_dense_weight_is_that_of_the_map() {
    for_each_base!(has_its_dense_weight);
}

fn comes_back_from_a_record<P: Base>(row: &Row) {
    let lm = perturbed(adapted::<P>(6, row), 60);
    let expected = logits(&lm);
    let other = adapted::<P>(7, row);
    assert_ne!(logits(&other), expected);
    let loaded = other.load_record(lm.into_record());
    assert_equal(&logits(&loaded), &expected, &what::<P>(row));
}

#[test]
fn a_record_of_the_model_holds_its_adapters() {
    for_each_base!(comes_back_from_a_record);
}

#[test]
fn configurations_come_back_from_json_and_have_words() {
    for row in rows() {
        let config = row.config;
        config.validate().unwrap();
        let text = serde_json::to_string(&config).unwrap();
        assert_eq!(serde_json::from_str::<PeftConfig>(&text).unwrap(), config);
        assert!(!config.to_string().is_empty());
        assert!(text.contains("\"method\""), "{text}");
    }
}

#[cfg(feature = "train")]
#[test]
fn configurations_come_back_from_toml() {
    for Row { config, .. } in rows() {
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<PeftConfig>(&text).unwrap(), config);
    }
}
