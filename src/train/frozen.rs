use burn::{
    module::{
        Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    },
    tensor::Device,
};

/// A module inside another one that does not train.
///
/// It is in inference mode and stays so, on tensors without autodiff. Nothing that walks the
/// parameters of the outer module sees its own: no optimizer, no gradient, no record, no count.
/// It moves with the outer module from device to device.
///
/// Its weights do not change, but its quantizers are controlled with those of the modules that it is a
/// clone of, unless it was [detached](crate::qat::detach_controls) from them.
///
/// # Example
///
/// ```
/// use bitnet_burn::train::Frozen;
/// use burn::{module::Module, nn::LinearConfig, tensor::Device};
///
/// let frozen = Frozen::new(LinearConfig::new(4, 2).init(&Device::default().autodiff()));
/// assert_eq!(frozen.num_params(), 0);
/// assert!(!frozen.train().module().weight.val().is_autodiff());
/// ```
#[derive(Debug, Clone)]
pub struct Frozen<M> {
    module: M,
}

impl<M: Module> Frozen<M> {
    /// The module in inference mode.
    pub fn new(module: M) -> Self {
        Self {
            module: module.valid(),
        }
    }

    /// The module, in inference mode.
    pub fn module(&self) -> &M {
        &self.module
    }
}

impl<M: Module> Module for Frozen<M> {
    fn collect_devices(&self, devices: Devices) -> Devices {
        self.module.collect_devices(devices)
    }

    fn fork(self, device: &Device) -> Self {
        Self {
            module: self.module.fork(device),
        }
    }

    fn to_device(self, device: &Device) -> Self {
        Self {
            module: self.module.to_device(device),
        }
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

    fn visit<V: ModuleVisitor>(&self, _visitor: &mut V) {}

    fn map<V: ModuleMapper>(self, _mapper: &mut V) -> Self {
        self
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplayDefault for Frozen<M> {
    fn content(&self, content: Content) -> Option<Content> {
        content.add("module", &self.module).optional()
    }
}

impl<M: Module + ModuleDisplay> ModuleDisplay for Frozen<M> {}
