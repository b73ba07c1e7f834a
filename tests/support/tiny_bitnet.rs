//! The checkpoint `i_tiny_bitnet` of transformers, loaded into a model of this crate.

use bitnet_burn::nn::{BitNetLm, BitNetLmConfig, TrainableProjection};
use burn::{
    nn::loss::CrossEntropyLossConfig,
    store::{
        ModuleAdapter, ModuleContext, ModuleSnapshot, PyTorchToBurnAdapter, SafetensorsStore,
        burn_pack,
    },
    tensor::{Device, Int, Tensor},
};
use serde_json::Value;

use super::oracle::data_path;

/// Adapter for PyTorch names and layouts that treats `BitLinear` like a linear layer: Burn's adapter
/// recognizes only its own layers, and would leave the weights as `[out, in]`.
#[derive(Clone)]
struct FromTransformers;

impl ModuleAdapter for FromTransformers {
    fn adapt(&self, tensor: burn_pack::Tensor, context: ModuleContext<'_>) -> burn_pack::Tensor {
        let linear = ["Struct:Linear".to_string()];
        match context.module_type() {
            Some("Struct:BitLinear") => {
                PyTorchToBurnAdapter.adapt(tensor, ModuleContext::new(&linear))
            }
            _ => PyTorchToBurnAdapter.adapt(tensor, context),
        }
    }

    fn get_alternative_param_name(&self, name: &str, module_type: &str) -> Option<String> {
        PyTorchToBurnAdapter.get_alternative_param_name(name, module_type)
    }

    fn clone_box(&self) -> Box<dyn ModuleAdapter> {
        Box::new(self.clone())
    }
}

/// Returns the architecture in `config.json`.
fn config() -> BitNetLmConfig {
    let json = std::fs::read(data_path("i_tiny_bitnet/config.json")).unwrap();
    let json: Value = serde_json::from_slice(&json).unwrap();
    let size = |key: &str| json[key].as_u64().unwrap_or_else(|| panic!("no {key}")) as usize;
    assert_eq!(json["hidden_act"], "relu2");
    BitNetLmConfig::new(
        size("vocab_size"),
        size("hidden_size"),
        size("num_hidden_layers"),
        size("num_attention_heads"),
        size("intermediate_size"),
    )
    .with_n_kv_heads(Some(size("num_key_value_heads")))
    .with_max_positions(size("max_position_embeddings"))
    .with_rope_theta(json["rope_parameters"]["rope_theta"].as_f64().unwrap() as f32)
    .with_rms_norm_epsilon(json["rms_norm_eps"].as_f64().unwrap())
    .with_tied_embeddings(json["tie_word_embeddings"].as_bool().unwrap())
}

/// Loads the model with the weights of the checkpoint.
pub fn load<P: TrainableProjection>(device: &Device) -> BitNetLm<P> {
    let mut model = config().init(device);
    let mut store = SafetensorsStore::from_file(data_path("i_tiny_bitnet/model.safetensors"))
        .with_from_adapter(FromTransformers)
        .allow_partial(true);
    let result = model.load_from(&mut store).unwrap();
    assert!(
        result.errors.is_empty() && result.unused.is_empty(),
        "{result}"
    );
    // The settings of schedules exist only in this crate.
    let ours = |(path, _): &(String, String)| path.contains(".control.state.");
    assert!(result.missing.iter().all(ours), "{result}");
    assert_eq!(result.applied.len(), 24);
    model
}

/// Returns the mean cross-entropy of each position's logits with the next token.
pub fn loss(logits: Tensor<3>, tokens: Tensor<2, Int>) -> Tensor<1> {
    let [batch, positions, vocabulary] = logits.dims();
    let n = batch * (positions - 1);
    let device = logits.device();
    let logits = logits.narrow(1, 0, positions - 1).reshape([n, vocabulary]);
    let targets = tokens.narrow(1, 1, positions - 1).reshape([n]);
    CrossEntropyLossConfig::new()
        .init(&device)
        .forward(logits, targets)
}
