//! Float parameters of a model, with the properties that a quantizer needs.

use std::sync::Arc;

use burn::{
    module::{Module, Param, ParamId},
    tensor::{Int, Tensor},
};

use super::control::{ControlValues, ControlledWeight};
use crate::{
    base::path_visitor::{Field, ModulePath, PathVisitor, join, visit_paths},
    quant::WeightQuantizer,
};

/// A float parameter found in the model.
#[derive(Debug)]
pub(crate) struct Parameter {
    pub(crate) id: ParamId,
    pub(crate) path: String,
    /// The fields from the model to the parameter.
    pub(crate) fields: Vec<Field>,
    /// Type of the module that holds it, without its generics.
    pub(crate) container: String,
    pub(crate) shape: Vec<usize>,
    /// Name of the reparameterization that it carries.
    pub(crate) reparameterization: Option<String>,
    pub(super) role: Role,
}

/// Role of a parameter for the quantizers of a model.
#[derive(Debug)]
pub(super) enum Role {
    /// Not used by a quantizer.
    Plain,
    /// A latent weight, which a quantizer quantizes.
    Latent {
        /// Path of the quantizer, which is the prefix of its trained step sizes.
        quantizer: String,
        control: Arc<ControlValues>,
    },
    /// A step size or offset that a quantizer trains.
    OfQuantizer,
}

impl Parameter {
    /// Returns the dimension of the output channels: that of its quantizer, or else that of its layer. Burn
    /// stores `[d_input, d_output]` in `Linear`, `[in, out, ..]` in transposed convolutions and
    /// `[out, in, ..]` in convolutions; the rows of an embedding are its channels.
    pub(crate) fn output_axis(&self) -> usize {
        if let Some(weight) = self.latent() {
            return weight.output_axis;
        }
        let transposed = self.container.starts_with("ConvTranspose");
        match self.shape.len() {
            2 if self.container == "Embedding" => 0,
            2 => 1,
            _ if transposed => 1,
            _ => 0,
        }
    }

    /// Returns the weight of the quantizer that quantizes it.
    fn latent(&self) -> Option<&ControlledWeight> {
        match &self.role {
            Role::Latent { control, .. } => control.weight(),
            _ => None,
        }
    }

    /// Returns whether a quantizer quantizes it.
    pub(crate) fn is_latent(&self) -> bool {
        self.latent().is_some()
    }

    /// Returns the configured quantizer of a latent weight.
    pub(crate) fn quantizer(&self) -> Option<&WeightQuantizer> {
        self.latent().map(|weight| &weight.quantizer)
    }

    /// Returns whether it may be the weight of a layer: it has input and output features, and does not belong
    /// to a quantizer.
    pub(crate) fn is_weight(&self) -> bool {
        self.shape.len() >= 2 && !matches!(self.role, Role::OfQuantizer)
    }
}

/// Returns the shape of a parameter. A `Linear` of column layout has the transposed one until initialized.
fn shape<const D: usize>(param: &Param<Tensor<D>>, container: &str) -> Vec<usize> {
    match container {
        "Linear" => param.base().dims().to_vec(),
        _ => param.lazy_shape().to_vec(),
    }
}

/// Returns whether a path leads into the module of these fields.
fn leads_into(way: &[Field], module: &[Field]) -> bool {
    let same = |(own, field): (&Field, &Field)| own.name == field.name;
    way.len() >= module.len() && way.iter().zip(module).all(same)
}

/// Collects the float parameters of a model.
#[derive(Debug, Default)]
pub(crate) struct Inventory {
    pub(crate) parameters: Vec<Parameter>,
    /// The paths to the parameters of reparameterizations.
    reparameterizing: Vec<Vec<Field>>,
    quantizers: Vec<Quantizer>,
}

/// A quantizer found in the model.
#[derive(Debug)]
struct Quantizer {
    /// The fields from the model to the quantizer.
    fields: Vec<Field>,
    values: Arc<ControlValues>,
    /// Index of the parameter that it reparameterizes, if it is not a field of a layer.
    reparameterizes: Option<usize>,
}

impl Inventory {
    /// Returns the float parameters of `model`.
    pub(crate) fn of<M: Module>(model: &M) -> Self {
        let mut inventory = Self::default();
        visit_paths(model, &mut inventory);
        inventory.find_latent_weights();
        inventory
    }

    /// Returns the paths of the step sizes and offsets that quantizers train, also inside
    /// reparameterizations.
    pub(crate) fn of_quantizers(&self) -> Vec<String> {
        let own = self.parameters.iter().map(|p| &p.fields);
        let all = own.chain(&self.reparameterizing);
        let of_quantizer =
            |way: &&Vec<Field>| self.quantizers.iter().any(|q| leads_into(way, &q.fields));
        all.filter(of_quantizer).map(|way| join(way)).collect()
    }

    /// Sets the roles of the parameters of quantizers and of their weights. A quantizer that is a field of a
    /// layer quantizes the first parameter of its module that has the shape of its weight and belongs to no
    /// other quantizer.
    fn find_latent_weights(&mut self) {
        for parameter in &mut self.parameters {
            let own = |q: &Quantizer| leads_into(&parameter.fields, &q.fields);
            if self.quantizers.iter().any(own) {
                parameter.role = Role::OfQuantizer;
            }
        }
        for quantizer in &self.quantizers {
            let Some(weight) = quantizer.values.weight() else {
                continue;
            };
            let beside = |p: &&mut Parameter| {
                let (layer, depth) = (quantizer.layer(), quantizer.fields.len());
                matches!(p.role, Role::Plain)
                    && p.shape == weight.shape
                    && p.fields.len() == depth
                    && leads_into(&p.fields, layer)
            };
            let quantized = match quantizer.reparameterizes {
                Some(place) => self.parameters.get_mut(place),
                None => self.parameters.iter_mut().find(beside),
            };
            if let Some(parameter) = quantized {
                parameter.role = Role::Latent {
                    quantizer: join(&quantizer.fields),
                    control: quantizer.values.clone(),
                };
            }
        }
    }
}

impl Quantizer {
    /// Returns the path to the layer that holds it as a field.
    fn layer(&self) -> &[Field] {
        &self.fields[..self.fields.len() - 1]
    }
}

impl PathVisitor for Inventory {
    fn enter(&mut self, path: &ModulePath) {
        if let (Some(name), Some(parameter)) =
            (path.reparameterization(), self.parameters.last_mut())
        {
            parameter.reparameterization = Some(name.to_string());
        }
    }

    fn visit_float<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D>>) {
        let fields = path.fields().to_vec();
        if path.is_reparameterizing() {
            self.reparameterizing.push(fields);
            return;
        }
        // The last field is the parameter itself.
        let container = fields.last().map_or("", |field| &field.container);
        self.parameters.push(Parameter {
            id: param.id,
            path: path.join(),
            container: container.to_string(),
            shape: shape(param, container),
            fields,
            reparameterization: None,
            role: Role::Plain,
        });
    }

    fn visit_int<const D: usize>(&mut self, path: &ModulePath, param: &Param<Tensor<D, Int>>) {
        let Some(values) = ControlValues::of_parameter(param) else {
            return;
        };
        // Below the quantizer, the path ends in `control.state` and the tag of the scheme.
        let depth = path.fields().len().saturating_sub(3);
        let fields = path.fields()[..depth].to_vec();
        if !fields.is_empty() {
            let reparameterizes = match path.is_reparameterizing() {
                true => self.parameters.len().checked_sub(1),
                false => None,
            };
            self.quantizers.push(Quantizer {
                fields,
                values,
                reparameterizes,
            });
        }
    }
}
