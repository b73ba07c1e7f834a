//! Heads that are found or given by name, and shared ones.

use super::*;

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
    assert_eq!(rule(&of_group.report), "a group was given");
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
