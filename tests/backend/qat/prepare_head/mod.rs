//! The output head that [`Prepare`] finds by the structure of a model, and ambiguous models.

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig},
    qat::{Decision, FakeQuant, Prepare, PrepareError, PrepareReport},
    quant::QatScheme,
};
use burn::{
    module::{Module, Param, ParamGroup},
    nn::{
        BiLstm, BiLstmConfig, Embedding, EmbeddingConfig, Gru, GruConfig, LayerNorm,
        LayerNormConfig, Linear, LinearConfig, Lstm, LstmConfig,
        attention::{
            CrossAttention, CrossAttentionConfig, MultiHeadAttention, MultiHeadAttentionConfig,
        },
        conv::{Conv2d, Conv2dConfig, ConvTranspose2d, ConvTranspose2dConfig},
        transformer::{
            TransformerDecoder, TransformerDecoderConfig, TransformerEncoder,
            TransformerEncoderConfig,
        },
    },
    tensor::{Device, Tensor},
};

fn linear(d_input: usize, d_output: usize) -> Linear {
    LinearConfig::new(d_input, d_output).init(&Device::default())
}

fn conv(channels: [usize; 2], size: usize) -> Conv2d {
    Conv2dConfig::new(channels, [size; 2]).init(&Device::default())
}

fn mlp(sizes: &[usize]) -> Vec<Linear> {
    sizes
        .windows(2)
        .map(|pair| linear(pair[0], pair[1]))
        .collect()
}

fn encoder() -> TransformerEncoder {
    TransformerEncoderConfig::new(16, 32, 2, 2).init(&Device::default())
}

fn attention() -> MultiHeadAttention {
    MultiHeadAttentionConfig::new(16, 2).init(&Device::default())
}

fn prepare() -> Prepare {
    Prepare::new(QatScheme::weight_only())
}

fn report<M: Module>(model: M) -> PrepareReport {
    prepare().apply(model).unwrap().report
}

/// Returns the weights that stay in float as the head.
fn head(report: &PrepareReport) -> Vec<&str> {
    let head = report.parameters.iter();
    let head = head.filter(|p| p.decision == Decision::OutputHead);
    head.map(|p| p.path.as_str()).collect()
}

/// Returns the rule that found the head, or the reason why there is none.
fn rule(report: &PrepareReport) -> &str {
    &report.head
}

/// Returns the candidates for the head, if it is ambiguous.
fn candidates<M: Module>(model: M) -> Vec<String> {
    match prepare().apply(model) {
        Err(PrepareError::AmbiguousHead { candidates }) => candidates,
        other => panic!("{:?}", other.map(|prepared| prepared.report)),
    }
}

/// Creates a model with these fields, in this order.
macro_rules! model {
    ($name:ident { $($field:ident: $type:ty = $value:expr),+ $(,)? }) => {{
        #[derive(Module, Debug)]
        struct $name {
            $($field: $type),+
        }
        $name { $($field: $value),+ }
    }};
}

// After the macro that they use.
mod blocks;
mod last_layer;
mod names;
