//! Models of every family, saved to folders and loaded, in every form.

use bitnet_burn::{
    interop::{
        CausalLm,
        hf::{Family, LoadOptions, SaveOptions, load},
    },
    nn::{BitNetLmConfig, ProjectionBias, QkNorm, RopeScaling},
};
use burn::{module::Param, tensor::Device};
use serde_json::json;

use super::models::*;

fn scalings() -> Vec<Option<RopeScaling>> {
    let yarn = |attention_factor, truncate| RopeScaling::Yarn {
        factor: 2.5,
        original_max_positions: 8,
        beta_fast: 4.0,
        beta_slow: 0.5,
        truncate,
        attention_factor,
        mscale: Some(0.7),
        mscale_all_dim: attention_factor,
    };
    vec![
        None,
        Some(RopeScaling::Linear { factor: 3.7 }),
        Some(RopeScaling::Llama3 {
            factor: 4.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_max_positions: 8,
        }),
        Some(yarn(None, true)),
        Some(yarn(Some(1.3), false)),
        Some(RopeScaling::Longrope {
            short_factor: vec![1.0, 1.1, 1.3, 2.0],
            long_factor: vec![2.0, 3.0, 4.0, 5.0],
            original_max_positions: 16,
            attention_factor: 1.19,
        }),
    ]
}

/// A model of each family with all its options, and each position scaling once.
fn configs() -> Vec<(Family, BitNetLmConfig)> {
    let whole = ProjectionBias::new(true, true, true);
    let families = [
        (Family::BitNet, base().with_sub_norm(true)),
        (
            Family::BitNet,
            base()
                .with_sub_norm(true)
                .with_tied_embeddings(true)
                .with_bias(ProjectionBias::ATTENTION),
        ),
        (Family::Llama, base().with_tied_embeddings(true)),
        (Family::Llama, base().with_bias(whole).with_d_head(Some(12))),
        (Family::Mistral, base().with_d_head(Some(16))),
        (Family::Qwen2, base().with_bias(ProjectionBias::QKV)),
        (Family::Qwen3, base().with_qk_norm(QkNorm::PerHead)),
        (
            Family::Qwen3,
            base()
                .with_qk_norm(QkNorm::PerHead)
                .with_bias(ProjectionBias::ATTENTION)
                .with_d_head(Some(12)),
        ),
    ];
    let scaled = scalings()
        .into_iter()
        .map(|scaling| (Family::Llama, base().with_rope_scaling(scaling)));
    families.into_iter().chain(scaled).collect()
}

#[test]
fn every_family_comes_back_in_every_form() {
    for (family, config) in configs() {
        let named = |form| SaveOptions::new(form).with_family(Some(family));
        let what = |form| format!("{family:?} {form:?} {config}");
        let float = model(&config, CausalLm::Full(full(&config)));
        let (folder, loaded) = again(&float, named(F32));
        assert_same(&loaded, &float, &what(F32));
        let json = json_of(folder.path(), "config.json");
        assert_eq!(json["architectures"], json!([family.architecture()]));
        assert_eq!(json["head_dim"], config.head_size());

        let latent = model(&config, CausalLm::Qat(qat(&config)));
        assert_same(&again(&latent, named(F32)).1, &latent, &what(F32));
        let packed = model(&config, CausalLm::Packed(qat(&config).pack()));
        for form in [MULTIPLY, DIVIDE] {
            assert_same(&again(&latent, named(form)).1, &packed, &what(form));
            assert_same(&again(&packed, named(form)).1, &packed, &what(form));
        }
    }
}

#[test]
fn a_head_in_the_file_wins_over_the_configuration() {
    let config = base();
    let own = model(&config, CausalLm::Full(full(&config)));
    let (folder, _) = again(&own, SaveOptions::new(F32));
    edit(folder.path(), "config.json", |json| {
        json["tie_word_embeddings"] = json!(true)
    });
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default()).unwrap();
    assert_same(&loaded, &own, "another head");

    // A head equal to the embedding table.
    let mut lm = full(&config);
    let table = lm.model.embed_tokens.weight.val();
    lm.lm_head.as_mut().unwrap().weight = Param::from_tensor(table.transpose());
    let (folder, _) = again(&model(&config, CausalLm::Full(lm)), SaveOptions::new(F32));
    edit(folder.path(), "config.json", |json| {
        json["tie_word_embeddings"] = json!(true)
    });
    let loaded = load(folder.path(), &LoadOptions::new(), &Device::default()).unwrap();
    assert!(loaded.config.tied_embeddings);
    let tied = base().with_tied_embeddings(true);
    let expected = model(&tied, CausalLm::Full(full(&tied)));
    assert_same(&loaded, &expected, "the same head");
}
