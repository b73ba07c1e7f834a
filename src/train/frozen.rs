use burn::{
    module::{
        Content, Devices, Module, ModuleDisplay, ModuleDisplayDefault, ModuleMapper, ModuleVisitor,
    },
    tensor::Device,
};

/// Module inside another one that is not trained.
///
/// It remains in inference mode, on tensors without autodiff. Its parameters are hidden from
/// traversals of the outer module: they have no optimizer, gradient, record or count. It moves with
/// the outer module between devices.
///
/// Its weights do not change. Its quantizers share controls with those of the modules it was cloned
/// from, unless it was [detached](crate::qat::detach_controls) from them.
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
    /// Creates a frozen module in inference mode.
    pub fn new(module: M) -> Self {
        Self {
            module: module.valid(),
        }
    }

    /// Returns the module, in inference mode.
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
