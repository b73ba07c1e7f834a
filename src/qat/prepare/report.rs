use core::fmt;

use crate::qat::parameters::Parameter;

/// Report of [`Prepare`](super::Prepare): its decision for each float parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct PrepareReport {
    /// The parameters in declaration order.
    pub parameters: Vec<ParameterReport>,
    /// Rule that found the output head, or the reason why there is none.
    pub head: String,
}

/// The decision for one parameter.
#[derive(Debug, Clone, PartialEq)]
pub struct ParameterReport {
    /// Path in the model, such as `layers.0.weight`.
    pub path: String,
    /// Shape of the parameter.
    pub shape: Vec<usize>,
    /// The decision.
    pub decision: Decision,
    /// The reason, if it does not follow from the decision; else empty.
    pub reason: String,
    /// Paths of the other places of the model that have the same parameter.
    pub shared_with: Vec<String>,
}

/// Decision for a parameter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Trained fake-quantized.
    Quantized,
    /// Stays in float: a vector, that is a bias, norm or other rank-1 parameter.
    Vector,
    /// Stays in float: the table of an embedding.
    Embedding,
    /// Stays in float: the output head.
    OutputHead,
    /// Stays in float: not in the given group.
    NotSelected,
    /// Stays in float: set by the plan.
    PlannedFloat,
    /// Unchanged: its layer quantizes it, as [`BitLinear`](crate::nn::BitLinear) does.
    QuantizedByLayer,
    /// Stays in float: a step size or offset that a quantizer trains.
    OfQuantizer,
}

impl PrepareReport {
    /// Returns the number of parameters that are trained fake-quantized; a shared one counts once.
    pub fn num_quantized(&self) -> usize {
        let quantized = |p: &&ParameterReport| p.decision == Decision::Quantized;
        self.distinct().filter(quantized).count()
    }

    /// Returns the parameters, each at its first place.
    fn distinct(&self) -> impl Iterator<Item = &ParameterReport> {
        let parameters = self.parameters.iter().enumerate();
        let first = parameters.filter(|(i, own)| {
            let earlier = &self.parameters[..*i];
            !earlier.iter().any(|p| own.shared_with.contains(&p.path))
        });
        first.map(|(_, parameter)| parameter)
    }

    /// Describes the output head.
    fn head(&self) -> String {
        let head = |p: &&ParameterReport| p.decision == Decision::OutputHead;
        let head: Vec<&str> = (self.parameters.iter().filter(head))
            .map(|parameter| parameter.path.as_str())
            .collect();
        match &head[..] {
            [] => format!("output head: none, {}", self.head),
            paths => format!("output head: {} ({})", paths.join(", "), self.head),
        }
    }
}

/// Returns the kind of a vector, by the module that holds it.
pub(super) fn kind_of_vector(parameter: &Parameter) -> &'static str {
    let name = parameter.fields.last().map_or("", |field| &field.name);
    match (name, parameter.container.as_str()) {
        (_, container) if container.ends_with("Norm") => "norm",
        ("bias", _) => "bias",
        _ => "",
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Quantized => "quantized",
            Self::Vector => "float (vector)",
            Self::Embedding => "float (embedding)",
            Self::OutputHead => "float (output head)",
            Self::NotSelected => "float (not selected)",
            Self::PlannedFloat => "float (plan)",
            Self::QuantizedByLayer => "quantized by its layer",
            Self::OfQuantizer => "float (of a quantizer)",
        })
    }
}

impl fmt::Display for PrepareReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.parameters.iter().map(|p| p.path.len()).max();
        let width = width.unwrap_or(0);
        for parameter in &self.parameters {
            let shape = format!("{:?}", parameter.shape);
            let (path, decision) = (&parameter.path, parameter.decision);
            write!(f, "{path:<width$}  {shape:<16} {decision}")?;
            let shared = format!("shared with {}", parameter.shared_with.join(", "));
            let others = parameter.shared_with.is_empty() || parameter.reason.starts_with("shared");
            let shared = if others { "" } else { &shared };
            match (parameter.reason.as_str(), shared) {
                ("", "") => writeln!(f)?,
                (reason, "") | ("", reason) => writeln!(f, ": {reason}")?,
                (reason, shared) => writeln!(f, ": {reason}; {shared}")?,
            }
        }
        writeln!(f, "{}", self.head())?;
        write!(
            f,
            "{} of {} parameters quantized",
            self.num_quantized(),
            self.distinct().count()
        )
    }
}
