//! Layers of a model that may give its outputs, by its structure.

use crate::qat::parameters::Parameter;

/// Types with internal layers, with the names of all their fields that have weights. Types of models may
/// have the same name, and other fields.
const INTERNAL: [(&str, &[&str]); 18] = [
    ("MultiHeadAttention", &["query", "key", "value", "output"]),
    ("CrossAttention", &["query", "key", "value", "output"]),
    ("TransformerEncoder", &["layers"]),
    ("TransformerEncoderLayer", &["mha", "pwff"]),
    ("TransformerDecoder", &["layers"]),
    (
        "TransformerDecoderLayer",
        &["cross_attn", "self_attn", "pwff"],
    ),
    ("PositionWiseFeedForward", &["linear_inner", "linear_outer"]),
    ("SwiGlu", &["linear_inner", "linear_outer"]),
    ("GateController", &["input_transform", "hidden_transform"]),
    (
        "Lstm",
        &["input_gate", "forget_gate", "output_gate", "cell_gate"],
    ),
    ("Gru", &["update_gate", "reset_gate", "new_gate"]),
    ("Rnn", &["gate"]),
    ("BiLstm", &["forward", "reverse"]),
    ("BiGru", &["forward", "reverse"]),
    ("BiRnn", &["forward", "reverse"]),
    ("BitNetAttention", &["q_proj", "k_proj", "v_proj", "o_proj"]),
    ("DecoderLayer", &["self_attn", "mlp"]),
    ("FeedForward", &["gate_proj", "up_proj", "down_proj"]),
];

/// Field names of an output head, in addition to those that end with `_head`.
const HEAD_NAMES: [&str; 4] = ["lm_head", "head", "heads", "classifier"];

/// A layer whose outputs may be those of the model, or a field with the name of a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output<'a> {
    /// All its weights; the last one gives its outputs.
    weights: &'a [&'a Parameter],
    /// The field with the name of a head.
    pub name: Option<&'a str>,
}

impl<'a> Output<'a> {
    /// Returns the weight that gives its outputs.
    pub fn weight(&self) -> &'a Parameter {
        self.weights[self.weights.len() - 1]
    }

    /// Returns whether its name is that of several heads.
    pub fn is_one_of_several(&self) -> bool {
        self.name.is_some_and(|name| !HEAD_NAMES.contains(&name))
    }

    pub fn contains(&self, parameter: &Parameter) -> bool {
        self.weights
            .iter()
            .any(|weight| weight.path == parameter.path)
    }
}

/// A module with its weights in declaration order, which share their first `depth` fields.
#[derive(Clone, Copy)]
pub(super) struct Node<'a> {
    weights: &'a [&'a Parameter],
    depth: usize,
}

impl<'a> Node<'a> {
    pub fn root(weights: &'a [&'a Parameter]) -> Self {
        Self { weights, depth: 0 }
    }

    /// Returns the name of a child.
    fn name(&self) -> &'a str {
        &self.weights[0].fields[self.depth - 1].name
    }

    /// Returns whether it is a weight itself.
    fn is_weight(&self) -> bool {
        self.weights[0].fields.len() == self.depth
    }

    /// Returns its type, which is stored in its fields.
    fn container(&self) -> &'a str {
        &self.weights[0].fields[self.depth].container
    }

    /// Returns its fields with weights, or the elements of a list.
    fn children(&self) -> Vec<Self> {
        let depth = self.depth;
        let same = |a: &&Parameter, b: &&Parameter| a.fields[depth].name == b.fields[depth].name;
        let child = |weights| Self {
            weights,
            depth: depth + 1,
        };
        self.weights.chunk_by(same).map(child).collect()
    }

    fn is_internal(&self) -> bool {
        let fields = INTERNAL.iter().find(|(name, _)| *name == self.container());
        let known = |fields: &[&str]| self.children().iter().all(|c| fields.contains(&c.name()));
        fields.is_some_and(|(_, fields)| known(fields))
    }

    /// Returns the outputs of the module: of its last field all of them, of each other field the last one.
    pub fn outputs(&self) -> Vec<Output<'a>> {
        if self.is_weight() {
            let (weights, name) = (self.weights, None);
            return vec![Output { weights, name }];
        }
        if self.is_internal() {
            return Vec::new();
        }
        let children = self.children();
        match self.container() {
            "Vec" | "Array" => outputs_of_list(&children),
            _ => outputs_of_fields(&children),
        }
    }

    /// Returns whether its numbers of input and output features are equal.
    fn keeps_width(&self) -> bool {
        let (first, last) = (self.weights[0], self.weights[self.weights.len() - 1]);
        Features::of(first).inputs == Features::of(last).outputs
    }
}

fn outputs_of_fields<'a>(children: &[Node<'a>]) -> Vec<Output<'a>> {
    let mut outputs = Vec::new();
    for (i, child) in children.iter().enumerate() {
        let named = is_head_name(child.name()) && (child.is_weight() || !child.is_internal());
        // A name is no evidence in a model that consists of this field only.
        if named && children.len() > 1 {
            outputs.push(Output {
                weights: child.weights,
                name: Some(child.name()),
            });
            continue;
        }
        let own = child.outputs();
        match i + 1 == children.len() {
            true => outputs.extend(own),
            // Names count where the model's outputs are, not inside its other parts.
            false => outputs.extend(own.last().map(|last| Output {
                weights: &last.weights[last.weights.len() - 1..],
                name: None,
            })),
        }
    }
    outputs
}

/// Returns the outputs of a list. Its layers may be sequential or parallel; in a list of blocks, the last
/// block is the end. Blocks with equal input and output width are a trunk, whose last layer is added to the
/// residual of the block.
fn outputs_of_list<'a>(elements: &[Node<'a>]) -> Vec<Output<'a>> {
    if elements.iter().all(|element| element.weights.len() == 1) {
        return elements.iter().flat_map(Node::outputs).collect();
    }
    match elements.last() {
        Some(last) if !last.keeps_width() => last.outputs(),
        _ => Vec::new(),
    }
}

fn is_head_name(name: &str) -> bool {
    HEAD_NAMES.contains(&name) || name.ends_with("_head")
}

/// Numbers of input and output features of a weight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    pub inputs: usize,
    pub outputs: usize,
    /// `true` if it has a kernel; its inputs may be those of one of several groups then.
    convolution: bool,
}

impl Features {
    pub fn of(weight: &Parameter) -> Self {
        let axis = weight.output_axis();
        Self {
            inputs: weight.shape[1 - axis],
            outputs: weight.shape[axis],
            convolution: weight.shape.len() > 2,
        }
    }

    /// Returns whether the outputs can be the inputs of `next`, possibly after a change of shape.
    pub fn feed(self, next: Self) -> bool {
        match (self.convolution, next.convolution) {
            (false, false) => self.outputs == next.inputs,
            // Groups of channels, or pixels converted to channels.
            (_, true) => next.inputs > 0 && self.outputs.is_multiple_of(next.inputs),
            // Channels flattened with their pixels.
            (true, false) => self.outputs > 0 && next.inputs.is_multiple_of(self.outputs),
        }
    }
}
