//! The layers of a model that may give its outputs, by its structure.

use crate::qat::parameters::Parameter;

/// Types whose layers work inside them, with the names of all their fields that have weights. Types of
/// models may be called the same, and have other fields.
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

/// Names of fields that are an output head, beside those that end with `_head`.
const HEAD_NAMES: [&str; 4] = ["lm_head", "head", "heads", "classifier"];

/// A layer whose outputs may be those of the model, or a field that is called a head.
#[derive(Debug, Clone, Copy)]
pub(super) struct Output<'a> {
    /// All its weights, the last of which gives its outputs.
    weights: &'a [&'a Parameter],
    /// The field with the name of a head.
    pub name: Option<&'a str>,
}

impl<'a> Output<'a> {
    /// The weight that gives its outputs.
    pub fn weight(&self) -> &'a Parameter {
        self.weights[self.weights.len() - 1]
    }

    /// Whether its name says that there are others.
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

    /// The name of a child.
    fn name(&self) -> &'a str {
        &self.weights[0].fields[self.depth - 1].name
    }

    /// Whether it is a weight itself.
    fn is_weight(&self) -> bool {
        self.weights[0].fields.len() == self.depth
    }

    /// Its type, which is written at its fields.
    fn container(&self) -> &'a str {
        &self.weights[0].fields[self.depth].container
    }

    /// Its fields with weights, or the elements of a list.
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

    /// The outputs of the module: of its last field all of them, of each other field the last one.
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

    /// Whether it gives back as many features as it takes.
    fn keeps_width(&self) -> bool {
        let (first, last) = (self.weights[0], self.weights[self.weights.len() - 1]);
        Features::of(first).inputs == Features::of(last).outputs
    }
}

fn outputs_of_fields<'a>(children: &[Node<'a>]) -> Vec<Output<'a>> {
    let mut outputs = Vec::new();
    for (i, child) in children.iter().enumerate() {
        let named = is_head_name(child.name()) && (child.is_weight() || !child.is_internal());
        // A name says nothing in a model that is nothing else.
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
            // Names count where the model's outputs are, not inside of its other parts.
            false => outputs.extend(own.last().map(|last| Output {
                weights: &last.weights[last.weights.len() - 1..],
                name: None,
            })),
        }
    }
    outputs
}

/// Layers in a list may follow each other or be side by side; of a list of blocks, the last block is the
/// end. Blocks that keep their width are a trunk, whose last layer is added to what went around the block.
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

/// What a weight takes and gives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Features {
    pub inputs: usize,
    pub outputs: usize,
    /// Whether it has a kernel; its inputs may be those of one of several groups then.
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

    /// Whether the outputs can be the inputs of `next`, or become them by a change of shape.
    pub fn feed(self, next: Self) -> bool {
        match (self.convolution, next.convolution) {
            (false, false) => self.outputs == next.inputs,
            // Groups of channels, or pixels that become channels.
            (_, true) => next.inputs > 0 && self.outputs.is_multiple_of(next.inputs),
            // Channels that are flattened with their pixels.
            (true, false) => self.outputs > 0 && next.inputs.is_multiple_of(self.outputs),
        }
    }
}
