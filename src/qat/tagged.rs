use core::fmt;

use burn::{
    module::{
        Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    },
    tensor::Device,
};

/// A module whose tensors are stored in records below a tag that describes them, such as
/// `control.state.absmean_ternary_per_tensor`.
///
/// Burn loads a record by paths: a record with another tag lacks a tensor of this module, and has an unknown
/// one. Thus [`try_load_record`](Module::try_load_record) also checks values that are not tensors, such as a
/// scheme, and its error names them.
#[derive(Debug, Clone)]
pub(super) struct Tagged<M> {
    tag: String,
    inner: M,
}

impl<M> Tagged<M> {
    /// Wraps `inner` below a tag derived from a text.
    pub fn new(text: &str, inner: M) -> Self {
        Self {
            tag: tag(text),
            inner,
        }
    }

    /// Returns the module below the tag.
    pub fn inner(&self) -> &M {
        &self.inner
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

impl<M: Module> Tagged<M> {
    fn with(&self, inner: M) -> Self {
        Self {
            tag: self.tag.clone(),
            inner,
        }
    }
}

/// Container type of the tag in the module tree.
const CONTAINER: &str = "Tag";

impl<M: Module> Module for Tagged<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.inner.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        self.with(self.inner.clone().fork(device))
    }

    fn to_device(self, device: &Device) -> Self {
        self.with(self.inner.clone().to_device(device))
    }

    fn train(self) -> Self {
        self.with(self.inner.clone().train())
    }

    fn valid(&self) -> Self {
        self.with(self.inner.valid())
    }

    fn materialize(self) -> Self {
        self.with(self.inner.clone().materialize())
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.enter_module(&self.tag, CONTAINER);
        self.inner.visit(visitor);
        visitor.exit_module(&self.tag, CONTAINER);
    }

    fn map<V: ModuleMapper>(self, mapper: &mut V) -> Self {
        mapper.enter_module(&self.tag, CONTAINER);
        let inner = self.inner.clone().map(mapper);
        mapper.exit_module(&self.tag, CONTAINER);
        self.with(inner)
    }
}

impl<M: Module + ModuleDisplayDefault> ModuleDisplayDefault for Tagged<M> {
    fn content(&self, content: Content) -> Option<Content> {
        self.inner.content(content)
    }
}

impl<M: Module + ModuleDisplayDefault + fmt::Debug> ModuleDisplay for Tagged<M> {}

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
