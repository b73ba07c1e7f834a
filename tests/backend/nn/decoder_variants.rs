//! Options of Llama-family decoders that BitNet's does not have: compared with a reference in `f64`, in
//! decoding, quantized, and loaded from older files.

use std::collections::BTreeMap;

use bitnet_burn::{
    nn::{
        BitLinear, BitNetLm, BitNetLmConfig, GatedActivation, KvCacheConfig, Projection,
        ProjectionBias, QkNorm, RopeScaling,
    },
    qat::QuantControls,
    quant::QatScheme,
};
use burn::{
    config::Config,
    module::{Module, ModuleVisitor, Param},
    nn::Linear,
    tensor::{Device, Int, Tensor},
};

use crate::support::values::*;

const VOCABULARY: usize = 20;
const POSITIONS: usize = 8;

fn base() -> BitNetLmConfig {
    BitNetLmConfig::new(VOCABULARY, 16, 2, 4, 24)
        .with_n_kv_heads(Some(2))
        .with_activation(GatedActivation::Silu)
        .with_rope_theta(100.0)
        .with_max_positions(16)
}

fn yarn() -> RopeScaling {
    RopeScaling::Yarn {
        factor: 4.0,
        original_max_positions: 8,
        beta_fast: 2.0,
        beta_slow: 0.25,
        truncate: false,
        attention_factor: None,
        mscale: Some(1.5),
        mscale_all_dim: Some(0.5),
    }
}

/// Each option alone, and all of them.
fn variants() -> Vec<BitNetLmConfig> {
    let whole = ProjectionBias::new(true, true, true);
    let all = base()
        .with_d_head(Some(10))
        .with_d_rotary(Some(6))
        .with_bias(whole)
        .with_qk_norm(QkNorm::PerHead)
        .with_rope_scaling(Some(yarn()));
    vec![
        base(),
        base().with_d_head(Some(10)),
        base().with_d_head(Some(2)).with_sub_norm(false),
        base().with_d_rotary(Some(2)),
        base().with_bias(ProjectionBias::QKV).with_sub_norm(false),
        base().with_bias(whole),
        base().with_qk_norm(QkNorm::PerHead),
        base().with_rope_scaling(Some(yarn())),
        all.clone().with_sub_norm(false),
        all,
    ]
}

fn full(config: &BitNetLmConfig) -> BitNetLm<Linear> {
    let device = Device::default();
    config.init(&device).map(&mut Drawn::new(3, 0.3))
}

fn tokens() -> Tensor<2, Int> {
    let tokens: Vec<i32> = (0..2 * POSITIONS as i32)
        .map(|i| (i * 7 + i * i) % 20)
        .collect();
    Tensor::<1, Int>::from_ints(tokens.as_slice(), &Device::default()).reshape([2, POSITIONS])
}

#[derive(Default)]
struct Parameters {
    path: Vec<String>,
    values: BTreeMap<String, Vec<f64>>,
}

impl ModuleVisitor for Parameters {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.to_string());
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let values = floats(param.val()).into_iter().map(f64::from).collect();
        self.values.insert(self.path.join("."), values);
    }
}

/// Reference decoder in `f64`, one token after the other, as plain as possible.
struct Reference {
    config: BitNetLmConfig,
    parameters: BTreeMap<String, Vec<f64>>,
}

impl Reference {
    fn new(config: &BitNetLmConfig, lm: &BitNetLm<Linear>) -> Self {
        let mut parameters = Parameters::default();
        lm.visit(&mut parameters);
        Self {
            config: config.clone(),
            parameters: parameters.values,
        }
    }

    /// Computes `x W + b` with `W` of shape `[d_input, d_output]`.
    fn linear(&self, path: &str, x: &[f64]) -> Vec<f64> {
        let weight = &self.parameters[&format!("{path}.weight")];
        let d_output = weight.len() / x.len();
        let bias = self.parameters.get(&format!("{path}.bias"));
        let output = |j: usize| {
            let products = x.iter().enumerate();
            let sum: f64 = products.map(|(i, x)| x * weight[i * d_output + j]).sum();
            sum + bias.map_or(0.0, |bias| bias[j])
        };
        (0..d_output).map(output).collect()
    }

    /// Applies the norm, or returns `x` where there is none.
    fn norm(&self, path: &str, x: &[f64]) -> Vec<f64> {
        let Some(gamma) = self.parameters.get(&format!("{path}.gamma")) else {
            return x.to_vec();
        };
        let mean = x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64;
        let scale = (mean + self.config.rms_norm_epsilon).sqrt();
        x.iter().zip(gamma).map(|(x, g)| x / scale * g).collect()
    }

    /// Returns the heads of a position, normalized and rotated.
    fn turned(&self, norm: &str, x: &[f64], position: usize) -> Vec<Vec<f64>> {
        let (d_head, rotary) = (self.config.head_size(), self.config.rotary());
        let half = rotary.rotary_size() / 2;
        let factor = rotary
            .scaling
            .as_ref()
            .map_or(1.0, |s| s.attention_factor());
        let heads = x.chunks(d_head).map(|head| self.norm(norm, head));
        let turn = |head: Vec<f64>| {
            let mut turned = head.clone();
            for (i, frequency) in rotary.frequencies().into_iter().enumerate() {
                let (sin, cos) = (position as f64 * frequency).sin_cos();
                let (a, b) = (head[i], head[i + half]);
                turned[i] = factor * (a * cos - b * sin);
                turned[i + half] = factor * (b * cos + a * sin);
            }
            turned
        };
        heads.map(turn).collect()
    }

    fn attention(&self, path: &str, hidden: &[Vec<f64>]) -> Vec<Vec<f64>> {
        let (d_head, n_heads) = (self.config.head_size(), self.config.n_heads);
        let group = n_heads / self.config.key_value_heads();
        let heads = |name: &str, norm: &str| -> Vec<Vec<Vec<f64>>> {
            let of = |(position, x): (usize, &Vec<f64>)| {
                let x = self.linear(&format!("{path}.{name}"), x);
                self.turned(&format!("{path}.{norm}"), &x, position)
            };
            hidden.iter().enumerate().map(of).collect()
        };
        let (queries, keys) = (heads("q_proj", "q_norm"), heads("k_proj", "k_norm"));
        let values = hidden
            .iter()
            .map(|x| self.linear(&format!("{path}.v_proj"), x));
        let values: Vec<Vec<f64>> = values.collect();
        let context = |position: usize, head: usize| -> Vec<f64> {
            let (query, key_head) = (&queries[position][head], head / group);
            let score = |at: usize| -> f64 {
                let key = &keys[at][key_head];
                let dot: f64 = query.iter().zip(key).map(|(q, k)| q * k).sum();
                (dot / (d_head as f64).sqrt()).exp()
            };
            let scores: Vec<f64> = (0..=position).map(score).collect();
            let total: f64 = scores.iter().sum();
            let weighed = |i: usize| -> f64 {
                let at = |at: usize| scores[at] / total * values[at][key_head * d_head + i];
                (0..=position).map(at).sum()
            };
            (0..d_head).map(weighed).collect()
        };
        let output = |position: usize| {
            let heads = (0..n_heads).flat_map(|head| context(position, head));
            let heads: Vec<f64> = heads.collect();
            let heads = self.norm(&format!("{path}.attn_sub_norm"), &heads);
            self.linear(&format!("{path}.o_proj"), &heads)
        };
        (0..hidden.len()).map(output).collect()
    }

    fn feed_forward(&self, path: &str, x: &[f64]) -> Vec<f64> {
        let project = |name: &str| self.linear(&format!("{path}.{name}"), x);
        let gated = project("gate_proj").into_iter().zip(project("up_proj"));
        let gated: Vec<f64> = gated.map(|(g, up)| g / (1.0 + (-g).exp()) * up).collect();
        let gated = self.norm(&format!("{path}.ffn_sub_norm"), &gated);
        self.linear(&format!("{path}.down_proj"), &gated)
    }

    fn logits(&self, tokens: &[usize]) -> Vec<f64> {
        let d_model = self.config.d_model;
        let table = &self.parameters["model.embed_tokens.weight"];
        let row = |token: usize| &table[token * d_model..(token + 1) * d_model];
        let add = |x: &mut Vec<f64>, y: Vec<f64>| x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
        let mut x: Vec<Vec<f64>> = tokens.iter().map(|t| row(*t).to_vec()).collect();
        for layer in 0..self.config.n_layers {
            let path = format!("model.layers.{layer}");
            let norm = |name: &str, x: &[f64]| self.norm(&format!("{path}.{name}"), x);
            let hidden: Vec<_> = x.iter().map(|x| norm("input_layernorm", x)).collect();
            let attention = self.attention(&format!("{path}.self_attn"), &hidden);
            x.iter_mut().zip(attention).for_each(|(x, y)| add(x, y));
            for x in &mut x {
                let hidden = norm("post_attention_layernorm", x);
                add(x, self.feed_forward(&format!("{path}.mlp"), &hidden));
            }
        }
        let logit = |x: &[f64], token| row(token).iter().zip(x).map(|(w, x)| w * x).sum();
        let normalized = x.iter().map(|x| self.norm("model.norm", x));
        normalized
            .flat_map(|x| (0..VOCABULARY).map(move |t| (t, x.clone())))
            .map(|(token, x)| logit(&x, token))
            .collect()
    }
}

#[test]
fn logits_are_those_of_the_formulas() {
    for config in variants() {
        let lm = full(&config);
        let reference = Reference::new(&config, &lm);
        let logits = floats(lm.forward(tokens()));
        let tokens: Vec<usize> = ints::<2, i64>(tokens())
            .iter()
            .map(|t| *t as usize)
            .collect();
        let sequences = tokens.chunks(POSITIONS);
        let expected: Vec<f64> = sequences.flat_map(|t| reference.logits(t)).collect();
        let expected: Vec<f32> = expected.into_iter().map(|logit| logit as f32).collect();
        let largest = expected
            .iter()
            .fold(0f32, |most, logit| most.max(logit.abs()));
        // A chain of 21 sums of at most 40 products, each rounding the sum by its 2^-24.
        let bound = 21.0 * 40.0 * ROUNDING * f64::from(largest.max(1.0));
        assert_within(&logits, &expected, |_| bound, &config.to_string());
    }
}

fn assert_decodes<P: Projection>(lm: &BitNetLm<P>, bound: f64, what: &str) {
    let whole = lm.forward(tokens());
    let mut cache = KvCacheConfig::new(2, 16).init(lm);
    let mut end = 0;
    for positions in [3, 1, 4] {
        let logits = lm.decode(tokens().narrow(1, end, positions), &mut cache);
        end += positions;
        let expected = floats(whole.clone().narrow(1, end - 1, 1));
        assert_within(&floats(logits), &expected, |_| bound, what);
    }
}

#[test]
fn decoding_gives_the_logits_of_the_whole() {
    for config in variants() {
        // As in the tests of the cache: logits of size 1 and another summation order.
        assert_decodes(&full(&config), 2e-5, &config.to_string());
    }
}

#[test]
fn quantized_models_keep_biases_and_norms() {
    for config in variants() {
        let what = config.to_string();
        let lm = full(&config);
        let expected = floats(lm.forward(tokens()));
        let qat = lm.into_bitnet(&QatScheme::b1_58());
        let controls = QuantControls::of(&qat);
        controls.set_lambda(0.0);
        assert_equal(&floats(qat.forward(tokens())), &expected, &what);
        controls.set_lambda(1.0);
        let quantized = floats(qat.forward(tokens()));
        assert_ne!(quantized, expected);
        let packed = qat.pack();
        assert_equal(&floats(packed.forward(tokens())), &quantized, &what);
        for (name, projection) in qat.projections() {
            assert!(projection.is_b1_58(), "{name}");
            let bias = match name.rsplit('.').next().unwrap() {
                "q_proj" | "k_proj" | "v_proj" => config.bias.qkv,
                "o_proj" => config.bias.output,
                _ => config.bias.feed_forward,
            };
            assert_eq!(projection.bias.is_some(), bias, "{name}");
        }
    }
}

#[test]
fn sub_norms_are_inserted_at_the_size_of_the_heads() {
    let config = base().with_d_head(Some(10)).with_sub_norm(false);
    let lm = full(&config).insert_sub_norms(1e-5);
    let norm = lm.model.layers[0].self_attn.attn_sub_norm.as_ref().unwrap();
    assert_eq!(norm.gamma.shape().dims(), [40]);
    assert_eq!(lm.forward(tokens()).dims(), [2, POSITIONS, VOCABULARY]);
}

#[test]
fn biases_begin_with_zeros_and_train() {
    let device = Device::default().autodiff();
    let config = base().with_bias(ProjectionBias::new(true, true, true));
    let lm: BitNetLm<BitLinear> = config.init(&device);
    let tokens = Tensor::from_data(tokens().into_data(), &device);
    let grads = lm.forward(tokens).powi_scalar(2).sum().backward();
    for (name, projection) in lm.projections() {
        let bias = projection.bias.as_ref().unwrap().val();
        assert!(floats(bias.clone()).iter().all(|b| *b == 0.0), "{name}");
        let gradient = floats(bias.grad(&grads).unwrap());
        // A constant added to all keys of a query changes no score.
        if !name.ends_with("k_proj") {
            assert!(gradient.iter().any(|g| *g != 0.0), "{name}");
        }
    }
}

#[test]
fn a_configuration_of_before_is_the_same_model() {
    let before = r#"{"vocab_size": 20, "d_model": 16, "n_layers": 2, "n_heads": 4, "d_ff": 24,
        "n_kv_heads": 2, "max_positions": 16, "rope_theta": 100.0, "rope_scaling": null,
        "rms_norm_epsilon": 1e-5, "activation": "Silu", "sub_norm": true, "tied_embeddings": true,
        "scheme": {}, "initializer": {"Normal": {"mean": 0.0, "std": 0.02}}}"#;
    let before = BitNetLmConfig::load_binary(before.as_bytes()).unwrap();
    assert_eq!(before.to_string(), base().to_string());
    for config in variants() {
        let again = BitNetLmConfig::load_binary(config.to_string().as_bytes()).unwrap();
        assert_eq!(again.to_string(), config.to_string());
    }
}
