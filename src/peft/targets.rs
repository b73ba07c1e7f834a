use core::fmt;

use regex::Regex;
use serde::{Deserialize, Deserializer, Serialize};

use super::{PeftError, pattern::full_match};

/// Names of the modules that get an adapter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Names", into = "Names")]
pub enum TargetModules {
    /// All projections of the decoder layers: `"all-linear"`. The token embedding `embed_tokens` and the output head
    /// `lm_head` get an adapter by name alone.
    AllLinear,
    /// Modules whose name ends with one of these: `q_proj` for `model.layers.0.self_attn.q_proj`.
    Names(Vec<String>),
    /// Modules whose whole name a regular expression matches.
    Pattern(String),
}

/// Form of the names in files: a list or a text.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Names {
    Text(String),
    List(Vec<String>),
}

impl From<Names> for TargetModules {
    fn from(names: Names) -> Self {
        match names {
            Names::Text(text) if text.eq_ignore_ascii_case("all-linear") => Self::AllLinear,
            Names::Text(pattern) => Self::Pattern(pattern),
            Names::List(names) => Self::Names(names),
        }
    }
}

impl From<TargetModules> for Names {
    fn from(targets: TargetModules) -> Self {
        match targets {
            TargetModules::AllLinear => Self::Text("all-linear".to_string()),
            TargetModules::Pattern(pattern) => Self::Text(pattern),
            TargetModules::Names(names) => Self::List(names),
        }
    }
}

impl TargetModules {
    /// Creates the choice by names.
    pub fn names<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Self {
        Self::Names(names.into_iter().map(Into::into).collect())
    }

    fn compile(&self, field: &'static str) -> Result<Matcher, PeftError> {
        Ok(match self {
            Self::AllLinear => Matcher::All,
            Self::Names(names) => Matcher::Names(names.clone()),
            Self::Pattern(pattern) => Matcher::Pattern(full_match(field, pattern)?),
        })
    }
}

impl fmt::Display for TargetModules {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AllLinear => f.write_str("all-linear"),
            Self::Names(names) => write!(f, "{names:?}"),
            Self::Pattern(pattern) => write!(f, "{pattern:?}"),
        }
    }
}

/// Choice of the modules that get an adapter, by the rules of peft: excluded modules first, then modules that
/// are saved as a whole, then the targets, then their layers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Targets {
    /// Modules that get an adapter.
    pub target_modules: TargetModules,
    /// Modules that get none even if they are targets.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exclude_modules: Option<TargetModules>,
    /// Layers whose targets get an adapter; `None` for all. For targets by names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layers_to_transform: Option<Vec<usize>>,
    /// Names of the list of layers in a model, `layers` in `model.layers.0`; empty for the first list of a name.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub layers_pattern: Vec<String>,
}

impl Default for Targets {
    /// Creates the choice of peft for models of the Llama family: queries and values.
    fn default() -> Self {
        TargetModules::names(["q_proj", "v_proj"]).into()
    }
}

impl From<TargetModules> for Targets {
    fn from(target_modules: TargetModules) -> Self {
        Self {
            target_modules,
            exclude_modules: None,
            layers_to_transform: None,
            layers_pattern: Vec::new(),
        }
    }
}

/// Fields of [`Targets`] in files, of which each may be missing.
#[derive(Deserialize)]
struct Fields {
    target_modules: Option<TargetModules>,
    exclude_modules: Option<TargetModules>,
    layers_to_transform: Option<Vec<usize>>,
    #[serde(default)]
    layers_pattern: Vec<String>,
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::deserialize_or(deserializer, Self::default().target_modules)
    }
}

impl Targets {
    /// Deserializes the choice, with `default` where no target modules are named.
    pub(super) fn deserialize_or<'de, D: Deserializer<'de>>(
        deserializer: D,
        default: TargetModules,
    ) -> Result<Self, D::Error> {
        let fields = Fields::deserialize(deserializer)?;
        Ok(Self {
            target_modules: fields.target_modules.unwrap_or(default),
            exclude_modules: fields.exclude_modules,
            layers_to_transform: fields.layers_to_transform,
            layers_pattern: fields.layers_pattern,
        })
    }
}

/// Compiled [`TargetModules`].
enum Matcher {
    All,
    Names(Vec<String>),
    Pattern(Regex),
}

impl Matcher {
    fn matches(&self, name: &str) -> bool {
        match self {
            Self::All => true,
            Self::Names(names) => names.iter().any(|target| is_last_part(target, name)),
            Self::Pattern(pattern) => pattern.is_match(name),
        }
    }
}

/// Returns whether a name is `target` or ends with `.target`.
fn is_last_part(target: &str, name: &str) -> bool {
    let rest = name.strip_suffix(target);
    rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
}

/// Compiled [`Targets`].
pub(crate) struct Selection {
    targets: Matcher,
    excluded: Option<Matcher>,
    saved: Vec<String>,
    layers: Option<(Vec<usize>, Vec<Regex>)>,
}

impl Targets {
    /// Compiles the choice, for a configuration that saves the modules `saved` as a whole.
    pub(crate) fn compile(&self, saved: &[String]) -> Result<Selection, PeftError> {
        let layers = match (&self.layers_to_transform, &self.target_modules) {
            (Some(layers), TargetModules::Names(_)) => Some((layers.clone(), self.lists()?)),
            (Some(_), targets) => {
                return Err(PeftError::LayersOfPattern {
                    targets: targets.to_string(),
                });
            }
            (None, _) => None,
        };
        let excluded = self.exclude_modules.as_ref();
        Ok(Selection {
            targets: self.target_modules.compile("target_modules")?,
            excluded: excluded.map(|e| e.compile("exclude_modules")).transpose()?,
            saved: saved.to_vec(),
            layers,
        })
    }

    /// Returns patterns of the number of a layer in a name.
    fn lists(&self) -> Result<Vec<Regex>, PeftError> {
        let field = "layers_pattern";
        let pattern = |list: &str| full_match(field, &format!(r"{list}\.(\d+)\..*"));
        match self.layers_pattern.is_empty() {
            true => Ok(vec![pattern(r".*?\.[^.]*")?]),
            false => {
                let lists = self.layers_pattern.iter();
                lists
                    .map(|list| pattern(&format!(r"(?:.*?\.)?{list}")))
                    .collect()
            }
        }
    }
}

impl Selection {
    /// Returns whether the module with a name gets an adapter.
    pub(crate) fn matches(&self, name: &str) -> bool {
        let is_saved = |saved: &String| format!(".{name}.").contains(&format!(".{saved}."));
        let is_excluded = self.excluded.as_ref().is_some_and(|e| e.matches(name));
        if is_excluded || self.saved.iter().any(is_saved) || !self.targets.matches(name) {
            return false;
        }
        let Some((layers, lists)) = &self.layers else {
            return true;
        };
        let layer = lists.iter().find_map(|list| list.captures(name));
        // The name of a list may have groups of its own, and alternatives without a number.
        let layer = layer.and_then(|captures| captures.get(1)?.as_str().parse().ok());
        layer.is_some_and(|layer: usize| layers.contains(&layer))
    }

    /// Returns whether the embedding table or the output head of a name gets an adapter: not by `"all-linear"`.
    pub(crate) fn matches_end(&self, name: &str) -> bool {
        !matches!(self.targets, Matcher::All) && self.matches(name)
    }

    /// Returns the target names that match none of the modules.
    pub(super) fn unmatched<'a>(
        &self,
        modules: impl Iterator<Item = &'a str> + Clone,
    ) -> Vec<String> {
        let Matcher::Names(names) = &self.targets else {
            return Vec::new();
        };
        let matches = |target: &&String| modules.clone().any(|name| is_last_part(target, name));
        names
            .iter()
            .filter(|target| !matches(target))
            .cloned()
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const Q: &str = "model.layers.0.self_attn.q_proj";
    const DOWN: &str = "model.layers.11.mlp.down_proj";

    fn matched(targets: Targets, saved: &[&str]) -> [bool; 2] {
        let saved: Vec<String> = saved.iter().map(|s| s.to_string()).collect();
        let selection = targets.compile(&saved).unwrap();
        [Q, DOWN].map(|name| selection.matches(name))
    }

    #[test]
    fn names_match_the_last_parts_of_a_name() {
        let by = |names: &[&str]| matched(TargetModules::names(names.iter().copied()).into(), &[]);
        assert_eq!(by(&["q_proj"]), [true, false]);
        assert_eq!(by(&["self_attn.q_proj", "down_proj"]), [true, true]);
        // Parts of a word do not match.
        assert_eq!(by(&["proj"]), [false, false]);
    }

    #[test]
    fn patterns_match_whole_names() {
        let by = |pattern: &str| matched(TargetModules::Pattern(pattern.to_string()).into(), &[]);
        assert_eq!(by(r".*\.(q|down)_proj"), [true, true]);
        assert_eq!(by("q_proj"), [false, false]);
        let targets = Targets::from(TargetModules::Pattern("(?!q).*".to_string()));
        let error = targets.compile(&[]).err().unwrap().to_string();
        assert!(
            error.starts_with("target_modules is not a regular expression"),
            "{error}"
        );
    }

    #[test]
    fn exclusions_and_saved_modules_come_before_targets() {
        let mut targets = Targets::from(TargetModules::AllLinear);
        assert_eq!(matched(targets.clone(), &[]), [true, true]);
        assert_eq!(matched(targets.clone(), &["mlp"]), [true, false]);
        targets.exclude_modules = Some(TargetModules::names(["q_proj"]));
        assert_eq!(matched(targets, &[]), [false, true]);
    }

    #[test]
    fn layers_are_chosen_for_targets_by_names() {
        let mut targets = Targets::from(TargetModules::names(["q_proj", "down_proj"]));
        targets.layers_to_transform = Some(vec![11]);
        assert_eq!(matched(targets.clone(), &[]), [false, true]);
        targets.layers_pattern = vec!["layers".to_string()];
        assert_eq!(matched(targets.clone(), &[]), [false, true]);
        targets.layers_pattern = vec!["(layers)".to_string(), ".*|h".to_string()];
        assert_eq!(matched(targets.clone(), &[]), [false, false]);
        targets.layers_pattern = vec!["h".to_string()];
        assert_eq!(matched(targets.clone(), &[]), [false, false]);
        targets.target_modules = TargetModules::AllLinear;
        let error = targets.compile(&[]).err().unwrap().to_string();
        assert!(error.contains("which are all-linear here"), "{error}");
    }

    #[test]
    fn the_form_in_files_is_a_list_or_a_text() {
        for (text, expected) in [
            (r#""All-Linear""#, TargetModules::AllLinear),
            (r#"["q_proj"]"#, TargetModules::names(["q_proj"])),
            (
                r#"".*q_proj""#,
                TargetModules::Pattern(".*q_proj".to_string()),
            ),
        ] {
            let read: TargetModules = serde_json::from_str(text).unwrap();
            assert_eq!(read, expected);
            let written = serde_json::to_string(&read).unwrap();
            assert_eq!(
                serde_json::from_str::<TargetModules>(&written).unwrap(),
                expected
            );
        }
    }
}
