use std::path::Path;

use burn::tensor::{DType, Tensor, TensorReadError};

use super::{
    Architecture, GgmlType, GgufError, GgufMetadata, GgufShape, GgufWriter, SaveOptions,
    adapter::{ADAPTER, ALPHA_KEY, Factor, LORA, TYPE_KEY},
    encode,
};
use crate::{
    interop::architecture::{self, Parameter},
    nn::{BitNetLm, BitNetLmConfig},
    peft::{AdaptedLinear, Adapter, AdapterBase, End, Lora, LoraBias, PeftConfig},
};

/// Relative difference of two values of alpha that are the same but for rounding.
const ROUNDING: f64 = 1e-6;

/// The method that llama.cpp computes, and the way out for the others: the end of an error message.
const SUPPORTED: &str =
    "LoRA without norms: merge the adapter into the weights (BitNetLm::merge), and write the model";

/// Writes a LoRA adapter of a model for llama.cpp, in F32: for `llama-cli --lora`, beside the GGUF file that
/// [`save`](super::save) makes of the base with the options `base`. `model` is the architecture of the language model,
/// and `config` the configuration that the adapter was added with.
///
/// The file has one alpha, which is divided by the rank of each weight: rsLoRA is written as the alpha that gives its
/// factor. An adapter that was subtracted from the weights (PiSSA, OLoRA) is written as a
/// [plain one](crate::peft::Lora::into_plain) of twice the rank.
///
/// # Errors
///
/// If the model has no adapter of this name, llama.cpp does not compute it (another method than LoRA, DoRA, biases or
/// modules that train as a whole, factors of several alphas), the base has scales
/// [beside its weights](SaveOptions::with_scales_in_weights), a value is not finite, or the file cannot be written.
pub fn save_adapter<P: AdapterBase>(
    path: impl AsRef<Path>,
    lm: &BitNetLm<AdaptedLinear<P>>,
    model: &BitNetLmConfig,
    name: &str,
    config: impl Into<PeftConfig>,
    base: &SaveOptions,
) -> Result<(), GgufError> {
    check(name, &config.into())?;
    let architecture = Architecture::for_config(model);
    check_places(lm, name)?;
    if base.has_scales_beside(architecture) {
        check_scales(lm, name)?;
    }
    let loras = loras(lm, model, name)?;
    let metadata = metadata(architecture, alpha(&loras)?, base)?;
    let mut writer = GgufWriter::new(metadata)?;
    for (weight, lora) in &loras {
        for factor in Factor::BOTH {
            add(&mut writer, architecture, weight, lora, factor)?;
        }
    }
    writer.write(path)
}

/// Refuses adapters of other modules than projections.
fn check_places<P: AdapterBase>(
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
) -> Result<(), GgufError> {
    if lm.prompt(name).is_some() {
        return Err(prompt(name));
    }
    let adapted = End::ALL
        .into_iter()
        .find(|end| end.products(lm).get(name).is_some());
    match adapted {
        Some(end) => Err(GgufError::unsupported(
            "a module of the adapter",
            end.name(),
            "a projection of a layer",
        )),
        None => Ok(()),
    }
}

fn prompt(name: &str) -> GgufError {
    GgufError::unsupported(
        format!("the adapter {name:?}"),
        "a prompt",
        "LoRA without norms: a prompt stands before the tokens, and can be merged into no weight; keep the folder of peft",
    )
}

/// Refuses what a file has no place for.
fn check(name: &str, config: &PeftConfig) -> Result<(), GgufError> {
    let method = match config {
        PeftConfig::Lora(lora) if lora.use_dora => Some("DoRA"),
        PeftConfig::Lora(_) => None,
        PeftConfig::AdaLora(_) => Some("AdaLoRA"),
        PeftConfig::Ia3(_) => Some("(IA)³"),
        PeftConfig::BitFit(_) => Some("BitFit"),
        PeftConfig::PrefixTuning(_) | PeftConfig::PTuning(_) | PeftConfig::PromptTuning(_) => {
            return Err(prompt(name));
        }
    };
    if let Some(method) = method {
        let adapter = format!("the adapter {name:?}");
        return Err(GgufError::unsupported(adapter, method, SUPPORTED));
    }
    let refused = |what: &str| {
        Err(GgufError::model(format!(
            "the adapter trains {what} beside it, which llama.cpp's adapters do not have: merge it into the weights \
             (BitNetLm::merge), and write the model"
        )))
    };
    match config.bias() {
        LoraBias::None if config.modules_to_save().is_empty() => Ok(()),
        LoraBias::None => refused("modules_to_save"),
        LoraBias::All | LoraBias::LoraOnly => refused("biases"),
    }
}

/// Refuses weights whose scales llama.cpp multiplies by the product of the adapter, too.
fn check_scales<P: AdapterBase>(
    lm: &BitNetLm<AdaptedLinear<P>>,
    name: &str,
) -> Result<(), GgufError> {
    let mut adapted = lm.projections().filter(|(_, p)| p.adapter(name).is_some());
    match adapted.find(|(_, p)| !p.base.is_float()) {
        Some((module, _)) => Err(GgufError::model(format!(
            "{module} is quantized, and llama.cpp multiplies the scale beside a weight of bitnet by the product of its \
             adapter: write base and adapter with SaveOptions::with_scales_in_weights"
        ))),
        None => Ok(()),
    }
}

/// The adapters of weights, as plain ones.
fn loras<P: AdapterBase>(
    lm: &BitNetLm<AdaptedLinear<P>>,
    model: &BitNetLmConfig,
    name: &str,
) -> Result<Vec<(Parameter, Lora)>, GgufError> {
    let mut loras = Vec::new();
    let table = architecture::parameters(model);
    for (module, linear) in lm.projections() {
        let Some(adapter) = linear.adapter(name) else {
            continue;
        };
        let weight = table
            .iter()
            .find(|p| p.is_projection() && p.module() == module);
        let weight = weight.ok_or_else(|| {
            GgufError::model(format!("{module} is not in the configuration of the model"))
        })?;
        loras.push((weight.clone(), plain(adapter, &module)?));
    }
    match loras.is_empty() {
        false => Ok(loras),
        true => Err(GgufError::model(format!(
            "the model has no adapter {name:?}; it has {:?}",
            lm.adapter_names()
        ))),
    }
}

/// The adapter of a module, if llama.cpp computes it.
fn plain(adapter: &Adapter, module: &str) -> Result<Lora, GgufError> {
    let refused = |found: &str| {
        Err(GgufError::unsupported(
            format!("the adapter of {module}"),
            found,
            SUPPORTED,
        ))
    };
    match adapter {
        Adapter::Lora(lora) if lora.magnitude.is_some() => refused("DoRA"),
        Adapter::Lora(lora) => Ok(lora.clone().into_plain()),
        Adapter::AdaLora(_) => refused("AdaLoRA"),
        Adapter::Ia3(_) => refused("(IA)³"),
        Adapter::BitFit(_) => refused("BitFit"),
    }
}

/// The alpha that gives the factor of each adapter.
fn alpha(loras: &[(Parameter, Lora)]) -> Result<f32, GgufError> {
    let alphas = loras
        .iter()
        .map(|(weight, lora)| (weight, lora.scaling * lora.rank() as f64));
    let mut alphas = alphas.collect::<Vec<_>>().into_iter();
    let Some((first, alpha)) = alphas.next() else {
        return Err(GgufError::model("there is no adapter"));
    };
    match alphas.find(|(_, other)| (other - alpha).abs() > ROUNDING * alpha.abs()) {
        Some((other, found)) => Err(GgufError::model(format!(
            "llama.cpp's adapters have one alpha, which is divided by the rank: that of {} is {alpha}, and that of {} is \
             {found} (rank_pattern with rsLoRA, or alpha_pattern)",
            first.module(),
            other.module(),
        ))),
        None => Ok(alpha as f32),
    }
}

fn metadata(
    architecture: Architecture,
    alpha: f32,
    base: &SaveOptions,
) -> Result<GgufMetadata, GgufError> {
    if !(alpha.is_finite() && alpha != 0.0) {
        // llama.cpp takes 0 for a factor of 1.
        return Err(GgufError::unsupported(
            ALPHA_KEY,
            alpha,
            "a number other than 0",
        ));
    }
    let mut metadata = GgufMetadata::new();
    metadata.insert("general.architecture", architecture.name())?;
    metadata.insert("general.type", ADAPTER)?;
    if let Some(name) = &base.name {
        metadata.insert("general.name", name.as_str())?;
    }
    metadata.insert("general.file_type", 0u32)?;
    metadata.insert("general.quantization_version", 2u32)?;
    metadata.insert(TYPE_KEY, LORA)?;
    metadata.insert(ALPHA_KEY, alpha)?;
    Ok(metadata)
}

/// Adds a factor, which is read when it is written.
fn add<'a>(
    writer: &mut GgufWriter<'a>,
    architecture: Architecture,
    weight: &'a Parameter,
    lora: &'a Lora,
    factor: Factor,
) -> Result<(), GgufError> {
    let name = factor.gguf(weight);
    let sizes = factor.shape(weight, lora.rank());
    let shape = GgufShape::from_row_major(&sizes).ok_or_else(|| GgufError::Shape {
        tensor: name.clone(),
        found: sizes.iter().rev().map(|size| *size as u64).collect(),
    })?;
    writer.add(name.clone(), GgmlType::F32, shape, move || {
        let values = match factor {
            Factor::A => values(lora.a.val())?,
            Factor::B => architecture.permute_rope_heads(weight, values(lora.b.val())?),
        };
        super::save_tensors::check_finite(&name, GgmlType::F32, &values)?;
        Ok(encode(&name, GgmlType::F32, shape, &values)?.into())
    })
}

/// The values of a factor in the layout of files.
fn values(factor: Tensor<2>) -> Result<Vec<f32>, TensorReadError> {
    let data = factor.transpose().try_into_data_dtype(DType::F32)?;
    Ok(data.try_to_vec::<f32>()?)
}
