//! Files of the tokenizer beside a model.

use std::fs;

use bitnet_burn::interop::{
    CausalLm,
    hf::{SaveOptions, save},
};
use serde_json::json;

use super::models::*;

#[test]
fn tokens_and_templates_beside_the_model_are_carried_along() {
    let config = base();
    let beside = tempfile::tempdir().unwrap();
    let files = [
        "special_tokens_map.json",
        "chat_template.jinja",
        "tokenizer_config.json",
    ];
    for name in files {
        fs::write(beside.path().join(name), name).unwrap();
    }
    let generation = json!({"eos_token_id": [5, 7, 4], "pad_token_id": 9});
    fs::write(
        beside.path().join("generation_config.json"),
        generation.to_string(),
    )
    .unwrap();
    let templates = beside.path().join("additional_chat_templates");
    fs::create_dir(&templates).unwrap();
    fs::write(templates.join("rag.jinja"), "rag").unwrap();

    let mut model = model(&config, CausalLm::Full(full(&config)));
    model.pad_token_id = None;
    let options = SaveOptions::new(F32).with_tokenizer(Some(beside.path().to_path_buf()));
    let (folder, loaded) = again(&model, options.clone());
    for name in files {
        assert_eq!(fs::read_to_string(folder.path().join(name)).unwrap(), name);
    }
    let template = folder.path().join("additional_chat_templates/rag.jinja");
    assert_eq!(fs::read_to_string(template).unwrap(), "rag");
    assert_eq!(json_of(folder.path(), "generation_config.json"), generation);
    assert_eq!(loaded.eos_token_ids, [4, 5, 7]);
    assert_eq!(loaded.pad_token_id, Some(9));
    // Again into the same folder.
    save(folder.path(), &loaded, &options.with_overwrite(true)).unwrap();
    assert_eq!(
        json_of(folder.path(), "config.json")["eos_token_id"],
        json!([4, 5, 7])
    );
}
