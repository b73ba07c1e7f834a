//! Sizes that a configuration says and the model does not, compared with the tensors before there is room for them: the
//! ranks of adapters, the number of virtual tokens.

use super::{PROMPT_TENSOR, ada_lora, ends, lora, reader::Reader};
use crate::{
    nn::BitNetLm,
    peft::{AdaptedLinear, AdapterBase, End, PeftConfig, PeftError},
};

/// Notes the tensors of an adapter of a model that are missing or of another size than the configuration says.
pub(super) fn check<P: AdapterBase>(
    reader: &mut Reader,
    config: &PeftConfig,
    lm: &BitNetLm<AdaptedLinear<P>>,
) -> Result<(), PeftError> {
    let Some(targets) = config.targets() else {
        check_prompt(reader, config, lm);
        return Ok(());
    };
    let selection = targets.compile(config.modules_to_save())?;
    let ranks = config.ranks()?;
    for (module, linear) in lm.projections() {
        if selection.matches(&module) {
            let rank = ranks(&module);
            check_factors(reader, config, &module, (linear.base.size(), rank));
        }
    }
    for end in End::ALL {
        if let PeftConfig::Lora(_) = config
            && selection.matches_end(end.name())
            && let Some(rank) = ranks(end.name())
        {
            for (name, shape) in ends::factors(end, lm, rank) {
                reader.check(&name, &shape);
            }
        }
    }
    Ok(())
}

/// Notes the tensors of the adapter of one module, as [`check`].
pub(super) fn check_module(
    reader: &mut Reader,
    config: &PeftConfig,
    module: &str,
    size: [usize; 2],
) -> Result<(), PeftError> {
    let rank = config.ranks()?(module);
    check_factors(reader, config, module, (size, rank));
    Ok(())
}

/// Notes the factors that do not have the rank.
fn check_factors(
    reader: &mut Reader,
    config: &PeftConfig,
    module: &str,
    (size, rank): ([usize; 2], Option<usize>),
) {
    let factors = match (config, rank) {
        (PeftConfig::Lora(_), Some(rank)) => lora::factors(module, size, rank).to_vec(),
        (PeftConfig::AdaLora(_), Some(rank)) => {
            let kept = ada_lora::kept(config, module);
            let kept = kept.map(|kept| kept.iter().filter(|&&kept| kept).count());
            ada_lora::factors(module, size, kept.unwrap_or(rank)).to_vec()
        }
        _ => Vec::new(),
    };
    for (name, shape) in factors {
        reader.check(&name, &shape);
    }
}

/// Notes a prompt that is missing or has another number of virtual tokens. Of one that is there, the size of a token is
/// compared with the model later, by the fields of the configuration.
fn check_prompt<P: AdapterBase>(
    reader: &mut Reader,
    config: &PeftConfig,
    lm: &BitNetLm<AdaptedLinear<P>>,
) {
    let found = reader.tensors.get(PROMPT_TENSOR);
    let n_virtual = config.num_virtual_tokens();
    let d_values = match (found.map(|data| &data.shape()[..]), config) {
        (Some(&[_, d_values]), _) => d_values,
        (_, PeftConfig::PrefixTuning(_)) => {
            let layers = lm.model.layers.iter();
            let of_keys = layers.map(|layer| layer.self_attn.key_shape().iter().product::<usize>());
            2 * of_keys.sum::<usize>()
        }
        _ => lm.model.embed_tokens.weight.shape()[1],
    };
    reader.check(PROMPT_TENSOR, &[n_virtual, d_values]);
}
