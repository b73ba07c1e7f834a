use burn::{
    module::{
        Content, Devices, Flag, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper,
        ModuleVisitor, Param,
    },
    tensor::Device,
};

/// Setting of a model that computes its blocks again in the backward pass.
///
/// Traversals see it as a flag, so that a [`Trainer`](super::Trainer) can compare its configuration with it. Freezing and
/// unfreezing a model leave it as it is.
#[derive(Debug, Clone)]
pub struct GradientCheckpointing(Param<Flag>);

impl GradientCheckpointing {
    pub(super) fn new(is_on: bool) -> Self {
        Self(Param::from_bool(is_on))
    }

    pub(super) fn is_on(&self) -> bool {
        self.0.val().is_enabled()
    }
}

impl Module for GradientCheckpointing {
    fn collect_devices(&self, devices: Devices) -> Devices {
        devices
    }

    fn fork(self, _device: &Device) -> Self {
        self
    }

    fn to_device(self, _device: &Device) -> Self {
        self
    }

    fn train(self) -> Self {
        self
    }

    fn valid(&self) -> Self {
        self.clone()
    }

    fn materialize(self) -> Self {
        self
    }

    fn visit<V: ModuleVisitor>(&self, visitor: &mut V) {
        visitor.visit_flag(&self.0);
    }

    fn map<V: ModuleMapper>(self, _mapper: &mut V) -> Self {
        self
    }
}

impl ModuleDisplayDefault for GradientCheckpointing {
    fn content(&self, content: Content) -> Option<Content> {
        self.0.content(content)
    }
}

impl ModuleDisplay for GradientCheckpointing {}
