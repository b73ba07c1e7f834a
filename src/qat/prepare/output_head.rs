//! Output head of a model.

use super::{
    PrepareError,
    outputs::{Features, Node, Output},
};
use crate::qat::parameters::{Inventory, Parameter};

/// Names of the last layer in many models, and of other layers in others.
const USUAL_NAMES: [&str; 4] = ["fc", "output", "out", "logits"];

/// Reason for no head: the model ends with layers that work inside attention, transformer, feed-forward or
/// recurrent blocks.
const BLOCKS: &str = "the last layers work inside attention, feed-forward or recurrent blocks";

/// The output head that was found.
#[derive(Debug)]
pub(super) struct Head {
    /// Paths of its weights.
    pub paths: Vec<String>,
    /// Rule that found it, or the reason why there is none.
    pub rule: String,
}

impl Head {
    pub fn none(rule: &str) -> Self {
        Self {
            paths: Vec::new(),
            rule: rule.to_string(),
        }
    }

    /// Returns the parameters of the modules or parameters that the caller named.
    pub fn chosen(inventory: &Inventory, names: &[String]) -> Result<Self, PrepareError> {
        if names.is_empty() {
            return Ok(Self::none("the caller says so"));
        }
        let mut paths = Vec::new();
        for name in names {
            let below = format!("{name}.");
            let own = |path: &str| path == name || path.starts_with(&below);
            let own: Vec<String> = paths_of(inventory).filter(|path| own(path)).collect();
            if own.is_empty() {
                return Err(PrepareError::UnknownHead {
                    head: name.clone(),
                    paths: paths_of(inventory).collect(),
                });
            }
            paths.extend(own);
        }
        let rule = "named by the caller".to_string();
        Ok(Self { paths, rule })
    }

    /// Finds the head by the structure of the model.
    pub fn find(inventory: &Inventory) -> Result<Self, PrepareError> {
        let is_weight = |p: &&Parameter| p.is_weight();
        let matrices: Vec<&Parameter> = inventory.parameters.iter().filter(is_weight).collect();
        if matrices.len() == 1 {
            return Ok(Self::none("the model has a single weight"));
        }
        let layers = |p: &&Parameter| p.container != "Embedding";
        let matrices: Vec<&Parameter> = matrices.into_iter().filter(layers).collect();
        // Position embeddings and other tensors of a model's own are not layers, if there are layers.
        let of_layers = |p: &&Parameter| p.fields.last().is_some_and(|f| f.name == "weight");
        let weights: Vec<&Parameter> = matrices.iter().copied().filter(of_layers).collect();
        let weights = if weights.is_empty() {
            matrices
        } else {
            weights
        };
        if weights.is_empty() {
            return Ok(Self::none(BLOCKS));
        }
        let outputs = Node::root(&weights).outputs();
        match outputs.iter().any(|output| output.name.is_some()) {
            true => by_name(&weights, &outputs),
            false => by_structure(&weights, &outputs),
        }
        .map(|found| found.head(inventory))
    }
}

fn paths_of(inventory: &Inventory) -> impl Iterator<Item = String> + '_ {
    inventory.parameters.iter().map(|p| p.path.clone())
}

/// Outputs that are the head.
struct Found<'a> {
    outputs: Vec<Output<'a>>,
    rule: String,
}

impl Found<'_> {
    fn head(self, inventory: &Inventory) -> Head {
        let own = |p: &&Parameter| self.outputs.iter().any(|output| output.contains(p));
        let parameters = inventory.parameters.iter().filter(own);
        Head {
            paths: parameters.map(|p| p.path.clone()).collect(),
            rule: self.rule,
        }
    }
}

/// Returns the fields that are called a head, unless another output with the same inputs is unused.
fn by_name<'a>(weights: &[&Parameter], outputs: &[Output<'a>]) -> Result<Found<'a>, PrepareError> {
    let (named, others): (Vec<_>, Vec<_>) = outputs.iter().partition(|o| o.name.is_some());
    let inputs = |output: &Output<'_>| Features::of(output.weight()).inputs;
    let beside = |output: &Output<'_>| {
        let same = named.iter().any(|head| inputs(head) == inputs(output));
        same && !feeds(output, weights)
    };
    let rivals: Vec<Output<'a>> = others.into_iter().filter(beside).collect();
    // The last field, called the head, is the only one.
    let is_the_head = |output: &Output<'_>| is_last(output, weights) && !output.is_one_of_several();
    if !rivals.is_empty() && !named.iter().any(is_the_head) {
        return Err(ambiguous(named.into_iter().chain(rivals)));
    }
    let names = named.iter().filter_map(|output| output.name);
    let names: Vec<&str> = names.collect();
    let rule = format!("called {}", names.join(", "));
    Ok(Found {
        outputs: named,
        rule,
    })
}

/// Returns the last layer, unless another layer gives outputs that no layer takes.
fn by_structure<'a>(
    weights: &[&Parameter],
    outputs: &[Output<'a>],
) -> Result<Found<'a>, PrepareError> {
    let is_end = |(i, output): &(usize, &Output<'a>)| {
        is_last(output, weights) || !(feeds(output, weights) || is_joined(*i, outputs, weights))
    };
    let ends = outputs.iter().enumerate().filter(is_end);
    let ends: Vec<Output<'a>> = ends.map(|(_, output)| *output).collect();
    let found = |output: &Output<'a>, rule: &str| {
        let (outputs, rule) = (vec![*output], rule.to_string());
        Ok(Found { outputs, rule })
    };
    match &ends[..] {
        [end] if is_last(end, weights) => return found(end, "the last layer"),
        [end] => return found(end, "no other layer takes its outputs"),
        _ => {}
    }
    // A usual name decides if there is no last layer, or if it is the last layer's.
    let last = ends.iter().find(|output| is_last(output, weights));
    let candidates = match (last, &ends[..]) {
        (Some(last), _) => core::slice::from_ref(last),
        (None, []) => outputs,
        (None, ends) => ends,
    };
    let usual: Vec<&Output<'a>> = candidates.iter().filter(has_usual_name).collect();
    match (&usual[..], ends.is_empty()) {
        ([output], _) => found(output, &format!("called {}", layer_name(output))),
        (_, true) => Ok(Found {
            outputs: Vec::new(),
            rule: BLOCKS.to_string(),
        }),
        _ => Err(ambiguous(ends)),
    }
}

/// Returns whether it is declared last.
fn is_last(output: &Output<'_>, weights: &[&Parameter]) -> bool {
    let last = weights.last();
    last.is_some_and(|last| last.path == output.weight().path)
}

/// Returns whether another layer can take its outputs.
fn feeds(output: &Output<'_>, weights: &[&Parameter]) -> bool {
    let own = output.weight();
    let mut others = weights.iter().filter(|weight| weight.path != own.path);
    others.any(|next| Features::of(own).feed(Features::of(next)))
}

/// Returns whether a later layer can take its outputs, joined with those of the adjacent outputs.
fn is_joined(index: usize, outputs: &[Output<'_>], weights: &[&Parameter]) -> bool {
    let given = |output: &Output<'_>| Features::of(output.weight()).outputs;
    let place = |output: &Output<'_>| weights.iter().position(|w| w.path == output.weight().path);
    (0..=index).any(|start| {
        (index + 1..=outputs.len())
            .filter(|end| end - start > 1)
            .any(|end| {
                let sum: usize = outputs[start..end].iter().map(given).sum();
                let after = place(&outputs[end - 1]).map_or(weights.len(), |place| place + 1);
                weights[after..]
                    .iter()
                    .any(|next| Features::of(next).inputs == sum)
            })
    })
}

/// Returns the name of the field that holds the layer.
fn layer_name<'a>(output: &Output<'a>) -> &'a str {
    let fields = &output.weight().fields;
    match &fields[..] {
        [.., layer, weight] if weight.name == "weight" => &layer.name,
        [.., weight] => &weight.name,
        [] => "",
    }
}

fn has_usual_name(output: &&Output<'_>) -> bool {
    USUAL_NAMES.contains(&layer_name(output))
}

fn ambiguous<'a>(outputs: impl IntoIterator<Item = Output<'a>>) -> PrepareError {
    let outputs = outputs.into_iter();
    PrepareError::AmbiguousHead {
        candidates: outputs.map(|output| output.weight().path.clone()).collect(),
    }
}
