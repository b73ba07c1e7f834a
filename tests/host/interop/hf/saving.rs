//! Models that a folder cannot hold, and weights that would be lost in it.

use bitnet_burn::{
    interop::{
        CausalLm, PretrainedLm, gguf,
        hf::{Family, LoadOptions, SaveOptions, ScaleConvention, load, save},
    },
    nn::{BitLinear, BitNetLm},
    qat::convert,
    quant::{QatScheme, WeightGranularity, WeightQuantizer},
};
use burn::{nn::Linear, tensor::Device};

use super::models::*;
use crate::support::values::*;

#[test]
fn parameters_that_the_configuration_does_not_have_are_not_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut model = trained(config(true, true));
    model.config.sub_norm = false;
    let error = save(folder.path().join("hf"), &model, &SaveOptions::new(F32)).unwrap_err();
    let message = "the model has model.layers.0.self_attn.attn_sub_norm.gamma, which its \
                   configuration does not have";
    assert!(error.to_string().contains(message), "{error}");
    let options = gguf::SaveOptions::new(gguf::GgmlType::I2_S);
    let error = gguf::save(folder.path().join("model.gguf"), &model, &options).unwrap_err();
    assert!(error.to_string().contains(message), "{error}");
}

#[test]
fn weights_that_only_packed_codes_have_are_not_written_as_zeros() {
    let device = Device::default();
    let model = trained(config(true, true));
    let CausalLm::Qat(lm) = &model.lm else {
        unreachable!("latent weights");
    };
    let deployed = convert(lm)
        .unwrap()
        .load_into(model.config.init(&device))
        .unwrap();
    let deployed = PretrainedLm::new(model.config.clone(), CausalLm::Qat(deployed));
    let folder = tempfile::tempdir().unwrap();
    let error = save(
        folder.path().join("float"),
        &deployed,
        &SaveOptions::new(F32),
    )
    .unwrap_err();
    assert!(
        error
            .to_string()
            .contains("the model has no model.layers.0"),
        "{error}"
    );
    // As codes they are there.
    let (_, loaded) = again(&deployed, SaveOptions::new(MULTIPLY));
    let deployed = logits(&packed(&model));
    assert_equal(&logits(&loaded), &deployed, "logits");
}

#[test]
fn packed_weights_without_a_word_on_their_scale_are_refused() {
    let device = Device::default();
    let model = trained(config(false, true));
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), &model, &SaveOptions::new(DIVIDE)).unwrap();
    edit(folder.path(), "config.json", |json| {
        let quantization = json["quantization_config"].as_object_mut().unwrap();
        quantization.remove("linear_class");
    });
    let error = load(folder.path(), &LoadOptions::new(), &device).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("say it with LoadOptions::with_scale_convention")
    );
    let options = LoadOptions::new().with_scale_convention(Some(ScaleConvention::Divide));
    let loaded = load(folder.path(), &options, &device).unwrap();
    assert_equal(&logits(&loaded), &logits(&packed(&model)), "logits");
}

#[test]
fn saving_rejects_models_that_other_programs_cannot_compute() {
    let device = Device::default();
    let folder = tempfile::tempdir().unwrap();
    let refused = |model: &PretrainedLm, options: SaveOptions| {
        let error = save(folder.path().join("new"), model, &options).unwrap_err();
        assert!(!folder.path().join("new").exists());
        error.to_string()
    };
    let per_channel = WeightQuantizer::ternary(WeightGranularity::PerChannel);
    let per_channel = QatScheme::b1_58().with_weight(per_channel);
    let model = trained(config(true, true).with_scheme(per_channel));
    assert!(refused(&model, SaveOptions::new(F32)).contains("is not quantized as BitNet b1.58"));

    let config = config(true, true);
    let full: BitNetLm<Linear> = config.init(&device);
    let full = PretrainedLm::new(config.clone(), CausalLm::Full(full));
    assert!(refused(&full, SaveOptions::new(MULTIPLY)).contains("cannot be packed"));
    let llama = SaveOptions::new(F32).with_family(Some(Family::Llama));
    assert!(refused(&full, llama).contains("LlamaForCausalLM is the other kind"));

    let packed = config.init::<BitLinear>(&device).pack();
    let packed = PretrainedLm::new(config, CausalLm::Packed(packed));
    assert!(refused(&packed, SaveOptions::new(F32)).contains("no latent weights any more"));
}
