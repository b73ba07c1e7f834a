use burn::{
    module::{Initializer, Module, ModuleDisplay},
    nn::{Linear, LinearConfig},
    tensor::{Device, Tensor},
};

use crate::quant::QatScheme;

/// A linear map `[.., d_input] -> [.., d_output]` inside a BitNet block.
pub trait Projection: Module + ModuleDisplay + 'static {
    /// Applies the map.
    ///
    /// # Shapes
    ///
    /// - x: `[.., d_input]`
    /// - output: `[.., d_output]`
    ///
    /// # Panics
    ///
    /// If the last dimension of `x` is not `d_input`.
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D>;
}

/// A [`Projection`] that can be initialised for training.
pub trait TrainableProjection: Projection {
    /// A projection without bias; `scheme` says how it is quantised, if it is.
    fn init(
        d_input: usize,
        d_output: usize,
        initializer: &Initializer,
        scheme: &QatScheme,
        device: &Device,
    ) -> Self;
}

impl Projection for Linear {
    fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        Linear::forward(self, x)
    }
}

impl TrainableProjection for Linear {
    fn init(
        d_input: usize,
        d_output: usize,
        initializer: &Initializer,
        _scheme: &QatScheme,
        device: &Device,
    ) -> Self {
        LinearConfig::new(d_input, d_output)
            .with_bias(false)
            .with_initializer(initializer.clone())
            .init(device)
    }
}
