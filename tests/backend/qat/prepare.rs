//! Selection of the parameters of a Burn model by [`Prepare`], and its report.

use bitnet_burn::{
    functions::ternary_fake_quant,
    qat::{Decision, FakeQuant, Prepare, PrepareReport},
    quant::QatScheme,
};
use burn::{
    module::{Module, ParamGroup},
    nn::{Embedding, EmbeddingConfig, Linear, LinearConfig},
    tensor::{Device, Int, Tensor},
};

use crate::support::{
    models::{Cnn, Mlp},
    values::*,
};

/// An embedding table before two layers.
#[derive(Module, Debug)]
struct Tagger {
    embedding: Embedding,
    hidden: Linear,
    tags: Linear,
}

impl Tagger {
    fn new(device: &Device) -> Self {
        Self {
            embedding: EmbeddingConfig::new(10, 8).init(device),
            hidden: LinearConfig::new(8, 8).init(device),
            tags: LinearConfig::new(8, 2).init(device),
        }
        .map(&mut Drawn::new(520, 0.2))
    }
}

fn decisions(report: &PrepareReport) -> Vec<(&str, Decision)> {
    let parameters = report.parameters.iter();
    parameters.map(|p| (p.path.as_str(), p.decision)).collect()
}

#[test]
fn by_default_all_weights_but_tables_and_the_head_are_taken() {
    let device = Device::default();
    let prepare = Prepare::new(QatScheme::weight_only());
    let mlp = prepare.apply(Mlp::new(&device)).unwrap();
    let expected = [
        ("fc1.weight", Decision::Quantized),
        ("fc1.bias", Decision::Vector),
        ("fc2.weight", Decision::Quantized),
        ("fc2.bias", Decision::Vector),
        ("head.weight", Decision::OutputHead),
        ("head.bias", Decision::Vector),
    ];
    assert_eq!(decisions(&mlp.report), expected);
    assert_eq!(mlp.report.num_quantized(), 2);
    assert!(
        mlp.model
            .fc1
            .weight
            .reparameterization::<FakeQuant>()
            .is_some()
    );
    assert!(
        mlp.model
            .head
            .weight
            .reparameterization::<FakeQuant>()
            .is_none()
    );
    let text = mlp.report.to_string();
    assert!(text.ends_with("2 of 6 parameters quantized"), "{text}");
    assert!(text.contains("float (output head)"), "{text}");

    // Without a matching name, the last weight is the head.
    let cnn = prepare.apply(Cnn::new(&device)).unwrap();
    let expected = [
        ("conv.weight", Decision::Quantized),
        ("conv.bias", Decision::Vector),
        ("last.weight", Decision::OutputHead),
        ("last.bias", Decision::Vector),
    ];
    assert_eq!(decisions(&cnn.report), expected);

    let tagger = prepare.apply(Tagger::new(&device)).unwrap();
    assert_eq!(
        decisions(&tagger.report)[..2],
        [
            ("embedding.weight", Decision::Embedding),
            ("hidden.weight", Decision::Quantized),
        ]
    );
}

#[test]
fn a_group_is_taken_as_it_is_and_nothing_else() {
    let device = Device::default();
    let group = ParamGroup::from_paths(vec!["embedding.weight", "tags.weight"]);
    let prepare = Prepare::new(QatScheme::weight_only()).with_group(group);
    let prepared = prepare.apply(Tagger::new(&device)).unwrap();
    let expected = [
        ("embedding.weight", Decision::Quantized),
        ("hidden.weight", Decision::NotSelected),
        ("hidden.bias", Decision::NotSelected),
        ("tags.weight", Decision::Quantized),
        ("tags.bias", Decision::NotSelected),
    ];
    assert_eq!(decisions(&prepared.report), expected);

    let model = prepared.model;
    let rows = Tensor::<2, Int>::from_ints([[0, 1, 2, 3, 4, 5, 6, 7, 8, 9]], &device);
    let rows = floats(model.embedding.forward(rows));
    let table = model.embedding.weight.base();
    let groups = bitnet_burn::functions::Groups::per_tensor(80);
    assert_equal(&rows, &floats(ternary_fake_quant(table, groups).0), "table");
}
