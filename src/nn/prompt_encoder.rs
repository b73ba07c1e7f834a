use burn::{
    module::Module,
    nn::{Linear, LinearConfig},
    tensor::{
        Device, Tensor,
        activation::{relu, tanh},
    },
};

/// Activation between the layers of a [`PromptEncoder`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum PromptActivation {
    Tanh,
    Relu,
}

/// Perceptron that computes a prompt from its embeddings while it trains; afterwards its output is kept in its place.
///
/// - prefix tuning: `Y = tanh(E W1 + b1) W2 + b2`
/// - P-tuning: `Y = relu(relu(E W1 + b1) W2 + b2) W3 + b3`
#[derive(Module, Debug)]
pub struct PromptEncoder {
    /// Layers in their order.
    pub layers: Vec<Linear>,
    #[module(skip)]
    activation: PromptActivation,
}

impl PromptEncoder {
    /// Creates the encoder of [prefix tuning](https://arxiv.org/abs/2101.00190), `d_input -> d_hidden -> d_output`.
    pub fn prefix(size: [usize; 3], device: &Device) -> Self {
        Self::init(&size, PromptActivation::Tanh, device)
    }

    /// Creates the encoder of [P-tuning](https://arxiv.org/abs/2103.10385), `d_model -> d_hidden -> d_hidden -> d_model`.
    pub fn p_tuning(d_model: usize, d_hidden: usize, device: &Device) -> Self {
        let sizes = [d_model, d_hidden, d_hidden, d_model];
        Self::init(&sizes, PromptActivation::Relu, device)
    }

    fn init(sizes: &[usize], activation: PromptActivation, device: &Device) -> Self {
        let layers = sizes.windows(2);
        let layers = layers.map(|size| LinearConfig::new(size[0], size[1]).init(device));
        Self {
            layers: layers.collect(),
            activation,
        }
    }

    /// Applies the layers.
    ///
    /// # Shapes
    ///
    /// - embedding: `[n_virtual, d_input]`
    /// - output: `[n_virtual, d_output]`
    pub fn forward(&self, embedding: Tensor<2>) -> Tensor<2> {
        let mut x = embedding;
        for (i, layer) in self.layers.iter().enumerate() {
            x = match (i, self.activation) {
                (0, _) => x,
                (_, PromptActivation::Tanh) => tanh(x),
                (_, PromptActivation::Relu) => relu(x),
            };
            x = layer.forward(x);
        }
        x
    }

    /// Returns the size of an output.
    pub(super) fn d_output(&self) -> Option<usize> {
        let last = self.layers.last()?;
        Some(last.weight.shape()[1])
    }
}
