use core::fmt;

use burn::{
    module::{
        Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
        Param,
    },
    tensor::{Device, Int, Tensor},
};

/// A parameter that is stored in records below a tag, such as
/// `control.state.absmean_ternary_per_tensor`, and represents a value that is no tensor.
///
/// Burn loads a record by paths: a record with another tag lacks a tensor of this module, and has an unknown
/// one. Thus [`try_load_record`](Module::try_load_record) also checks values that are not tensors, such as a
/// scheme, and its error names them.
#[derive(Debug, Clone)]
pub(crate) struct Tagged<T> {
    tag: String,
    parameter: Param<Tensor<1, Int>>,
    represented: T,
}

/// A value that a parameter represents in the module tree.
pub(crate) trait Represented: Clone + fmt::Debug + Send {
    /// Returns the value that a parameter represents, if it may have been replaced with the parameter.
    fn of_parameter(parameter: &Param<Tensor<1, Int>>) -> Option<Self>;
}

/// The tag alone.
impl Represented for () {
    fn of_parameter(_parameter: &Param<Tensor<1, Int>>) -> Option<Self> {
        None
    }
}

impl<T> Tagged<T> {
    /// Stores `parameter` below a tag derived from a text.
    pub fn new(text: &str, parameter: Param<Tensor<1, Int>>, represented: T) -> Self {
        Self {
            tag: tag(text),
            parameter,
            represented,
        }
    }

    /// Returns the value that the parameter represents.
    pub fn represented(&self) -> &T {
        &self.represented
    }

    /// Returns the device of the parameter.
    pub fn device(&self) -> Device {
        self.parameter.val().device()
    }
}

/// Returns the text in small letters, digits and underscores: a dot would end the name of a field.
fn tag(text: &str) -> String {
    let characters = text.chars().map(|character| match character {
        'a'..='z' | '0'..='9' => character,
        'A'..='Z' => character.to_ascii_lowercase(),
        _ => '_',
    });
    let tag: String = characters.collect();
    let words = tag.split('_').filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("_")
}

/// Container type of the tag in the module tree.
const CONTAINER: &str = "Tag";

impl<T: Represented> Module for Tagged<T> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.parameter.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        let parameter = self.parameter.fork(device);
        Self { parameter, ..self }
    }

    fn to_device(self, device: &Device) -> Self {
        let parameter = self.parameter.to_device(device);
        Self { parameter, ..self }
    }

    fn train(self) -> Self {
        let parameter = self.parameter.train();
        Self { parameter, ..self }
    }

    fn valid(&self) -> Self {
        let parameter = self.parameter.valid();
        Self {
            parameter,
            ..self.clone()
        }
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module(&self.tag, CONTAINER);
        self.parameter.visit(visitor);
        visitor.exit_module(&self.tag, CONTAINER);
    }

    fn map<V: ModuleMapper>(self, mapper: &mut V) -> Self {
        mapper.enter_module(&self.tag, CONTAINER);
        let parameter = Module::map(self.parameter, mapper);
        mapper.exit_module(&self.tag, CONTAINER);
        Self {
            tag: self.tag,
            represented: T::of_parameter(&parameter).unwrap_or(self.represented),
            parameter,
        }
    }
}

impl<T: Represented> ModuleDisplayDefault for Tagged<T> {
    fn content(&self, content: Content) -> Option<Content> {
        self.parameter.content(content)
    }
}

impl<T: Represented> ModuleDisplay for Tagged<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_the_name_of_a_field() {
        assert_eq!(
            tag("absmean ternary per group of 64, output 1"),
            "absmean_ternary_per_group_of_64_output_1"
        );
        assert_eq!(
            tag("top 0.55 of a token, 8 bits"),
            "top_0_55_of_a_token_8_bits"
        );
    }
}
