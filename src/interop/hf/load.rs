use std::{collections::BTreeMap, fs, io, path::Path};

use burn::{
    module::Module,
    nn::Linear,
    tensor::{Device, FloatDType, TensorData},
};
use serde_json::{Map, Value};

use super::{
    Family, HfConfig, HfError, LinearClass, ScaleConvention, TensorProblem,
    checkpoint::{Checkpoint, Entry},
    config::token_ids,
    floats::{self, Order, float_dtype},
    head::Head,
    not_converted::NotConverted,
    packed_rows,
    save::EXACT_SCALES,
    tensors::{ExpectedTensor, SCALE_SUFFIX, expected, problems},
};
use crate::{
    interop::{CausalLm, PretrainedLm, parameters},
    nn::{BitNetLm, BitNetLmConfig, PackedBitLinear},
    qat::{PackedWeight, QuantControls},
    quant::QatScheme,
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
    let generation = GenerationTokens::read(folder)?;
    let checkpoint = Checkpoint::open(folder)?;
    check_size(&config_path, &mut config.lm, &checkpoint, options)?;
    check_positions(&config_path, &config)?;
    let packed = is_packed(&checkpoint);
    check_mode(&config_path, &config, packed)?;
    let convention = match packed {
        true => Some(convention(&config_path, &config, options)?),
        false => None,
    };
    let not_converted = not_converted(&config_path, &config)?;
    let head = Head::of(&checkpoint, config.lm.tied_embeddings);
    config.lm.tied_embeddings = head != Head::Own;
    let source = Source {
        checkpoint: &checkpoint,
        family: config.family,
        head,
        dtype: options.dtype,
        packed,
        not_converted: &not_converted,
        device,
    };
    let wrong = |problems| HfError::Tensors {
        folder: folder.to_path_buf(),
        problems,
    };
    let expected = expected(&config.lm, config.family, |path| source.is_packed(path));
    check_names(folder, &checkpoint, &expected, head)?;
    let problems = problems(&checkpoint, &expected, head);
    if !problems.is_empty() {
        return Err(wrong(problems));
    }
    let lm = source.with_floats(config.lm.init(device)).map_err(wrong)?;
    let lm = match convention {
        Some(convention) => CausalLm::Packed(source.packed_lm(lm, convention).map_err(wrong)?),
        None if config.quantization.is_some() || config.family == Family::OneBitLlm => {
            let lm = lm.into_bitnet(&QatScheme::b1_58());
            for (_, kept) in lm
                .projections()
                .filter(|(path, _)| not_converted.matches(path))
            {
                QuantControls::of(kept).set_excluded(true);
            }
            CausalLm::Qat(lm)
        }
        None => CausalLm::Full(lm),
    };
    Ok(PretrainedLm {
        config: config.lm,
        lm,
        bos_token_id: config.bos_token_id.or(generation.bos),
        eos_token_ids: generation.with_eos(config.eos_token_ids),
        pad_token_id: config.pad_token_id.or(generation.pad),
        unknown_keys: config.unknown_keys,
    })
}

/// Refuses positions at which the layers here compute something else.
fn check_positions(path: &Path, config: &HfConfig) -> Result<(), HfError> {
    let lm = &config.lm;
    let positions = lm.max_positions;
    if let Some(window) = config.sliding_window.filter(|window| *window < positions) {
        return Err(HfError::Unsupported {
            path: path.to_path_buf(),
            field: "sliding_window".to_string(),
            found: window.to_string(),
            supported: format!(
                "none, or one of all {positions} positions: up to {window} positions are computed the same \
                 (LoadOptions::max_positions)"
            ),
        });
    }
    let rotary = lm.rotary();
    let scaling = rotary.scaling.as_ref();
    if let Some(problem) = scaling.and_then(|s| s.problem(positions, rotary.rotary_size())) {
        return Err(HfError::config(
            path,
            format!("{problem} (LoadOptions::max_positions sets the positions)"),
        ));
    }
    // After the size of their table was checked.
    match rotary.frequencies().iter().all(|f| f.is_finite()) {
        true => Ok(()),
        false => Err(HfError::config(
            path,
            "the rotary frequencies are not finite",
        )),
    }
}

/// Refuses floats that transformers takes for what is left of a quantisation, without quantising them.
fn check_mode(path: &Path, config: &HfConfig, packed: bool) -> Result<(), HfError> {
    let Some(quantization) = &config.quantization else {
        return Ok(());
    };
    let mode = quantization.quantization_mode.as_deref();
    match packed || mode == Some("online") || config.family == Family::OneBitLlm {
        true => Ok(()),
        false => Err(HfError::Unsupported {
            path: path.to_path_buf(),
            field: "quantization_config.quantization_mode".to_string(),
            found: mode.unwrap_or("missing, which means offline").to_string(),
            supported: "online where the weights are floats, which are not packed".to_string(),
        }),
    }
}

/// The projections that stay in full precision.
fn not_converted(path: &Path, config: &HfConfig) -> Result<NotConverted, HfError> {
    let quantization = config.quantization.as_ref();
    let patterns = quantization.and_then(|q| q.modules_to_not_convert.as_deref());
    let unsupported = |found: String, supported: &str| HfError::Unsupported {
        path: path.to_path_buf(),
        field: "quantization_config.modules_to_not_convert".to_string(),
        found,
        supported: supported.to_string(),
    };
    let not_converted = NotConverted::new(patterns.unwrap_or_default())
        .map_err(|pattern| unsupported(pattern, "names, or regular expressions without an end"))?;
    match patterns {
        // transformers quantises the head of a list that does not have it.
        Some(patterns) if !not_converted.matches("lm_head") => Err(unsupported(
            format!("{patterns:?}"),
            "a list with lm_head, since heads are in full precision",
        )),
        _ => Ok(not_converted),
    }
}

/// Refuses files whose names are those of another program, instead of listing all of them.
fn check_names(
    folder: &Path,
    checkpoint: &Checkpoint,
    expected: &[ExpectedTensor],
    head: Head,
) -> Result<(), HfError> {
    let is_there =
        |tensor: &&ExpectedTensor| checkpoint.get(head.file_name(&tensor.name)).is_some();
    let inside = expected
        .iter()
        .filter(|tensor| tensor.name.starts_with("model."));
    let (mut inside, first) = (inside, checkpoint.entries().next());
    match (inside.find(is_there), expected.first(), first) {
        (None, Some(expected), Some((found, _))) => Err(HfError::TensorNames {
            folder: folder.to_path_buf(),
            found: found.to_string(),
            expected: expected.name.clone(),
        }),
        _ => Ok(()),
    }
}

/// Tokens that `generation_config.json` names.
#[derive(Default)]
struct GenerationTokens {
    bos: Option<u32>,
    eos: Vec<u32>,
    pad: Option<u32>,
}

impl GenerationTokens {
    fn read(folder: &Path) -> Result<Self, HfError> {
        let path = folder.join("generation_config.json");
        let json = match fs::read(&path) {
            Ok(json) => json,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(HfError::io(&path)(error)),
        };
        let json: Map<String, Value> =
            serde_json::from_slice(&json).map_err(|error| HfError::config(&path, error))?;
        let ids = |key: &str| token_ids(json.get(key));
        Ok(Self {
            bos: ids("bos_token_id").first().copied(),
            eos: ids("eos_token_id"),
            pad: ids("pad_token_id").first().copied(),
        })
    }

    /// The tokens that end a text, with those of the model first.
    fn with_eos(&self, mut of_model: Vec<u32>) -> Vec<u32> {
        let new = self.eos.iter().filter(|id| !of_model.contains(id));
        let new: Vec<u32> = new.copied().collect();
        of_model.extend(new);
        of_model
    }
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

/// What the parameters of a model are read from.
struct Source<'a> {
    checkpoint: &'a Checkpoint,
    family: Family,
    head: Head,
    dtype: Option<FloatDType>,
    packed: bool,
    not_converted: &'a NotConverted,
    device: &'a Device,
}

impl Source<'_> {
    /// Whether a projection is packed.
    fn is_packed(&self, path: &str) -> bool {
        self.packed && !self.not_converted.matches(path)
    }

    /// Puts the floats into a model, all of which are there.
    fn with_floats(&self, lm: BitNetLm<Linear>) -> Result<BitNetLm<Linear>, Vec<TensorProblem>> {
        let mut problems = Vec::new();
        let lm = parameters::with_floats(lm, |path, shape| {
            let projection = path.strip_suffix(".weight");
            let projection = projection.filter(|path| path.ends_with("_proj"));
            if projection.is_some_and(|path| self.is_packed(path)) {
                return None;
            }
            let name = self.family.tensor_name(path);
            let entry = self.checkpoint.get(self.head.file_name(&name));
            let entry = entry.expect("checked before");
            let data = self.floats(path, entry, shape);
            if let Some(place) = floats::first_not_finite(data.as_bytes(), data.dtype()) {
                let reason = format!("value {place} is not finite");
                problems.push(TensorProblem::Value { name, reason });
            }
            Some(data)
        });
        match problems.is_empty() {
            true => Ok(lm),
            false => Err(problems),
        }
    }

    fn floats(&self, path: &str, entry: &Entry, shape: &[usize]) -> TensorData {
        let from = float_dtype(entry.info.dtype).expect("checked before");
        let order = match (parameters::is_linear(path), &entry.info.shape[..]) {
            (true, &[d_output, d_input]) => Order::Transposed([d_output, d_input]),
            _ => Order::Kept,
        };
        let kept = if self.device.supports_dtype(from) {
            from
        } else {
            FloatDType::F32
        };
        let to = self.dtype.unwrap_or(kept);
        let release = |bytes| self.checkpoint.release(entry, bytes);
        let bytes = self.checkpoint.bytes(entry);
        floats::read(bytes, [from, to], order, shape, &release)
    }

    fn packed_lm(
        &self,
        lm: BitNetLm<Linear>,
        convention: ScaleConvention,
    ) -> Result<BitNetLm<PackedBitLinear>, Vec<TensorProblem>> {
        let mut problems = Vec::new();
        let exact = self.checkpoint.metadata(EXACT_SCALES);
        let exact = exact.and_then(|json| serde_json::from_str(json).ok());
        let exact: BTreeMap<String, u32> = exact.unwrap_or_default();
        let device = self.device.clone().inner();
        let lm = lm.valid().map_projections(|path, linear| {
            if !self.is_packed(path) {
                return PackedBitLinear::full_precision(linear);
            }
            let [d_input, d_output] = linear.weight.lazy_shape().dims();
            let shape = [d_output, d_input];
            let name = format!("{path}.weight");
            let exact = exact.get(&name);
            let weight = packed_weight(self.checkpoint, &name, shape, convention, exact, &device);
            let weight = weight.unwrap_or_else(|problem| {
                problems.push(problem);
                PackedWeight::from_words(Vec::new(), [0, d_input], 1.0, &device)
            });
            PackedBitLinear::b1_58(weight).with_bias(linear.bias)
        });
        match problems.is_empty() {
            true => Ok(lm),
            false => Err(problems),
        }
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
