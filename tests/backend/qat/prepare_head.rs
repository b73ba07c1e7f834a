//! The output head that [`Prepare`] finds by the structure of a model, and ambiguous models.

use bitnet_burn::{
    nn::{BitNetLm, BitNetLmConfig},
    qat::{Decision, FakeQuant, HeadRule, Prepare, PrepareError, PrepareReport},
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

#[test]
fn the_outputs_of_attention_are_no_head() {
    let of_encoder = report(model!(Classifier {
        encoder: TransformerEncoder = encoder(),
        fc: Linear = linear(16, 3)
    }));
    assert_eq!(head(&of_encoder), ["fc.weight"]);
    assert_eq!(of_encoder.head, HeadRule::LastLayer);
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
fn the_last_layer_is_the_head() {
    let device = Device::default();
    let up: ConvTranspose2d = ConvTranspose2dConfig::new([8, 4], [2, 2]).init(&device);
    let depthwise = Conv2dConfig::new([8, 8], [3, 3])
        .with_groups(8)
        .init(&device);
    let of_convolutions = report(model!(Net {
        depthwise: Conv2d = depthwise,
        up: ConvTranspose2d = up,
        last: Conv2d = conv([4, 2], 1)
    }));
    assert_eq!(head(&of_convolutions), ["last.weight"]);
    assert_eq!(of_convolutions.num_quantized(), 2);
    let flattened = model!(Flattened {
        conv: Conv2d = conv([1, 4], 3),
        hidden: Linear = linear(64, 10),
        last: Linear = linear(10, 10)
    });
    assert_eq!(head(&report(flattened)), ["last.weight"]);
    assert_eq!(head(&report(mlp(&[8, 12, 12, 3]))), ["2.weight"]);
    let of_list = model!(Mlp { layers: Vec<Linear> = mlp(&[8, 8, 8]) });
    assert_eq!(head(&report(of_list)), ["layers.1.weight"]);
    // The last layer of an autoencoder matches the first.
    let autoencoder = model!(Autoencoder { encoder: Vec<Linear> = mlp(&[64, 16, 4]), decoder: Vec<Linear> = mlp(&[4, 16, 64]) });
    assert_eq!(head(&report(autoencoder)), ["decoder.1.weight"]);
    // Joined branches are not heads.
    let joined = model!(Joined {
        left: Linear = linear(8, 16),
        right: Linear = linear(8, 24),
        last: Linear = linear(40, 3)
    });
    assert_eq!(head(&report(joined)), ["last.weight"]);
}

#[test]
fn modules_around_a_model_change_nothing() {
    #[derive(Module, Debug)]
    struct Inner {
        output: Linear,
        fc: Linear,
    }
    let inner = || Inner {
        output: linear(8, 16),
        fc: linear(16, 3),
    };
    assert_eq!(head(&report(inner())), ["fc.weight"]);
    let wrapped = model!(Outer {
        model: Inner = inner()
    });
    assert_eq!(head(&report(wrapped)), ["model.fc.weight"]);
    let in_front = model!(InFront {
        embedding: Embedding = EmbeddingConfig::new(5, 8).init(&Device::default()),
        model: Inner = inner()
    });
    let in_front = report(in_front);
    assert_eq!(head(&in_front), ["model.fc.weight"]);
    assert_eq!(in_front.parameters[0].decision, Decision::Embedding);
}

#[test]
fn a_head_that_is_declared_first_is_found() {
    let named =
        model!(Named { head: Linear = linear(12, 3), body: Vec<Linear> = mlp(&[8, 12, 12]) });
    let named = report(named);
    assert_eq!(head(&named), ["head.weight"]);
    let names = vec!["head".to_string()];
    assert_eq!(named.head, HeadRule::Name { names });

    let shaped = report(model!(Shaped {
        scores: Linear = linear(16, 3),
        encoder: TransformerEncoder = encoder()
    }));
    assert_eq!(head(&shaped), ["scores.weight"]);
    assert_eq!(shaped.head, HeadRule::NoTaker);
    let usual = model!(Usual {
        fc: Linear = linear(16, 16),
        encoder: TransformerEncoder = encoder()
    });
    assert_eq!(head(&report(usual)), ["fc.weight"]);
    let unnamed =
        model!(Unnamed { scores: Linear = linear(16, 3), body: Vec<Linear> = mlp(&[8, 16, 16]) });
    assert_eq!(candidates(unnamed), ["scores.weight", "body.1.weight"]);
}

#[test]
fn only_whole_names_of_the_models_own_fields_count() {
    let overhead = model!(Overhead {
        overhead: Linear = linear(8, 12),
        headway: Linear = linear(12, 12),
        last: Linear = linear(12, 3)
    });
    assert_eq!(head(&report(overhead)), ["last.weight"]);
    #[derive(Module, Debug)]
    struct Block {
        head: Linear,
        output: Linear,
    }
    let block = || Block {
        head: linear(8, 8),
        output: linear(8, 8),
    };
    let blocks =
        model!(Blocks { blocks: Vec<Block> = vec![block(), block()], last: Linear = linear(8, 3) });
    assert_eq!(head(&report(blocks)), ["last.weight"]);
    let one = model!(One {
        block: Block = block(),
        last: Linear = linear(8, 3)
    });
    assert_eq!(head(&report(one)), ["last.weight"]);
}

#[test]
fn fields_that_are_called_heads_are_all_left_in_float() {
    let heads = model!(Detector {
        backbone: Conv2d = conv([3, 64], 3),
        class_head: Conv2d = conv([64, 80], 1),
        box_head: Vec<Conv2d> = vec![conv([64, 64], 3), conv([64, 4], 1)],
    });
    let heads = report(heads);
    assert_eq!(
        head(&heads),
        [
            "class_head.weight",
            "box_head.0.weight",
            "box_head.1.weight"
        ]
    );
    assert_eq!(heads.num_quantized(), 1);
    let listed = model!(Tasks { body: Linear = linear(8, 64), heads: Vec<Linear> = vec![linear(64, 2), linear(64, 5)] });
    assert_eq!(head(&report(listed)), ["heads.0.weight", "heads.1.weight"]);
}

#[test]
fn several_heads_without_names_are_asked_for() {
    let actor = || model!(ActorCritic { body: Vec<Linear> = mlp(&[8, 64, 64]), policy: Linear = linear(64, 4), value: Linear = linear(64, 1) });
    assert_eq!(candidates(actor()), ["policy.weight", "value.weight"]);
    let error = prepare().apply(actor()).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the output head may be policy.weight or value.weight: name it by `with_output_head`, or say \
         that there is none by `without_output_head`"
    );
    let both = prepare()
        .with_output_head(["policy", "value"])
        .apply(actor())
        .unwrap();
    assert_eq!(head(&both.report), ["policy.weight", "value.weight"]);
    assert_eq!(both.report.num_quantized(), 2);
    let none = prepare().without_output_head().apply(actor()).unwrap();
    assert_eq!(none.report.num_quantized(), 4);
    assert!(
        none.report
            .to_string()
            .contains("output head: none, the caller says so")
    );

    let listed = model!(Tasks { body: Linear = linear(8, 64), tasks: Vec<Linear> = vec![linear(64, 2), linear(64, 5)] });
    assert_eq!(candidates(listed), ["tasks.0.weight", "tasks.1.weight"]);
    let towers = model!(Towers { actor: Vec<Linear> = mlp(&[8, 64, 4]), critic: Vec<Linear> = mlp(&[8, 64, 1]) });
    assert_eq!(candidates(towers), ["actor.1.weight", "critic.1.weight"]);
    let one_named = model!(OneNamed {
        body: Linear = linear(8, 64),
        class_head: Linear = linear(64, 80),
        boxes: Linear = linear(64, 4)
    });
    assert_eq!(candidates(one_named), ["class_head.weight", "boxes.weight"]);
    let pair =
        model!(Pair { image: Vec<Linear> = mlp(&[32, 20]), text: Vec<Linear> = mlp(&[24, 20]) });
    assert_eq!(candidates(pair), ["image.0.weight", "text.0.weight"]);
}

#[test]
fn a_last_layer_with_a_usual_name_is_the_head_beside_other_outputs() {
    let pooled = model!(Pooled {
        body: Linear = linear(8, 64),
        score: Linear = linear(64, 1),
        fc: Linear = linear(64, 10)
    });
    assert_eq!(head(&report(pooled)), ["fc.weight"]);
    let not_last = model!(NotLast {
        body: Linear = linear(8, 64),
        fc: Linear = linear(64, 10),
        score: Linear = linear(64, 1)
    });
    assert_eq!(candidates(not_last), ["fc.weight", "score.weight"]);
}

#[test]
fn bodies_have_no_head() {
    let bare = report(attention());
    assert_eq!((bare.num_quantized(), &bare.head), (4, &HeadRule::Blocks));
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
    assert_eq!(
        (projected.num_quantized(), &projected.head),
        (13, &HeadRule::Blocks)
    );

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
    assert_eq!((trunk.num_quantized(), &trunk.head), (4, &HeadRule::Blocks));

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

#[test]
fn a_single_weight_is_quantized() {
    let single = report(linear(8, 4));
    assert_eq!(
        (single.num_quantized(), &single.head),
        (1, &HeadRule::SingleWeight)
    );
    let named = report(model!(Named {
        head: Linear = linear(8, 4)
    }));
    assert_eq!(named.num_quantized(), 1);
    // An embedding stays in float, and so does the head behind it.
    let table = EmbeddingConfig::new(5, 8).init(&Device::default());
    let model = model!(Bag {
        embedding: Embedding = table,
        fc: Linear = linear(8, 2)
    });
    let error = prepare().apply(model).unwrap_err();
    assert!(
        matches!(error, PrepareError::NothingMatched { .. }),
        "{error}"
    );
}

#[test]
fn tensors_of_a_models_own_are_no_layers() {
    let device = Device::default();
    let positions = Param::from_tensor(Tensor::<2>::zeros([10, 16], &device));
    let norm = LayerNormConfig::new(16).init(&device);
    let of_patches = model!(Vision {
        patches: Linear = linear(48, 16),
        encoder: TransformerEncoder = encoder(),
        norm: LayerNorm = norm,
        scores: Linear = linear(16, 3),
        positions: Param<Tensor<2>> = positions,
    });
    let of_patches = report(of_patches);
    assert_eq!(head(&of_patches), ["scores.weight"]);
    let text = of_patches.to_string();
    assert!(text.contains("float (vector): norm"), "{text}");
    assert!(text.contains("float (vector): bias"), "{text}");
    assert!(
        text.contains("float (output head): the last layer"),
        "{text}"
    );
    assert!(
        text.contains("\noutput head: scores.weight (the last layer)\n"),
        "{text}"
    );
}

#[test]
fn a_shared_parameter_is_treated_alike_everywhere() {
    let shared = linear(8, 8);
    let model = model!(Shared {
        first: Linear = shared.clone(),
        second: Linear = linear(8, 8),
        last: Linear = shared
    });
    let prepared = prepare().apply(model.clone()).unwrap();
    let decisions = |report: &PrepareReport| {
        let weights = report.parameters.iter().step_by(2);
        weights
            .map(|p| (p.decision, p.reason.clone()))
            .collect::<Vec<_>>()
    };
    let the_last = "the last layer".to_string();
    assert_eq!(
        decisions(&prepared.report),
        [
            (Decision::OutputHead, "shared with last.weight".to_string()),
            (Decision::Quantized, String::new()),
            (Decision::OutputHead, the_last),
        ]
    );
    let reparameterized =
        |weight: &Param<Tensor<2>>| weight.reparameterization::<FakeQuant>().is_some();
    assert!(!reparameterized(&prepared.model.first.weight));

    let group = prepare().with_group(ParamGroup::from_path("first.weight"));
    let prepared = group.apply(model).unwrap();
    let last = prepared.report.parameters[4].clone();
    assert_eq!(
        (last.decision, last.reason.as_str()),
        (Decision::Quantized, "shared with first.weight")
    );
    assert!(reparameterized(&prepared.model.last.weight));
}

#[test]
fn a_head_that_is_named_is_left_out_of_a_group_and_must_be_there() {
    let model = || {
        model!(Net {
            first: Linear = linear(8, 8),
            second: Linear = linear(8, 8)
        })
    };
    let group = ParamGroup::from_predicate("weight");
    let of_group = prepare().with_group(group.clone()).apply(model()).unwrap();
    assert_eq!(of_group.report.num_quantized(), 2);
    assert_eq!(of_group.report.head, HeadRule::Group);
    let named = prepare()
        .with_group(group)
        .with_output_head(["first"])
        .apply(model())
        .unwrap();
    assert_eq!(head(&named.report), ["first.weight"]);

    let error = prepare()
        .with_output_head(["firs"])
        .apply(model())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "the model has no module or parameter `firs` for its output head, it has: first.weight, \
         first.bias, second.weight, second.bias"
    );
}
