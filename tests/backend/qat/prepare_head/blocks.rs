//! Layers inside blocks of Burn and of BitNet are no head.

use super::*;

/// Rule of a model that ends in blocks.
const BLOCKS: &str = "the last layers work inside attention, feed-forward or recurrent blocks";

#[test]
fn the_outputs_of_attention_are_no_head() {
    let of_encoder = report(model!(Classifier {
        encoder: TransformerEncoder = encoder(),
        fc: Linear = linear(16, 3)
    }));
    assert_eq!(head(&of_encoder), ["fc.weight"]);
    assert_eq!(rule(&of_encoder), "the last layer");
    // Two layers with four projections of attention and two of the feed-forward block.
    assert_eq!(of_encoder.num_quantized(), 12);
    let of_attention = report(model!(Attention {
        mha: MultiHeadAttention = attention(),
        fc: Linear = linear(16, 3)
    }));
    assert_eq!(head(&of_attention), ["fc.weight"]);
    assert_eq!(of_attention.num_quantized(), 4);

    let cross: CrossAttention = CrossAttentionConfig::new(16, 8, 2, 2, 8).init(&Device::default());
    let of_cross = report(model!(Cross {
        cross: CrossAttention = cross,
        fc: Linear = linear(16, 3)
    }));
    assert_eq!(head(&of_cross), ["fc.weight"]);
    assert_eq!(of_cross.num_quantized(), 4);
}

#[test]
fn gates_are_no_head_and_names_of_types_deceive_nobody() {
    let device = Device::default();
    let lstm: Lstm = LstmConfig::new(8, 16, true).init(&device);
    // Burn also has an `Rnn`, which contains all of its layers.
    let of_lstm = report(model!(Rnn {
        lstm: Lstm = lstm,
        fc: Linear = linear(16, 3)
    }));
    assert_eq!(head(&of_lstm), ["fc.weight"]);
    assert_eq!(of_lstm.num_quantized(), 8);
    let lstm: BiLstm = BiLstmConfig::new(8, 16, true).init(&device);
    let of_both = report(model!(Tagger {
        lstm: BiLstm = lstm,
        tags: Linear = linear(32, 3)
    }));
    assert_eq!(head(&of_both), ["tags.weight"]);
    let of_gru = report(model!(Tagger {
        gru: Gru = GruConfig::new(8, 16, true).init(&device),
        fc: Linear = linear(16, 3)
    }));
    assert_eq!(head(&of_gru), ["fc.weight"]);
    assert_eq!(of_gru.num_quantized(), 6);
}

#[test]
fn a_decoder_of_burn_has_its_head_behind_it() {
    let decoder: TransformerDecoder =
        TransformerDecoderConfig::new(16, 32, 2, 2).init(&Device::default());
    let translator = report(model!(Translator {
        encoder: TransformerEncoder = encoder(),
        decoder: TransformerDecoder = decoder,
        words: Linear = linear(16, 40)
    }));
    assert_eq!(head(&translator), ["words.weight"]);
    // Two layers each: of the encoder with six projections, of the decoder with ten.
    assert_eq!(translator.num_quantized(), 2 * 6 + 2 * 10);
}

#[test]
fn several_heads_behind_an_encoder_of_burn_are_asked_for() {
    let tasks = || {
        model!(Tasks {
            encoder: TransformerEncoder = encoder(),
            tags: Linear = linear(16, 5),
            scores: Linear = linear(16, 1)
        })
    };
    assert_eq!(candidates(tasks()), ["tags.weight", "scores.weight"]);
    let named = prepare().with_output_head(["tags", "scores"]);
    let report = named.apply(tasks()).unwrap().report;
    assert_eq!(head(&report), ["tags.weight", "scores.weight"]);
    assert_eq!(report.num_quantized(), 12);
}

#[test]
fn bodies_have_no_head() {
    let bare = report(attention());
    assert_eq!(bare.num_quantized(), 4);
    assert_eq!(rule(&bare), BLOCKS);
    let device = Device::default();
    let table = EmbeddingConfig::new(5, 16).init(&device);
    let body = report(model!(Body {
        embedding: Embedding = table,
        encoder: TransformerEncoder = encoder()
    }));
    assert_eq!((body.num_quantized(), head(&body).len()), (12, 0));
    let projected = report(model!(Projected {
        inputs: Linear = linear(8, 16),
        encoder: TransformerEncoder = encoder()
    }));
    assert_eq!(projected.num_quantized(), 13);
    assert_eq!(rule(&projected), BLOCKS);

    #[derive(Module, Debug)]
    struct Block {
        up: Linear,
        down: Linear,
    }
    let block = || Block {
        up: linear(8, 32),
        down: linear(32, 8),
    };
    let trunk = report(model!(Trunk { blocks: Vec<Block> = vec![block(), block()] }));
    assert_eq!(trunk.num_quantized(), 4);
    assert_eq!(rule(&trunk), BLOCKS);

    let config = BitNetLmConfig::new(11, 16, 2, 2, 32);
    let tied: BitNetLm<Linear> = config.init(&device);
    let tied = report(tied);
    assert_eq!((tied.num_quantized(), head(&tied).len()), (14, 0));
    let untied: BitNetLm<Linear> = config.with_tied_embeddings(false).init(&device);
    let untied = report(untied);
    assert_eq!(
        (untied.num_quantized(), head(&untied)),
        (14, vec!["lm_head.weight"])
    );
}
