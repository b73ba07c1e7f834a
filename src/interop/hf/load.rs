use std::{collections::BTreeMap, path::Path};

use burn::{
    nn::Linear,
    tensor::{Device, FloatDType},
};

use super::{
    Family, HfConfig, HfError, LinearClass, ScaleConvention, TensorProblem,
    checkpoint::{Checkpoint, Entry},
    floats::{self, Order, float_dtype},
    packed_rows,
    save::EXACT_SCALES,
    tensors::{SCALE_SUFFIX, expected, problems},
};
use crate::{
    interop::{CausalLm, PretrainedLm, parameters},
    nn::{BitNetLm, BitNetLmConfig, PackedBitLinear},
    quant::{PackedWeight, QatScheme},
};

/// How a folder is read.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadOptions {
    /// Type of the parameters; `None` keeps that of the file, where the device has it, and else takes
    /// `f32`.
    pub dtype: Option<FloatDType>,
    /// What the scales of packed weights do, where the file does not say.
    pub scale_convention: Option<ScaleConvention>,
    /// Longest sequence; `None` for what the file says.
    pub max_positions: Option<usize>,
}

impl LoadOptions {
    /// Everything as the file says.
    pub fn new() -> Self {
        Self::default()
    }

    /// Parameters of this type.
    pub fn with_dtype(mut self, dtype: Option<FloatDType>) -> Self {
        self.dtype = dtype;
        self
    }

    /// What the scales of packed weights do; it wins over what the file says.
    pub fn with_scale_convention(mut self, convention: Option<ScaleConvention>) -> Self {
        self.scale_convention = convention;
        self
    }

    /// Longest sequence, to save the table of positions of a model that could read longer ones.
    pub fn with_max_positions(mut self, max_positions: Option<usize>) -> Self {
        self.max_positions = max_positions;
        self
    }
}

/// Loads a language model from a folder of Hugging Face's transformers: `config.json` and
/// `model.safetensors`, or several files with `model.safetensors.index.json`.
///
/// | architecture | weights | becomes |
/// |---|---|---|
/// | `BitNetForCausalLM`, `LlamaForCausalLM` | float, no `quantization_config` | [`CausalLm::Full`] |
/// | the same | float, `quantization_config` of `bitnet` | [`CausalLm::Qat`] |
/// | `BitnetForCausalLM` (1bitLLM) | float | [`CausalLm::Qat`] |
/// | any | `U8` and `weight_scale` | [`CausalLm::Packed`] |
///
/// Files are mapped into memory and let go of tensor by tensor, so that loading takes little more than
/// the model.
///
/// # Errors
///
/// If a file cannot be read, is damaged, describes a model that this crate has no layers for, or if
/// tensors are not as `config.json` says, all of which are listed; if the device lacks the type that is
/// asked for. Packed weights whose
/// [scale convention](ScaleConvention) nothing tells are refused.
///
/// # Example
///
/// ```no_run
/// use bitnet_burn::interop::hf::{LoadOptions, load};
/// use burn::tensor::{Device, Int, Tensor};
///
/// let device = Device::default();
/// let model = load("bitnet-b1.58-2B-4T", &LoadOptions::new(), &device)?;
/// let tokens = Tensor::<2, Int>::from_ints([[128000, 9906]], &device);
/// println!("{}", model.lm.forward(tokens).argmax(2));
/// # Ok::<(), bitnet_burn::interop::hf::HfError>(())
/// ```
pub fn load(
    folder: impl AsRef<Path>,
    options: &LoadOptions,
    device: &Device,
) -> Result<PretrainedLm, HfError> {
    let folder = folder.as_ref();
    if let Some(dtype) = options.dtype.filter(|dtype| !device.supports_dtype(*dtype)) {
        return Err(HfError::DeviceType { dtype });
    }
    let config_path = folder.join("config.json");
    let mut config = HfConfig::read(&config_path)?;
    let checkpoint = Checkpoint::open(folder)?;
    check_size(&config_path, &mut config.lm, &checkpoint, options)?;
    let packed = is_packed(&checkpoint);
    let convention = match packed {
        true => Some(convention(&config_path, &config, options)?),
        false => None,
    };
    let expected = expected(&config.lm, config.family, packed);
    let problems = problems(&checkpoint, &expected, config.lm.tied_embeddings);
    let wrong = |problems| HfError::Tensors {
        folder: folder.to_path_buf(),
        problems,
    };
    if !problems.is_empty() {
        return Err(wrong(problems));
    }
    let lm = config.lm.init(device);
    let lm = with_floats(
        lm,
        &checkpoint,
        config.family,
        options.dtype,
        packed,
        device,
    );
    let lm = match convention {
        Some(convention) => {
            CausalLm::Packed(packed_lm(lm, &checkpoint, convention, device).map_err(wrong)?)
        }
        None if config.quantization.is_some() || config.family == Family::OneBitLlm => {
            CausalLm::Qat(lm.into_bitnet(&QatScheme::b1_58()))
        }
        None => CausalLm::Full(lm),
    };
    Ok(PretrainedLm {
        config: config.lm,
        lm,
        bos_token_id: config.bos_token_id,
        eos_token_ids: config.eos_token_ids,
        pad_token_id: None,
        unknown_keys: Vec::new(),
    })
}

/// Refuses sizes that would take more memory than the files have a reason for.
fn check_size(
    path: &Path,
    config: &mut BitNetLmConfig,
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<(), HfError> {
    let (layers, tensors) = (config.n_layers, checkpoint.entries().len());
    if layers > tensors {
        let reason = format!("num_hidden_layers is {layers}, and the files have {tensors} tensors");
        return Err(HfError::config(path, reason));
    }
    if let Some(max_positions) = options.max_positions {
        config.max_positions = max_positions;
    }
    if let Err(table) = parameters::check_positions(config, checkpoint.num_bytes() as u64) {
        let reason = format!(
            "max_position_embeddings is {}, whose table takes {table} bytes, more than the weights: \
             set LoadOptions::max_positions",
            config.max_positions
        );
        return Err(HfError::config(path, reason));
    }
    Ok(())
}

fn is_packed(checkpoint: &Checkpoint) -> bool {
    checkpoint
        .entries()
        .any(|(name, info)| name.ends_with("_proj.weight") && info.dtype == safetensors::Dtype::U8)
}

fn convention(
    path: &Path,
    config: &HfConfig,
    options: &LoadOptions,
) -> Result<ScaleConvention, HfError> {
    let of_file = config.quantization.as_ref().and_then(|q| q.linear_class);
    let of_file = of_file.map(LinearClass::scale_convention);
    let unknown = || HfError::UnknownScaleConvention {
        path: path.to_path_buf(),
    };
    options.scale_convention.or(of_file).ok_or_else(unknown)
}

/// Puts the floats of a checkpoint into a model, all of which are there.
fn with_floats(
    lm: BitNetLm<Linear>,
    checkpoint: &Checkpoint,
    family: Family,
    dtype: Option<FloatDType>,
    packed: bool,
    device: &Device,
) -> BitNetLm<Linear> {
    parameters::with_floats(lm, |path, shape| {
        if packed && path.ends_with("_proj.weight") {
            return None;
        }
        let entry = checkpoint.get(&family.tensor_name(path));
        let entry = entry.expect("checked before");
        let from = float_dtype(entry.info.dtype).expect("checked before");
        let order = match (parameters::is_linear(path), &entry.info.shape[..]) {
            (true, &[d_output, d_input]) => Order::Transposed([d_output, d_input]),
            _ => Order::Kept,
        };
        let kept = if device.supports_dtype(from) {
            from
        } else {
            FloatDType::F32
        };
        let to = dtype.unwrap_or(kept);
        let release = |bytes| checkpoint.release(entry, bytes);
        let bytes = checkpoint.bytes(entry);
        Some(floats::read(bytes, [from, to], order, shape, &release))
    })
}

fn packed_lm(
    lm: BitNetLm<Linear>,
    checkpoint: &Checkpoint,
    convention: ScaleConvention,
    device: &Device,
) -> Result<BitNetLm<PackedBitLinear>, Vec<TensorProblem>> {
    let mut problems = Vec::new();
    let exact = checkpoint.metadata(EXACT_SCALES);
    let exact = exact.and_then(|json| serde_json::from_str(json).ok());
    let exact: BTreeMap<String, u32> = exact.unwrap_or_default();
    let device = device.clone().inner();
    let lm = lm.map_projections(|path, linear| {
        let [d_input, d_output] = linear.weight.lazy_shape().dims();
        let shape = [d_output, d_input];
        let name = format!("{path}.weight");
        let weight = packed_weight(
            checkpoint,
            &name,
            shape,
            convention,
            exact.get(&name),
            &device,
        );
        let weight = weight.unwrap_or_else(|problem| {
            problems.push(problem);
            PackedWeight::from_words(Vec::new(), [0, d_input], 1.0, &device)
        });
        PackedBitLinear::b1_58(weight)
    });
    match problems.is_empty() {
        true => Ok(lm),
        false => Err(problems),
    }
}

fn packed_weight(
    checkpoint: &Checkpoint,
    name: &str,
    shape: [usize; 2],
    convention: ScaleConvention,
    exact: Option<&u32>,
    device: &Device,
) -> Result<PackedWeight, TensorProblem> {
    let entry = |name: &str| -> &Entry { checkpoint.get(name).expect("checked before") };
    let wrong = |name: &str, reason: String| TensorProblem::Value {
        name: name.to_string(),
        reason,
    };
    let scale_name = format!("{name}{SCALE_SUFFIX}");
    let scale = entry(&scale_name);
    let dtype = float_dtype(scale.info.dtype).expect("checked before");
    let scale = floats::scalar(checkpoint.bytes(scale), dtype).unwrap_or(f32::NAN);
    let gamma = exact_gamma(exact, convention, scale);
    if !(gamma.is_finite() && gamma > 0.0) {
        let reason = format!("a scale is positive and finite, found {scale}");
        return Err(wrong(&scale_name, reason));
    }
    let codes = entry(name);
    let words = packed_rows::to_words(checkpoint.bytes(codes), shape);
    let words = words.map_err(|place| {
        let reason = format!("byte {place} has a code that is none of -1, 0 and 1");
        wrong(name, reason)
    })?;
    checkpoint.release(codes, 0..checkpoint.bytes(codes).len());
    Ok(PackedWeight::from_words(words, shape, gamma, device))
}

/// The scale of the codes. The reciprocal of a reciprocal can be a rounding error away from what was
/// written; files of this crate have what it was.
fn exact_gamma(exact: Option<&u32>, convention: ScaleConvention, scale: f32) -> f32 {
    let exact = exact.map(|bits| f32::from_bits(*bits));
    // Who changed the weights since has changed the scale.
    let same = |exact: &f32| convention.weight_scale(*exact) == scale;
    exact.filter(same).unwrap_or(convention.gamma(scale))
}
