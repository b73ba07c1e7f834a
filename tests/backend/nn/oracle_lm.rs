//! [`BitNetLm`] against transformers' `BitNetForCausalLM`: one checkpoint, its gradients and its
//! packed form.

use std::collections::BTreeMap;

use bitnet_burn::nn::{BitLinear, BitNetLm};
use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, Gradients, Tensor},
};
use safetensors::SafeTensors;

use crate::support::{
    oracle::{Oracle, data_path, strided_bytes},
    tiny_bitnet::{load, loss},
    values::*,
};

/// Tolerance of the case `robust_1x8`, whose activations keep 1e-3 steps from all ties: there, 1e-6
/// of noise in the weights moves logits by 4e-6 and gradients by 5e-6 (see `manifest.json`). A larger
/// difference is a code that flipped.
const ROBUST: f32 = 1e-4;

/// Returns gradients by the names and in the layouts of transformers.
struct NamedGradients<'a> {
    grads: &'a Gradients,
    path: Vec<String>,
    named: BTreeMap<String, Vec<f32>>,
}

impl ModuleVisitor for NamedGradients<'_> {
    fn enter_module(&mut self, name: &str, _container_type: &str) {
        self.path.push(name.replace("gamma", "weight"));
    }

    fn exit_module(&mut self, _name: &str, _container_type: &str) {
        self.path.pop();
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let grad = param.val().grad(self.grads);
        let grad = grad.unwrap_or_else(|| panic!("{name} has no gradient"));
        let grad = match name.ends_with("_proj.weight") {
            true => grad.transpose(),
            false => grad,
        };
        self.named.insert(name, floats(grad));
    }
}

#[test]
fn logits_hidden_states_loss_and_gradients_equal_transformers() {
    let device = Device::default().autodiff();
    let oracle = Oracle::open("i_bitnet_lm_io");
    let case = oracle.case("robust_1x8");
    let lm: BitNetLm = load(&device);
    let tokens = case.tokens("input_ids", &device);
    let check = |actual: &[f32], name: &str| {
        let expected = case.floats(name);
        assert_within(actual, &expected, |_| ROBUST as f64, name);
        println!("{name}: {:e}", largest_error(actual, &expected));
    };

    // A second forward pass, which takes minutes on CubeCL's CPU runtime beside other work.
    if !on_cubecl_cpu() {
        let mut hidden = lm.model.embed_tokens.forward(tokens.clone());
        for (i, layer) in lm.model.layers.iter().enumerate() {
            check(&floats(hidden.clone()), &format!("hidden_states.{i}"));
            hidden = layer.forward(hidden, &lm.model.rotary, None);
        }
        check(&floats(lm.model.norm.forward(hidden)), "hidden_states.2");
    }

    let logits = lm.forward(tokens.clone());
    check(&floats(logits.clone()), "logits");
    let loss = loss(logits, tokens);
    check(&floats(loss.clone()), "loss");

    let mut gradients = NamedGradients {
        grads: &loss.backward(),
        path: Vec::new(),
        named: BTreeMap::new(),
    };
    lm.visit(&mut gradients);
    assert_eq!(gradients.named.len(), 24);
    for (name, grad) in &gradients.named {
        check(grad, &format!("grad.{name}"));
    }
}

#[test]
fn every_projection_equals_transformers_on_its_input() {
    let device = Device::default();
    let oracle = Oracle::open("i_bitnet_lm_io");
    let case = oracle.case("robust_1x8");
    let lm: BitNetLm = load(&device);
    for (i, layer) in lm.model.layers.iter().enumerate() {
        for (name, projection) in layer.projections() {
            // Projections of the same input share it in the file.
            let input = name
                .replace("k_proj", "q_proj")
                .replace("v_proj", "q_proj")
                .replace("up_proj", "gate_proj");
            let x: Tensor<3> = case.tensor(&format!("in.L{i}.{input}"), &device);
            let y = floats(projection.forward(x));
            let expected = case.floats(&format!("out.L{i}.{name}"));
            assert_within(&y, &expected, |_| ROBUST as f64, &name);
        }
    }
}

#[test]
fn packed_logits_equal_those_of_training_and_of_the_packed_checkpoint() {
    let device = Device::default();
    let (online, offline) = (
        Oracle::open("i_bitnet_lm_io"),
        Oracle::open("i_bitnet_packed_io"),
    );
    let case = online.case("robust_1x8");
    let packed = load::<BitLinear>(&device).pack();
    let logits = floats(packed.forward(case.tokens("input_ids", &device)));
    let bound = |_: usize| ROBUST as f64;
    assert_within(&logits, &case.floats("logits"), bound, "online");
    let offline = offline.case("offline_robust_1x8").floats("logits");
    assert_within(&logits, &offline, bound, "offline");
}

#[test]
fn packed_weights_equal_those_that_transformers_exported() {
    let file = std::fs::read(data_path("i_tiny_bitnet_packed/model.safetensors")).unwrap();
    let file = SafeTensors::deserialize(&file).unwrap();
    let packed = load::<BitLinear>(&Device::default()).pack();
    for (i, layer) in packed.model.layers.iter().enumerate() {
        for (name, projection) in layer.projections() {
            let name = format!("model.layers.{i}.{name}.weight");
            let weight = &projection.weight;
            let [rows, columns] = weight.dims();
            let gamma = floats(weight.scales.val())[0];
            let codes: Vec<i8> = floats(weight.unpack())
                .iter()
                .map(|v| (v / gamma) as i8)
                .collect();
            let exported = file.tensor(&name).unwrap();
            assert_equal(&strided_bytes(&codes, rows), exported.data(), &name);

            let scale = file.tensor(&format!("{name}_scale")).unwrap();
            let scale = f32::from_le_bytes(scale.data().try_into().unwrap());
            // One rounding per addition on either side, in any order, and the quotient.
            let bound = 2.0 * ((rows * columns) as f64 + 1.0) * ROUNDING * scale as f64;
            assert_within(&[gamma], &[scale], |_| bound, &name);
        }
    }
}
