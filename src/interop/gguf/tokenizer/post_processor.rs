use serde_json::{Value, json};

use super::{
    TokenizerError,
    json::{array, parts, shown, string, type_of},
};

/// Tokens that a tokenizer puts around a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Around<'a> {
    pub first: Option<&'a str>,
    pub last: Option<&'a str>,
}

impl<'a> Around<'a> {
    /// From a post-processor. llama.cpp adds at most one token on each side.
    pub fn parse(post_processor: Option<&'a Value>) -> Result<Self, TokenizerError> {
        let mut around = Self::default();
        for part in parts(post_processor, "processors")? {
            match type_of(part) {
                // Of offsets in the text alone.
                "ByteLevel" => {}
                "TemplateProcessing" => around = Self::of_template(part)?,
                _ => return Err(unsupported(part)),
            }
        }
        Ok(around)
    }

    fn of_template(template: &'a Value) -> Result<Self, TokenizerError> {
        let (mut around, mut text) = (Self::default(), false);
        for piece in array(template.get("single"), "post_processor.single")? {
            if piece.get("Sequence").is_some() {
                text = true;
                continue;
            }
            let token = piece.get("SpecialToken").and_then(|token| token.get("id"));
            let token = string(token, "post_processor.single.SpecialToken.id")?;
            let side = if text {
                &mut around.last
            } else {
                &mut around.first
            };
            if side.replace(token).is_some() {
                return Err(unsupported(template));
            }
        }
        Ok(around)
    }
}

fn unsupported(found: &Value) -> TokenizerError {
    let expected = "a template with at most one token before and one behind the text";
    TokenizerError::unsupported("post-processor", shown(Some(found)), expected)
}

/// A post-processor that puts tokens, given with their ids, around a text.
pub fn template(first: Option<(&str, u32)>, last: Option<(&str, u32)>) -> Value {
    let token = |token: Option<(&str, u32)>, type_id: u32| {
        token.map(|(text, _)| json!({"SpecialToken": {"id": text, "type_id": type_id}}))
    };
    let text = |name: &str, type_id: u32| json!({"Sequence": {"id": name, "type_id": type_id}});
    let around = |name: &str, type_id: u32| -> Vec<Value> {
        let pieces = [
            token(first, type_id),
            Some(text(name, type_id)),
            token(last, type_id),
        ];
        pieces.into_iter().flatten().collect()
    };
    let mut special = serde_json::Map::new();
    for (text, id) in first.into_iter().chain(last) {
        special.insert(
            text.to_string(),
            json!({"id": text, "ids": [id], "tokens": [text]}),
        );
    }
    let pair = [around("A", 0), around("B", 1)].concat();
    json!({
        "type": "TemplateProcessing", "single": around("A", 0), "pair": pair,
        "special_tokens": special,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_come_back() {
        let tokens = [None, Some(("<s>", 1))];
        for (first, last) in tokens.into_iter().flat_map(|a| tokens.map(|b| (a, b))) {
            let template = template(first, last);
            let around = Around::parse(Some(&template)).unwrap();
            assert_eq!(around.first, first.map(|token| token.0));
            assert_eq!(around.last, last.map(|token| token.0));
        }
    }

    #[test]
    fn two_tokens_on_one_side_are_refused() {
        let mut template = template(Some(("a", 0)), None);
        let token = template["single"][0].clone();
        template["single"].as_array_mut().unwrap().insert(0, token);
        let sequence = json!({"type": "Sequence", "processors": [{"type": "ByteLevel"}, template]});
        assert!(Around::parse(Some(&sequence)).is_err());
        assert!(Around::parse(Some(&json!({"type": "BertProcessing"}))).is_err());
        assert_eq!(Around::parse(None).unwrap(), Around::default());
    }
}
