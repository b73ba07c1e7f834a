//! Weights of other types than those that are written, and weights that are no numbers.

use bitnet_burn::interop::{
    CausalLm,
    gguf::{GgmlType, GgufShape, LoadOptions, SaveOptions, save},
};

use super::models::*;
use crate::support::values::*;

#[test]
fn quantized_weights_load_as_floats() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    save(
        &path,
        &full(config(false)),
        &SaveOptions::new(GgmlType::F32),
    )
    .unwrap();
    let quantized = |name: &str, shape: GgufShape, values: Vec<f32>| {
        if shape.rows() == 1 {
            return as_it_is(name, shape, values);
        }
        // Blocks of Q4_0 with d = 1/64 and varying codes.
        let blocks = values.len() / 32;
        let block = (0..18u8).map(|i| match i {
            0 => 0x00,
            1 => 0x24,
            i => i.wrapping_mul(37),
        });
        let bytes: Vec<u8> = block.cycle().take(blocks * 18).collect();
        (GgmlType::Q4_0, bytes)
    };
    let model = rewritten(&path, |_| {}, quantized, &LoadOptions::new()).unwrap();
    let CausalLm::Full(lm) = &model.lm else {
        panic!("{}", model.lm.form())
    };
    let row: Vec<f32> = floats(lm.model.embed_tokens.weight.val());
    assert_eq!(
        row[0],
        f32::from((2u8.wrapping_mul(37) & 0xf) as i8 - 8) / 64.0
    );
    assert_eq!(
        row[16],
        f32::from((2u8.wrapping_mul(37) >> 4) as i8 - 8) / 64.0
    );
    assert!(logits(&model).iter().all(|logit| logit.is_finite()));

    let unread = |name: &str, shape: GgufShape, values: Vec<f32>| match shape.rows() {
        1 => as_it_is(name, shape, values),
        _ => (GgmlType::Q8_1, vec![0; values.len() / 32 * 40]),
    };
    let error = rewritten(&path, |_| {}, unread, &LoadOptions::new())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("15 tensors are not as the metadata say"),
        "{error}"
    );
    assert!(
        error.contains("and 12 more: the type Q8_1 is not read here"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2);
}

#[test]
fn weights_that_are_not_finite_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    let mut model = full(config(false));
    let CausalLm::Full(lm) = &mut model.lm else {
        unreachable!()
    };
    let up = &mut lm.model.layers[1].mlp.up_proj.weight;
    *up = up.clone().map(|weight| weight.mul_scalar(f32::NAN));
    for ggml_type in [GgmlType::F32, GgmlType::BF16, GgmlType::Q8_0] {
        let error = save(&path, &model, &SaveOptions::new(ggml_type))
            .unwrap_err()
            .to_string();
        assert!(
            error.starts_with("tensor `blk.1.ffn_up.weight`, number 0"),
            "{error}"
        );
        assert!(error.contains("NaN"), "{error}");
        assert!(!path.exists());
    }
}
