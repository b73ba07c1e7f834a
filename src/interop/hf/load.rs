use std::path::Path;

use burn::{nn::Linear, tensor::Device};

use super::{
    Family, HfConfig, HfError, LoadOptions, ScaleConvention,
    checkpoint::Checkpoint,
    exact_values::ExactValues,
    four_bit::{is_quant_state, quant_states},
    head::Head,
    load_checks::{check_mode, check_names, check_positions, check_size, check_tensors},
    not_converted::NotConverted,
    quantization::QuantizationConfig,
    source::{Source, Storage, is_converted},
    special_tokens::SpecialTokens,
};
use crate::{
    interop::{
        CausalLm, PretrainedLm, architecture,
        load_parameters::{with_four_bit, with_packed},
    },
    nn::BitNetLm,
    qat::QuantControls,
    quant::QatScheme,
};

/// Loads a language model from a folder of Hugging Face's transformers: `config.json` and
/// `model.safetensors`, or several files with `model.safetensors.index.json`.
///
/// | architecture | weights | becomes |
/// |---|---|---|
/// | `BitNetForCausalLM`, `LlamaForCausalLM` | float, no `quantization_config` | [`CausalLm::Full`] |
/// | the same | float, `quantization_config` of `bitnet` | [`CausalLm::Qat`] |
/// | `BitnetForCausalLM` (1bitLLM) | float | [`CausalLm::Qat`] |
/// | any | `U8` and `weight_scale` | [`CausalLm::Packed`] |
/// | any but `BitnetForCausalLM` | `U8` and `absmax`, `quantization_config` of `bitsandbytes` | [`CausalLm::FourBit`] |
///
/// Files are mapped into memory and let go of tensor by tensor, so that loading takes little more than
/// the model.
///
/// # Errors
///
/// If a file cannot be read, is damaged, describes a model that this crate has no layers for, or if
/// tensors are not as `config.json` says, all of which are listed; if the device lacks the type that is
/// asked for. Packed weights whose
/// [scale convention](ScaleConvention) nothing tells are refused, and 8-bit weights of bitsandbytes.
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
    let generation = SpecialTokens::of_generation(folder)?;
    let checkpoint = Checkpoint::open(folder)?;
    check_size(&config_path, &mut config.lm, &checkpoint, options)?;
    check_positions(&config_path, &config)?;
    let head = Head::of(&checkpoint, config.lm.tied_embeddings);
    config.lm.tied_embeddings = head != Head::Own;
    let table = architecture::parameters(&config.lm);
    let names = table.iter().map(|p| config.family.tensor_name(p));
    check_names(folder, &checkpoint, names, head)?;
    let packed = is_packed(&checkpoint);
    check_mode(&config_path, &config, packed)?;
    let not_converted = not_converted(&config_path, &config)?;
    let storage = match &config.quantization {
        Some(QuantizationConfig::BitsAndBytes(quantization)) => {
            let weights = table.iter().filter(|p| is_converted(p, &not_converted));
            let (states, problems) = quant_states(&checkpoint, weights, quantization);
            HfError::check(folder, problems)?;
            Storage::FourBit(states)
        }
        _ if packed => Storage::Ternary(convention(&config_path, &config, &checkpoint, options)?),
        _ => Storage::Floats,
    };
    let source = Source {
        folder,
        checkpoint: &checkpoint,
        table: &table,
        family: config.family,
        head,
        dtype: options.dtype,
        // Nothing of a packed model is trained.
        device: &match &storage {
            Storage::Ternary(_) => device.clone().inner(),
            _ => device.clone(),
        },
        storage,
        exact: ExactValues::read(&checkpoint),
        not_converted: &not_converted,
    };
    check_tensors(&source)?;
    let lm = read_lm(&source, &config)?;
    Ok(PretrainedLm {
        config: config.lm,
        lm,
        bos_token_id: config.bos_token_id.or(generation.bos),
        eos_token_ids: generation.with_eos(config.eos_token_ids),
        pad_token_id: config.pad_token_id.or(generation.pad),
        unknown_keys: config.unknown_keys,
    })
}

/// The model in the form that the folder has it in.
fn read_lm(source: &Source<'_>, config: &HfConfig) -> Result<CausalLm, HfError> {
    let lm = source.with_floats(config.lm.init(source.device))?;
    Ok(match &source.storage {
        Storage::Ternary(convention) => {
            CausalLm::Packed(with_packed(lm, source.packed_weights(*convention)?))
        }
        Storage::FourBit(states) => {
            CausalLm::FourBit(with_four_bit(lm, source.four_bit_weights(states)?))
        }
        Storage::Floats if config.quantization.is_some() || config.family == Family::OneBitLlm => {
            CausalLm::Qat(latent_lm(lm, source.not_converted))
        }
        Storage::Floats => CausalLm::Full(lm),
    })
}

/// The model with latent weights, but for the projections that stay in full precision.
fn latent_lm(lm: BitNetLm<Linear>, not_converted: &NotConverted) -> BitNetLm {
    let lm = lm.into_bitnet(&QatScheme::b1_58());
    let kept = lm
        .projections()
        .filter(|(path, _)| not_converted.matches(path));
    for (_, kept) in kept {
        QuantControls::of(kept).set_excluded(true);
    }
    lm
}

/// Returns whether any projection is packed, also under names that are not those of the model.
fn is_packed(checkpoint: &Checkpoint) -> bool {
    let mut entries = checkpoint.entries();
    entries
        .any(|(name, info)| name.ends_with("_proj.weight") && info.dtype == safetensors::Dtype::U8)
}

/// Convention of the scales of packed weights.
fn convention(
    path: &Path,
    config: &HfConfig,
    checkpoint: &Checkpoint,
    options: &LoadOptions,
) -> Result<ScaleConvention, HfError> {
    if let Some((name, _)) = checkpoint.entries().find(|(name, _)| is_quant_state(name)) {
        let found = format!("none of bitsandbytes, whose {name} is in the files");
        return Err(HfError::unsupported(
            path,
            "quantization_config",
            found,
            "bitsandbytes",
        ));
    }
    let of_file = config.quantization.as_ref().and_then(|q| q.bitnet());
    let of_file = of_file.and_then(|q| q.linear_class);
    let unknown = || HfError::UnknownScaleConvention {
        path: path.to_path_buf(),
    };
    options.scale_convention.or(of_file).ok_or_else(unknown)
}

/// The projections that stay in full precision.
fn not_converted(path: &Path, config: &HfConfig) -> Result<NotConverted, HfError> {
    let quantization = config.quantization.as_ref();
    let (field, patterns) = quantization.map_or(("", None), QuantizationConfig::not_converted);
    let unsupported =
        |found: String, supported: &str| HfError::unsupported(path, field, found, supported);
    let not_converted = NotConverted::new(patterns.unwrap_or_default())
        .map_err(|pattern| unsupported(pattern, "names, or regular expressions without an end"))?;
    match patterns {
        // transformers quantizes the head of a list that does not have it.
        Some(patterns) if !not_converted.matches("lm_head") => Err(unsupported(
            format!("{patterns:?}"),
            "a list with lm_head, since heads are in full precision",
        )),
        _ => Ok(not_converted),
    }
}
