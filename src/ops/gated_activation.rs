use burn::config::Config;

/// Activation of the gate in the feed-forward blocks of a [`BitNetLm`](crate::nn::BitNetLm).
#[derive(Config, Debug, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum GatedActivation {
    /// Squared ReLU, `relu(x)^2`, as in BitNet b1.58 2B4T (`relu2` in its configuration).
    SquaredRelu,
    /// SiLU, `x * sigmoid(x)`, which makes the block SwiGLU (`silu`).
    Silu,
}
