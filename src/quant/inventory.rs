//! The float parameters of a model, with what a quantiser must know of them.

use burn::{
    module::{Module, ModuleVisitor, Param, ParamId},
    tensor::Tensor,
};

/// A float parameter as found in the model.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) id: ParamId,
    pub(crate) path: String,
    /// The fields on the way to it.
    pub(crate) fields: Vec<Field>,
    /// Type of the module that holds it, without its generics.
    pub(crate) container: String,
    pub(crate) shape: Vec<usize>,
    /// Name of the reparameterization that it carries.
    pub(crate) reparameterization: Option<String>,
}

impl Parameter {
    /// Dimension of the output channels: Burn stores `[d_input, d_output]` in `Linear`,
    /// `[in, out, ..]` in transposed convolutions and `[out, in, ..]` in convolutions; the rows
    /// of an embedding are its channels.
    pub(crate) fn output_axis(&self) -> usize {
        let transposed = self.container.starts_with("ConvTranspose");
        match self.shape.len() {
            2 if self.container == "Embedding" => 0,
            2 => 1,
            _ if transposed => 1,
            _ => 0,
        }
    }
}

/// A field of a module, or an element of a list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Field {
    pub(crate) name: String,
    /// Type of the module whose field it is, without its generics.
    pub(crate) container: String,
}

/// Collects the float parameters of a model.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) parameters: Vec<Parameter>,
    /// The fields on the way to the present module.
    stack: Vec<Field>,
    /// Modules below a reparameterization, whose parameters are not the model's own.
    reparameterizations: usize,
}

impl Inventory {
    /// The float parameters of `model`.
    pub(crate) fn of<M: Module>(model: &M) -> Self {
        let mut inventory = Self::default();
        model.visit(&mut inventory);
        inventory
    }
}

impl ModuleVisitor for Inventory {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if self.reparameterizations > 0 {
            return;
        }
        let names: Vec<&str> = self.stack.iter().map(|field| field.name.as_str()).collect();
        // The top of the stack is the field of the parameter itself.
        let container = self.stack.last().map_or("", |field| &field.container);
        self.parameters.push(Parameter {
            id: param.id,
            path: names.join("."),
            fields: self.stack.clone(),
            container: container.to_string(),
            shape: param.lazy_shape().to_vec(),
            reparameterization: None,
        });
    }

    fn enter_module(&mut self, name: &str, container_type: &str) {
        if container_type == "Reparameterization" {
            self.reparameterizations += 1;
            if let Some(parameter) = self.parameters.last_mut() {
                parameter.reparameterization = Some(name.to_string());
            }
        }
        // Burn writes `Struct:Linear`, with the kind of the type in front.
        let container = container_type.rsplit(':').next().unwrap_or(container_type);
        self.stack.push(Field {
            name: name.to_string(),
            container: container.to_string(),
        });
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        if container_type == "Reparameterization" {
            self.reparameterizations -= 1;
        }
        self.stack.pop();
    }
}
