//! Gradients through the dense weight against those of the path beside it, and against differences.

use bitnet_burn::{
    nn::Projection,
    peft::{AdaptedLinear, AdaptedWeight, Attach},
};
use burn::tensor::DType;

use super::*;

const SIZE: [usize; 2] = [9, 6];

/// A layer with an adapter of values as after a training.
fn layer(config: &LoraConfig, layout: LinearLayout) -> (Linear, Linear) {
    let linear = LinearConfig::new(SIZE[0], SIZE[1]).with_layout(layout);
    let linear = linear.init(&device()).map(&mut Drawn::new(300, 0.3));
    let attached = Attach::new(config.clone()).apply(linear.clone()).unwrap();
    assert_eq!(attached.report.modules[0].name, "weight");
    (linear.freeze(), drawn(attached.model, 310))
}

fn adapted(linear: &Linear) -> &AdaptedWeight {
    linear.weight.reparameterization().unwrap()
}

fn input() -> [Tensor<2>; 2] {
    let draw = |d, seed| tensor(&normal(4 * d, seed), [4, d], DType::F32, &device());
    [draw(SIZE[0], 320).require_grad(), draw(SIZE[1], 321)]
}

fn all() -> TargetModules {
    TargetModules::AllLinear
}

#[test]
fn gradients_equal_those_of_the_path_without_a_dense_weight() {
    for config in [
        LoraConfig::new(3).with_targets(all()),
        LoraConfig::new(3).with_targets(all()).with_dora(),
    ] {
        for layout in [LinearLayout::Row, LinearLayout::Col] {
            let (base, dense) = layer(&config, layout);
            let lora = adapted(&dense).lora.clone();
            let beside = AdaptedLinear::new(base).with_adapter("default", lora.clone());
            let [x, g] = input();
            let (y, expected) = (dense.forward(x.clone()), beside.forward(x.clone()));
            assert_close(&floats(y.clone()), &floats(expected.clone()), "y");

            let grads = (y * g.clone()).sum().backward();
            let of_beside = (expected * g).sum().backward();
            let compare = |name: &str, ours: Option<Vec<f32>>, theirs: Option<Vec<f32>>| {
                assert_close(&ours.unwrap(), &theirs.unwrap(), name);
            };
            let of = |grads: &_, param: &Param<Tensor<2>>| param.val().grad(grads).map(floats);
            compare(
                "x",
                x.grad(&grads).map(floats),
                x.grad(&of_beside).map(floats),
            );
            compare("A", of(&grads, &lora.a), of(&of_beside, &lora.a));
            compare("B", of(&grads, &lora.b), of(&of_beside, &lora.b));
            if let Some(norms) = &lora.magnitude {
                let of = |grads: &_| norms.val().grad(grads).map(floats);
                compare("m", of(&grads), of(&of_beside));
            }
            assert!(
                dense.weight.base().grad(&grads).is_none(),
                "the base is frozen"
            );
        }
    }
}

/// Returns `sum(y g)` with one value of a parameter changed.
fn loss(layer: &Linear, path: &str, at: usize, change: f32) -> f64 {
    let old = values(layer).values;
    let (_, mut new) = old.into_iter().find(|(p, _)| p == path).unwrap();
    new[at] += change;
    let mut set = Set::default();
    set.values.insert(path.to_string(), new);
    let [x, g] = input();
    let products = floats(layer.clone().map(&mut set).forward(x) * g);
    products.into_iter().map(f64::from).sum()
}

#[test]
fn gradients_equal_finite_differences() {
    // The loss is linear in one value of A or B, and in a norm: a difference has no error but rounding.
    let lora = LoraConfig::new(3).with_targets(all());
    let dora = lora.clone().with_dora();
    for (config, factors) in [(lora, &["a", "b"][..]), (dora, &["magnitude"][..])] {
        let (_, layer) = layer(&config, LinearLayout::Row);
        let [x, g] = input();
        let grads = (layer.forward(x) * g).sum().backward();
        let lora = &adapted(&layer).lora;
        for factor in factors {
            let grad = match *factor {
                "a" => floats(lora.a.val().grad(&grads).unwrap()),
                "b" => floats(lora.b.val().grad(&grads).unwrap()),
                _ => floats(lora.magnitude.as_ref().unwrap().val().grad(&grads).unwrap()),
            };
            let path = format!("weight.adapter.lora.{factor}");
            for at in [0, grad.len() / 2, grad.len() - 1] {
                let [above, below] = [0.5, -0.5].map(|change| loss(&layer, &path, at, change));
                // 24 products of inputs and weights, each a sum of 9, of magnitudes below 1.
                let bound = 24.0 * 9.0 * ROUNDING;
                let error = (above - below - f64::from(grad[at])).abs();
                assert!(error < bound, "{path} {at}: {error:e}");
            }
        }
    }
}
