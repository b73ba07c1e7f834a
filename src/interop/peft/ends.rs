//! Adapters of the token embedding and of the output head in files.

use std::collections::BTreeMap;

use burn::{module::Param, tensor::Tensor};

use super::{
    PREFIX, PeftFileError,
    reader::Reader,
    tensors::{Written, written},
};
use crate::{
    nn::{BitNetLm, LowRankProduct, Projection},
    peft::End,
};

/// Returns the names of the factors `A` and `B` of an end.
fn names(end: End) -> [String; 2] {
    let module = end.name();
    ["A", "B"].map(|factor| match end {
        End::Embedding => format!("{module}.lora_embedding_{factor}"),
        End::Head => format!("{module}.lora_{factor}.weight"),
    })
}

/// Adds the tensors of an adapter to those of a file.
pub(super) fn add<P: Projection>(
    tensors: &mut BTreeMap<String, Written>,
    lm: &BitNetLm<P>,
    name: &str,
) -> Result<(), PeftFileError> {
    for end in End::ALL {
        let Some(product) = end.products(lm).get(name) else {
            continue;
        };
        for (name, factor) in names(end).into_iter().zip([&product.a, &product.b]) {
            let value = factor.val().transpose();
            tensors.insert(format!("{PREFIX}{name}"), written(value)?);
        }
    }
    Ok(())
}

/// Returns the names and shapes of the factors of an end of a rank.
pub(super) fn factors<P: Projection>(
    end: End,
    lm: &BitNetLm<P>,
    rank: usize,
) -> [(String, [usize; 2]); 2] {
    let [vocab, d_model] = lm.model.embed_tokens.weight.shape().dims();
    let [d_input, d_output] = match end {
        End::Embedding => [vocab, d_model],
        End::Head => [d_model, vocab],
    };
    let [a, b] = names(end);
    [(a, [rank, d_input]), (b, [d_output, rank])]
}

/// Fills an adapter with the tensors of a file.
pub(super) fn fill(reader: &mut Reader, end: End, product: &mut LowRankProduct) {
    for (name, factor) in names(end).into_iter().zip([&mut product.a, &mut product.b]) {
        replace(reader, name, factor, true);
    }
}

/// Replaces the embedding table and the head by those of a file, which peft writes beside adapters of them.
pub(super) fn fill_bases<P: Projection>(reader: &mut Reader, mut lm: BitNetLm<P>) -> BitNetLm<P> {
    for end in End::ALL {
        let name = format!("{}.base_layer.weight", end.name());
        if !reader.has(&name) {
            continue;
        }
        match (end, &mut lm.lm_head) {
            (End::Head, Some(head)) => replace(reader, name, &mut head.weight, true),
            _ => replace(reader, name, &mut lm.model.embed_tokens.weight, false),
        }
    }
    lm
}

/// Replaces a parameter by a tensor of a file, which may hold its transpose.
fn replace(reader: &mut Reader, name: String, param: &mut Param<Tensor<2>>, transposed: bool) {
    let mut shape: [usize; 2] = param.shape().dims();
    if transposed {
        shape.swap(0, 1);
    }
    let Some(value) = reader.take(name, shape, &param.device()) else {
        return;
    };
    let value = if transposed { value.transpose() } else { value };
    *param = param.clone().map(|old| {
        value
            .cast(old.dtype())
            .set_require_grad(old.is_require_grad())
    });
}
