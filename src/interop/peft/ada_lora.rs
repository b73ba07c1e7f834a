use burn::tensor::{DType, Tensor, TensorData};
use indexmap::IndexMap;
use serde_json::{Value, json};

use super::{
    PeftFileError,
    fields::{self, Fields},
    reader::Reader,
    targets,
    tensors::Tensors,
};
use crate::{
    base::key_table::{
        KeyRule::{Harmless, Honored, OffAt},
        KeyTable,
        Off::{Empty, False},
        UnknownKey,
    },
    nn::BitNetLm,
    peft::{AdaLora, AdaLoraConfig, AdaptedLinear, Adapter, AdapterBase, PeftConfig},
};

/// Keys of `adapter_config.json` of AdaLoRA adapters in peft 0.21.
#[rustfmt::skip]
const KEYS: KeyTable = KeyTable(&[
    (Honored, &[
        "peft_type", "target_r", "init_r", "tinit", "tfinal", "deltaT", "beta1", "beta2", "orth_reg_weight",
        "total_step", "lora_alpha", "lora_dropout", "bias", "rank_pattern", "modules_to_save",
    ]),
    (Honored, targets::KEYS),
    (Harmless, fields::ORIGIN),
    // Fields of LoRA that AdaLoRA does not read; the values of all factors are in the file.
    (Harmless, &["r", "alpha_pattern", "init_lora_weights", "use_rslora"]),
    // Settings of methods that are off.
    (Harmless, &[
        "ensure_weight_tying", "megatron_core", "qalora_group_size", "runtime_config", "loftq_config", "corda_config",
        "eva_config", "lora_ga_config",
    ]),
    (OffAt(&[Empty, False]), &[
        "alora_invocation_tokens", "arrow_config", "fan_in_fan_out", "kasa_config", "layer_replication",
        "lora_bias", "megatron_config", "monteclora_config", "target_parameters", "trainable_token_indices",
        "use_bdlora", "use_dora", "use_qalora", "velora_config",
    ]),
]);

/// Reads the configuration of an AdaLoRA adapter. Keys that are absent have peft's defaults.
pub(super) fn read(fields: &Fields<'_>) -> Result<(AdaLoraConfig, Vec<UnknownKey>), PeftFileError> {
    let unknown = fields.check(&KEYS)?;
    let mut config = AdaLoraConfig::new(fields.required("total_step")?);
    config.target_r = fields.or("target_r", config.target_r)?;
    config.init_r = fields.or("init_r", config.init_r)?;
    config.tinit = fields.or("tinit", config.tinit)?;
    config.tfinal = fields.or("tfinal", config.tfinal)?;
    config.delta_t = fields.or("deltaT", config.delta_t)?;
    config.beta1 = fields.or("beta1", config.beta1)?;
    config.beta2 = fields.or("beta2", config.beta2)?;
    config.orth_reg_weight = fields.or("orth_reg_weight", config.orth_reg_weight)?;
    config.alpha = fields.or("lora_alpha", config.alpha)?;
    config.dropout = fields.or("lora_dropout", config.dropout)?;
    config.bias = fields.or("bias", config.bias)?;
    config.rank_pattern = fields.or("rank_pattern", config.rank_pattern)?;
    config.modules_to_save = fields.or("modules_to_save", Vec::new())?;
    config.targets = targets::read(fields, None)?;
    Ok((config, unknown))
}

/// Returns the configuration as peft reads it: few keys, as all others have defaults.
pub(super) fn write(config: &AdaLoraConfig) -> Value {
    let mut fields = json!({
        "peft_type": "ADALORA",
        "task_type": "CAUSAL_LM",
        "inference_mode": true,
        "target_r": config.target_r,
        "init_r": config.init_r,
        "tinit": config.tinit,
        "tfinal": config.tfinal,
        "deltaT": config.delta_t,
        "beta1": config.beta1,
        "beta2": config.beta2,
        "orth_reg_weight": config.orth_reg_weight,
        "total_step": config.total_step,
        "lora_alpha": config.alpha,
        "lora_dropout": config.dropout,
        "bias": config.bias,
    });
    targets::write(&config.targets, &mut fields);
    if !config.rank_pattern.is_empty() {
        fields["rank_pattern"] = json!(config.rank_pattern);
    }
    fields
}

/// Returns the key of a module in the pattern of ranks.
fn key(module: &str) -> String {
    format!("{module}.lora_E")
}

/// Returns the directions of a module that a folder has; `None` for all.
pub(super) fn kept<'a>(config: &'a PeftConfig, module: &str) -> Option<&'a [bool]> {
    match config {
        PeftConfig::AdaLora(config) => config.rank_pattern.get(&key(module)).map(Vec::as_slice),
        _ => None,
    }
}

/// Returns the configuration with the directions of an adapter that are not zero. An adapter that has no other is one
/// before its training, with all directions.
pub(super) fn with_kept<P: AdapterBase>(
    config: PeftConfig,
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
) -> Result<PeftConfig, PeftFileError> {
    let PeftConfig::AdaLora(mut config) = config else {
        return Ok(config);
    };
    config.rank_pattern.clear();
    let mut pattern = IndexMap::new();
    for (module, linear) in lm.projections() {
        if let Some(Adapter::AdaLora(adapter)) = linear.adapter(name) {
            let e = adapter.e.val().try_into_data_dtype(DType::F32)?;
            let kept: Vec<bool> = e.iter::<f32>().map(|e| e != 0.0).collect();
            pattern.insert(key(&module), kept);
        }
    }
    let mut all = pattern.values().flatten();
    if all.clone().any(|&kept| kept) && all.any(|&kept| !kept) {
        config.rank_pattern = pattern;
    }
    Ok(config.into())
}

/// Adds the kept directions of an adapter to the tensors of a file.
pub(super) fn add(
    tensors: &mut Tensors<'_>,
    adapter: &AdaLora,
    kept: Option<&[bool]>,
) -> Result<(), PeftFileError> {
    let rank = adapter.rank();
    let rows: Vec<usize> = (0..rank).filter(|&i| kept.is_none_or(|k| k[i])).collect();
    let a = adapter.a.val().transpose();
    let e = adapter.e.val().unsqueeze_dim::<2>(1);
    tensors.add_data("lora_A", &selected(a, &rows)?);
    tensors.add_data("lora_E", &selected(e, &rows)?);
    // The rows of `B` are columns in the file.
    let b = selected(adapter.b.val(), &rows)?;
    tensors.add_data("lora_B", &transposed(&b));
    Ok(())
}

/// Returns rows of a matrix. (A device may not have a tensor without values.)
fn selected(matrix: Tensor<2>, rows: &[usize]) -> Result<TensorData, PeftFileError> {
    let [_, width] = matrix.dims();
    let values: Vec<f32> = matrix.try_into_vec_as()?;
    let selected = rows.iter().flat_map(|&row| &values[row * width..][..width]);
    let selected: Vec<f32> = selected.copied().collect();
    Ok(TensorData::new(selected, [rows.len(), width]))
}

fn transposed(matrix: &TensorData) -> TensorData {
    let [rows, width]: [usize; 2] = matrix.shape().dims();
    let values: Vec<f32> = matrix.iter().collect();
    let transposed = (0..width).flat_map(|j| (0..rows).map(move |i| (i, j)));
    let transposed: Vec<f32> = transposed.map(|(i, j)| values[i * width + j]).collect();
    TensorData::new(transposed, [width, rows])
}

/// Returns the names and shapes of the factors of a module `[d_input, d_output]` in a file; pruned directions are not in it.
pub(super) fn factors(
    module: &str,
    [d_input, d_output]: [usize; 2],
    directions: usize,
) -> [(String, [usize; 2]); 3] {
    [
        ("A", [directions, d_input]),
        ("E", [directions, 1]),
        ("B", [d_output, directions]),
    ]
    .map(|(factor, shape)| (format!("{module}.lora_{factor}"), shape))
}

/// Fills an adapter with the tensors of a file, whose directions are those that are kept; the others are zero.
pub(super) fn fill(
    reader: &mut Reader,
    module: &str,
    adapter: AdaLora,
    kept: Option<&[bool]>,
) -> AdaLora {
    let device = adapter.a.device();
    let [d_input, rank] = adapter.a.shape().dims();
    let [_, d_output] = adapter.b.shape().dims();
    let rows: Vec<usize> = (0..rank).filter(|&i| kept.is_none_or(|k| k[i])).collect();
    let [a, e, b] = factors(module, [d_input, d_output], rows.len())
        .map(|(name, shape)| reader.take_data(&name, &shape));
    let (Some(a), Some(e), Some(b)) = (a, e, b) else {
        return adapter;
    };
    // Directions are the columns of `B`.
    let [a, e, b] = [a, e, transposed(&b)].map(|data| spread(&data, &rows, rank));
    // Transposed here, so that the tensor is stored as one that a checkpoint restores.
    let a = Tensor::from_data(transposed(&a), &device);
    let e = Tensor::<2>::from_data(e, &device).squeeze_dim(1);
    adapter.with_factors(a, e, Tensor::from_data(b, &device))
}

/// Returns a matrix of `rank` rows with those of `data` at their places, and zeros.
fn spread(data: &TensorData, rows: &[usize], rank: usize) -> TensorData {
    let [_, width]: [usize; 2] = data.shape().dims();
    let values: Vec<f32> = data.iter().collect();
    let mut all = vec![0.0; rank * width];
    for (&row, values) in rows.iter().zip(values.chunks_exact(width)) {
        all[row * width..][..width].copy_from_slice(values);
    }
    TensorData::new(all, [rank, width])
}
