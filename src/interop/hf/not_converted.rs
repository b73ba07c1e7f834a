//! `modules_to_not_convert`: the linear layers that stay in full precision.

use regex::Regex;

/// Patterns for the names of modules, as `should_convert_module` of transformers matches them.
///
/// A pattern matches a name that it is the end of, and one that it matches as a regular expression from
/// the start up to the end of a part: `model.layers.1` matches `model.layers.1.mlp.up_proj`, and not
/// `model.layers.11.mlp.up_proj`.
#[derive(Debug, Clone)]
pub(super) struct NotConverted {
    patterns: Vec<(String, Regex)>,
}

impl NotConverted {
    /// # Errors
    ///
    /// The pattern that is no regular expression here.
    pub fn new(patterns: &[String]) -> Result<Self, String> {
        let compiled = patterns.iter().map(|pattern| {
            // Parts of a name are matched as a whole, where an end of the name has another meaning.
            let has_end = pattern.contains('$') || pattern.contains("\\Z");
            let regex = Regex::new(&format!(r"\A(?:{pattern})\z"));
            match regex.ok().filter(|_| !has_end) {
                Some(regex) => Ok((pattern.clone(), regex)),
                None => Err(pattern.clone()),
            }
        });
        Ok(Self {
            patterns: compiled.collect::<Result<_, _>>()?,
        })
    }

    /// Whether a module stays in full precision.
    pub fn matches(&self, name: &str) -> bool {
        self.patterns.iter().any(|(pattern, regex)| {
            name.ends_with(pattern.as_str())
                || boundaries(name).any(|end| regex.is_match(&name[..end]))
        })
    }
}

/// The places of a name after a part, before or after its dot.
fn boundaries(name: &str) -> impl Iterator<Item = usize> {
    let dots = name.match_indices('.').flat_map(|(dot, _)| [dot, dot + 1]);
    [0].into_iter()
        .filter(|_| name.starts_with('.') || name.is_empty())
        .chain(dots)
        .chain([name.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_transformers() {
        // Computed by `should_convert_module` of transformers 5.23.
        for (pattern, name, matches) in CASES {
            let patterns = NotConverted::new(&[pattern.to_string()]).unwrap();
            assert_eq!(patterns.matches(name), matches, "{pattern} in {name}");
        }
    }

    #[test]
    fn what_is_no_pattern_here_is_named() {
        for pattern in ["(", "a(?=b)", "proj$"] {
            let error = NotConverted::new(&[pattern.to_string()]).unwrap_err();
            assert_eq!(error, pattern);
        }
    }

    #[rustfmt::skip]
    const CASES: [(&str, &str, bool); 23] = [
        (r"lm_head", "lm_head", true),
        (r"lm_head", "model.layers.1.self_attn.o_proj", false),
        (r"o_proj", "model.layers.1.self_attn.o_proj", true),
        (r"proj", "model.layers.1.self_attn.o_proj", true),
        (r"self_attn", "model.layers.1.self_attn.o_proj", false),
        (r"model.layers.1", "model.layers.1.self_attn.o_proj", true),
        (r"model.layers.1", "model.layers.11.mlp.gate_proj", false),
        (r"model.layers.1.", "model.layers.1.self_attn.o_proj", true),
        (r"model.layers.1.", "model.layers.11.mlp.gate_proj", true),
        (r"model.layers.*", "model.layers.11.mlp.gate_proj", true),
        (r"layers.1", "model.layers.1.self_attn.o_proj", false),
        (r".*mlp", "model.layers.11.mlp.gate_proj", true),
        (r"model\.layers\.\d+\.mlp\.gate", "model.layers.11.mlp.gate_proj", false),
        (r"model\.layers\.\d+\.mlp\.gate_proj", "model.layers.11.mlp.gate_proj", true),
        (r"model.layers.(0|11).mlp", "model.layers.11.mlp.gate_proj", true),
        (r"model.layers.(0|1).mlp", "model.layers.11.mlp.gate_proj", false),
        (r"mlp.gate_proj", "model.layers.11.mlp.gate_proj", true),
        (r"model", "model.layers.1.self_attn.o_proj", true),
        (r"mod", "model.layers.1.self_attn.o_proj", false),
        (r"", "model.layers.1.self_attn.o_proj", true),
        (r"model.layers.1.self_attn.o_proj", "model.layers.1.self_attn.o_proj", true),
        (r"model.layers.1.self_attn.o_proj", "model.layers.11.self_attn.o_proj", false),
        (r"model.layers.[01].self_attn", "model.layers.1.self_attn.o_proj", true),
    ];
}
