//! Several adapters of different methods beside one projection: the order.

use bitnet_burn::{
    nn::Projection,
    peft::{
        AdaptedLinear, Adapter, BitFit, Ia3, Ia3Config, Lora, LoraConfig, LoraInit, TargetModules,
    },
};
use burn::{
    module::Param,
    nn::Linear,
    tensor::{DType, Tensor},
};

use super::models::{Base, device, logits, perturbed};
use crate::support::values::*;

const SIZE: [usize; 2] = [6, 5];

fn drawn<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
    let values = normal(shape.iter().product(), seed);
    tensor(&values, shape, DType::F32, &device()) * 5.0
}

/// Parameters of all methods.
struct Drawn {
    weight: Tensor<2>,
    bias: Tensor<1>,
    a: Tensor<2>,
    b: Tensor<2>,
    magnitude: Tensor<1>,
    of_inputs: Tensor<1>,
    of_outputs: Tensor<1>,
    difference: Tensor<1>,
}

#[derive(Debug, Clone, Copy)]
enum Method {
    Lora,
    Dora,
    /// The dropout is almost nothing, so that the other way to the output is computed on the input itself.
    DroppedDora,
    Inputs,
    Outputs,
    BitFit,
}

type Map = Box<dyn Fn(Tensor<2>) -> Tensor<2>>;

impl Drawn {
    fn new() -> Self {
        let [d_input, d_output] = SIZE;
        Self {
            weight: drawn(SIZE, 1),
            bias: drawn([d_output], 2),
            a: drawn([d_input, 2], 3),
            b: drawn([2, d_output], 4),
            magnitude: drawn([d_output], 5) + 2.0,
            of_inputs: drawn([d_input], 6) + 1.0,
            of_outputs: drawn([d_output], 7) + 1.0,
            difference: drawn([d_output], 8),
        }
    }

    fn base(&self) -> Linear {
        Linear {
            weight: Param::from_tensor(self.weight.clone()),
            bias: Some(Param::from_tensor(self.bias.clone())),
        }
    }

    fn adapter(&self, method: Method) -> Adapter {
        let lora = Lora::new(self.a.clone(), self.b.clone(), 0.5);
        match method {
            Method::Lora => lora.into(),
            Method::Dora => lora.with_magnitude(self.magnitude.clone()).into(),
            Method::DroppedDora => {
                let dora = lora.with_magnitude(self.magnitude.clone());
                dora.with_dropout(1e-12).into()
            }
            Method::Inputs => Ia3::of_inputs(self.of_inputs.clone()).into(),
            Method::Outputs => Ia3::of_outputs(self.of_outputs.clone()).into(),
            Method::BitFit => BitFit::new(self.difference.clone()).into(),
        }
    }

    /// Returns the projection and the base alone, with an adapter more.
    fn with(&self, method: Method, f: Map, base: Map) -> [Map; 2] {
        let product = self.a.clone().matmul(self.b.clone()) * 0.5;
        match method {
            Method::Lora => [
                Box::new(move |x| f(x.clone()) + x.matmul(product.clone())),
                base,
            ],
            Method::Dora | Method::DroppedDora => {
                let norms = (self.weight.clone() + product.clone())
                    .square()
                    .sum_dim(0)
                    .sqrt();
                let ratio = self.magnitude.clone().unsqueeze() / norms;
                // The map of the base is needed twice.
                let base = std::rc::Rc::new(base);
                let of_base = base.clone();
                let with = move |x: Tensor<2>| {
                    let directed = x.clone().matmul(product.clone()) * ratio.clone();
                    f(x.clone()) + of_base(x) * (ratio.clone() - 1.0) + directed
                };
                [Box::new(with), Box::new(move |x| base(x))]
            }
            Method::Inputs => {
                let l: Tensor<2> = self.of_inputs.clone().unsqueeze();
                let again = l.clone();
                [
                    Box::new(move |x| f(x * l.clone())),
                    Box::new(move |x| base(x * again.clone())),
                ]
            }
            Method::Outputs => {
                let l: Tensor<2> = self.of_outputs.clone().unsqueeze();
                [Box::new(move |x| f(x) * l.clone()), base]
            }
            Method::BitFit => {
                let d: Tensor<2> = self.difference.clone().unsqueeze();
                [Box::new(move |x| f(x) + d.clone()), base]
            }
        }
    }

    fn composed(&self, order: &[Method]) -> Map {
        let (weight, bias) = (self.weight.clone(), self.bias.clone().unsqueeze());
        let of_weight = weight.clone();
        let start: [Map; 2] = [
            Box::new(move |x| x.matmul(weight.clone()) + bias.clone()),
            Box::new(move |x| x.matmul(of_weight.clone())),
        ];
        let [f, _] = order
            .iter()
            .fold(start, |[f, base], &method| self.with(method, f, base));
        f
    }
}

/// Returns all orders of all of the methods.
fn orders(methods: &[Method]) -> Vec<Vec<Method>> {
    if methods.is_empty() {
        return vec![Vec::new()];
    }
    let mut orders = Vec::new();
    for (i, first) in methods.iter().enumerate() {
        let rest = [&methods[..i], &methods[i + 1..]].concat();
        for mut order in self::orders(&rest) {
            order.insert(0, *first);
            orders.push(order);
        }
    }
    orders
}

fn assert_rounded(actual: Tensor<2>, expected: Tensor<2>, what: &str) {
    let expected = floats(expected);
    let largest = expected.iter().fold(0.0f32, |a, b| a.max(b.abs()));
    // Sums of 6 products through 5 adapters, whose parts may be some times as large as the result.
    let bound = 256.0 * ROUNDING * f64::from(largest);
    assert_within(&floats(actual), &expected, |_| bound, what);
}

fn check(order: &[Method]) {
    let what = format!("{order:?}");
    let drawn = Drawn::new();
    let mut layer = AdaptedLinear::new(drawn.base());
    for (i, &method) in order.iter().enumerate() {
        layer = layer.with_adapter(&i.to_string(), drawn.adapter(method));
    }
    let x = self::drawn([3, 6], 9);
    let expected = drawn.composed(order)(x.clone());
    assert_rounded(layer.forward(x.clone()), expected.clone(), &what);

    let of_zero = layer.forward(x.zeros_like()).without_autodiff();
    let merged = x.without_autodiff().matmul(layer.dense_weight()) + of_zero;
    assert_rounded(merged, expected, &format!("merged, {what}"));
}

#[test]
fn adapters_are_composed_in_the_order_in_which_they_were_added() {
    use Method::*;
    let methods = [Inputs, Lora, Outputs, Dora, BitFit];
    // CubeCL's CPU runtime takes a second for each.
    let all = if on_cubecl_cpu() { 2 } else { usize::MAX };
    for order in orders(&methods).iter().take(all) {
        check(order);
    }
    check(&[Inputs, DroppedDora, Outputs]);
    check(&[DroppedDora, Inputs]);
}

#[test]
fn the_order_counts_where_factors_meet_sums() {
    let drawn = Drawn::new();
    let of = |order: [Method; 2]| {
        let x = self::drawn([3, 6], 9);
        floats(drawn.composed(&order)(x))
    };
    assert_ne!(
        of([Method::BitFit, Method::Outputs]),
        of([Method::Outputs, Method::BitFit])
    );
    assert_ne!(
        of([Method::Lora, Method::Inputs]),
        of([Method::Inputs, Method::Lora])
    );
}

#[test]
fn what_stands_for_a_resting_adapter_is_a_part_of_the_base() {
    let lm = <Linear as Base>::lm(1);
    let (lm, _) = lm.with_adapter("ia3", Ia3Config::default()).unwrap();
    let lm = perturbed(lm, 10);
    let alone = logits(&lm);
    // Its first product is subtracted from the weight, and added again while it rests.
    let config = LoraConfig::new(4).with_targets(TargetModules::AllLinear);
    let config = config.with_init(LoraInit::Olora);
    let (lm, _) = lm.add_adapter("olora", config).unwrap();
    let lm = perturbed(lm, 20).with_active_adapters(&["ia3"]).unwrap();
    // Rounding of weights of about 1 and sums of 48 products, through a layer with norms and a head.
    let bound = |i: usize| 4096.0 * ROUNDING * f64::from(alone[i].abs().max(1.0));
    assert_within(
        &logits(&lm),
        &alone,
        bound,
        "beside the logits of (IA)3 alone",
    );
    let (merged, _) = lm.merge(None);
    assert_within(&logits(&merged), &alone, bound, "merged");
}
