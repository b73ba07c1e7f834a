//! Parts of a `tokenizer.json` at which Hugging Face's reader or tokenizer would panic.

use serde_json::Value;

/// Refuses a post-processor whose template for one text asks for a second one, or for a special token that it
/// does not describe.
pub(super) fn check_post_processor(tokenizer: &Value) -> Result<(), String> {
    check_processor(&tokenizer["post_processor"])
}

fn check_processor(processor: &Value) -> Result<(), String> {
    let parts = processor["processors"].as_array();
    parts.into_iter().flatten().try_for_each(check_processor)?;
    let pieces = processor["single"].as_array();
    pieces.into_iter().flatten().try_for_each(|piece| {
        if piece["Sequence"]["id"] == "B" {
            return Err("the post-processor's template for one text has a second one".to_string());
        }
        match piece["SpecialToken"]["id"].as_str() {
            Some(token) if processor["special_tokens"].get(token).is_none() => Err(format!(
                "the post-processor's template has the token {token:?}, which is not among its special tokens"
            )),
            _ => Ok(()),
        }
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::text::Tokenizer;

    fn with_template(single: Value) -> Result<(), String> {
        let mut tokenizer = Tokenizer::characters("ab").unwrap().json().unwrap();
        let template = json!({
            "type": "TemplateProcessing",
            "single": single,
            "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
            "special_tokens": {"a": {"id": "a", "ids": [0], "tokens": ["a"]}},
        });
        tokenizer["post_processor"] = json!({"type": "Sequence", "processors": [template]});
        let read = Tokenizer::from_json(&tokenizer, Default::default(), None);
        let read = read.map_err(|error| error.to_string())?;
        read.encode_with_special_tokens("b")
            .map(drop)
            .map_err(|error| error.to_string())
    }

    #[test]
    fn templates_have_what_they_ask_for() {
        let text = json!({"Sequence": {"id": "A", "type_id": 0}});
        let token = |id: &str| json!({"SpecialToken": {"id": id, "type_id": 0}});
        assert_eq!(with_template(json!([token("a"), text])), Ok(()));
        let error = with_template(json!([token("b"), text])).unwrap_err();
        assert!(
            error.contains("\"b\", which is not among its special tokens"),
            "{error}"
        );
        let second = json!({"Sequence": {"id": "B", "type_id": 0}});
        let error = with_template(json!([text, second])).unwrap_err();
        assert!(error.contains("a second one"), "{error}");
    }
}
