//! Heads that are found by the order and the shapes of layers.

use super::*;

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
    assert_eq!(rule(&named), "called head");

    let shaped = report(model!(Shaped {
        scores: Linear = linear(16, 3),
        encoder: TransformerEncoder = encoder()
    }));
    assert_eq!(head(&shaped), ["scores.weight"]);
    assert_eq!(rule(&shaped), "no other layer takes its outputs");
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
fn a_single_weight_is_quantized() {
    let single = report(linear(8, 4));
    assert_eq!(single.num_quantized(), 1);
    assert_eq!(rule(&single), "the model has a single weight");
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
