use burn::{config::Config, module::Initializer, nn::RmsNormConfig, tensor::Device};

use super::{BitLinear, TrainableProjection, projection::zero_bias};
use crate::quant::QatScheme;

/// Configuration of a [`BitLinear`] layer.
#[derive(Config, Debug)]
pub struct BitLinearConfig {
    /// The size of the input features.
    pub d_input: usize,
    /// The size of the output features.
    pub d_output: usize,
    /// Adds a bias. BitNet models have none.
    #[config(default = false)]
    pub bias: bool,
    /// Epsilon of an RMS norm applied to the input before it is quantized; `None` for no norm,
    /// as in models that normalize outside of their linear layers.
    pub rms_norm_epsilon: Option<f64>,
    /// Quantization scheme of weights and activations.
    #[config(default = "QatScheme::b1_58()")]
    pub scheme: QatScheme,
    /// Initializer of the latent weights.
    #[config(default = "Initializer::KaimingUniform{gain:1.0/3f64.sqrt(), fan_out_only:false}")]
    pub initializer: Initializer,
}

impl BitLinearConfig {
    /// Initialize a new [`BitLinear`] layer.
    ///
    /// # Panics
    ///
    /// If the weight granularity of the scheme does not fit the layer.
    #[track_caller]
    pub fn init(&self, device: &Device) -> BitLinear {
        let shape = [self.d_input, self.d_output];
        let fans = (Some(self.d_input), Some(self.d_output));
        let bias = self.bias.then(|| {
            self.initializer
                .init_with([self.d_output], fans.0, fans.1, device)
        });
        let weight = self.initializer.init_with(shape, fans.0, fans.1, device);
        let rms_norm = self.rms_norm_epsilon.map(|epsilon| {
            RmsNormConfig::new(self.d_input)
                .with_epsilon(epsilon)
                .init(device)
        });
        BitLinear::from_parameters(weight, bias, rms_norm, &self.scheme)
    }
}

impl TrainableProjection for BitLinear {
    fn init(
        [d_input, d_output]: [usize; 2],
        bias: bool,
        initializer: &Initializer,
        scheme: &QatScheme,
        device: &Device,
    ) -> Self {
        let mut layer = BitLinearConfig::new(d_input, d_output)
            .with_initializer(initializer.clone())
            .with_scheme(scheme.clone())
            .init(device);
        layer.bias = bias.then(|| zero_bias(d_output, device));
        layer
    }
}
